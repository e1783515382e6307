//! Requests to routers, for benches.

use crate::cost::Cost;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::Request;
use http_body_util::BodyExt;
use std::error::Error;
use std::net::SocketAddr;
use tower::ServiceExt;

/// Asks once, without a socket, and returns the body of an answer with status 200.
///
/// # Errors
/// An answer with another status.
pub async fn ask(router: &Router, path: &str) -> Result<Bytes, Box<dyn Error>> {
    let mut request = Request::get(path).header("host", "localhost").body(Body::empty())?;
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
    let response = router.clone().oneshot(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if status == 200 { Ok(body) } else { Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body)).into()) }
}

/// Asks two routers the same so many times in turn, and prints what an answer of each costs. Both
/// answers must have the same bytes: else they are not the same work.
///
/// # Errors
/// An answer with another status than 200, or other bytes of the second router.
pub async fn compare(path: &str, ours: &Router, bare: &Router, requests: u32, goal: f64) -> Result<(), Box<dyn Error>> {
    let (one, other) = (ask(ours, path).await?, ask(bare, path).await?);
    if one != other {
        let same = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
        let part = |body: &Bytes| {
            let part = &body[same.saturating_sub(60)..body.len().min(same + 60)];
            String::from_utf8_lossy(part).into_owned()
        };
        return Err(format!("{path}: {:?} is {:?} of the bare handler", part(&one), part(&other)).into());
    }
    let plain = Cost::of(requests, async || ask(bare, path).await.map(drop)).await?;
    let cost = Cost::of(requests, async || ask(ours, path).await.map(drop)).await?;
    let ratio = plain.processor.as_secs_f64() / cost.processor.as_secs_f64();
    println!("{path}: {} bytes, {cost:.1?}; bare: {plain:.1?}; ratio {ratio:.2} (goal: {goal})", one.len());
    Ok(())
}

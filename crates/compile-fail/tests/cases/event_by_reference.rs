//! A handler that takes its event by reference.
use freshmaker::handler::{Context, Decision, HandlerResult, ImagePushed};

async fn ignore(_: &ImagePushed, _: Context) -> HandlerResult {
    Ok(Decision::Ignore)
}

fn main() {
    let _ = freshmaker::Engine::builder().on(ignore);
}

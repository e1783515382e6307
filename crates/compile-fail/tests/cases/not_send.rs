//! A handler whose future cannot move to another thread.
use freshmaker::handler::{Context, Decision, HandlerResult, ImagePushed};
use std::rc::Rc;

async fn ignore(event: ImagePushed, _: Context) -> HandlerResult {
    let image = Rc::new(event.image);
    std::future::ready(()).await;
    drop(image);
    Ok(Decision::Ignore)
}

fn main() {
    let _ = freshmaker::Engine::builder().on(ignore);
}

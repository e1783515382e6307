//! A handler that takes no `Context`.
use freshmaker::handler::{Decision, HandlerResult, ImagePushed};

async fn ignore(_: ImagePushed) -> HandlerResult {
    Ok(Decision::Ignore)
}

fn main() {
    let _ = freshmaker::Engine::builder().on(ignore);
}

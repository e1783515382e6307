//! A handler that takes the context before the event.
use freshmaker::handler::{Context, Decision, HandlerResult, ImagePushed};

async fn ignore(_: Context, _: ImagePushed) -> HandlerResult {
    Ok(Decision::Ignore)
}

fn main() {
    let _ = freshmaker::Engine::builder().on(ignore);
}

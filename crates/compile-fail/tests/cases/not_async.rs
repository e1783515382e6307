//! A handler without `async`.
use freshmaker::handler::{Context, Decision, HandlerResult, ImagePushed};

fn ignore(_: ImagePushed, _: Context) -> HandlerResult {
    Ok(Decision::Ignore)
}

fn main() {
    let _ = freshmaker::Engine::builder().on(ignore);
}

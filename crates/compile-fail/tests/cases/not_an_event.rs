//! A handler of a type that does not implement `Event`.
use freshmaker::handler::{Context, Decision, HandlerResult};

struct Pushed;

async fn ignore(_: Pushed, _: Context) -> HandlerResult {
    Ok(Decision::Ignore)
}

fn main() {
    let _ = freshmaker::Engine::builder().on(ignore);
}

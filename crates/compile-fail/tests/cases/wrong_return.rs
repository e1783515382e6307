//! A handler that returns the bare decision.
use freshmaker::handler::{Context, Decision, ImagePushed};

async fn ignore(_: ImagePushed, _: Context) -> Decision {
    Decision::Ignore
}

fn main() {
    let _ = freshmaker::Engine::builder().on(ignore);
}

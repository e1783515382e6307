//! A closure with one argument.
use freshmaker::handler::{Decision, ImagePushed};

fn main() {
    let _ = freshmaker::Engine::builder().on(|_: ImagePushed| async { Ok(Decision::Ignore) });
}

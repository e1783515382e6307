//! A struct that does not implement `Handler`, for an event type that is named.
use freshmaker::handler::ImagePushed;

struct Ignores;

fn main() {
    let _ = freshmaker::Engine::builder().on::<ImagePushed, _>(Ignores);
}

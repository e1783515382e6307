//! A struct that does not implement `Handler`.
struct Ignores;

fn main() {
    let _ = freshmaker::Engine::builder().on(Ignores);
}

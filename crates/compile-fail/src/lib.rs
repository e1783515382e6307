//! Wrong handlers, and what the compiler says about them: see `tests/`.

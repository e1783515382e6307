//! The state machine, input by input, through its public interface; [`world::World`] checks what
//! must always hold after each step.
#![allow(clippy::unwrap_used)]

mod cancel;
mod conflicts;
mod impeded;
mod join;
mod live;
mod order;
mod queues;
mod random;
mod retry;
mod reuse;
mod unchecked;
mod verify;
mod world;

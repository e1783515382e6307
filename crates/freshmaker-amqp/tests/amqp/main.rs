//! The bus over AMQP, against RabbitMQ at `FRESHMAKER_AMQP_URL`, else at its usual port of this
//! machine with its usual user.
#![allow(clippy::unwrap_used)]

mod config;
mod contract;
mod faults;
mod flow;
mod listener;
mod mapping;
mod node;
mod peer;
mod proxy;
mod world;

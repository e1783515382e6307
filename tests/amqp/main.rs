//! The bus over AMQP, against RabbitMQ at `FRESHMAKER_AMQP_URL`, else at its usual port of this machine with its usual user.
#![cfg(all(feature = "amqp", feature = "testing"))]
#![allow(clippy::unwrap_used)]

#[path = "../peers/broker.rs"]
mod broker;
#[path = "../peers/certificates.rs"]
mod certificates;
mod config;
mod contract;
mod faults;
mod flow;
mod mapping;
mod node;
mod peer;
mod proxy;
#[path = "../peers/python.rs"]
mod python;
#[path = "../peers/services.rs"]
mod services;
mod world;

//! Koji: the codec against recorded traffic, and the client against scripted hubs.

mod codec;
mod hub;
mod profile;
mod profile_of_client;
mod reading;
mod recipes;
mod recorded;
mod sessions;
mod status;
mod submission;

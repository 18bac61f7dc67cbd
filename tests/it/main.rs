//! Tests through the front door: a real server, real sockets, a file a topic.

mod harness;

mod aborted;
mod config;
mod crowd;
mod durable;
mod environment;
mod forms;
mod frames;
mod hostile;
mod layers;
mod login;
mod origins;
mod php;
mod presence;
mod push;
mod requests;
mod shutdown;
mod stall;
mod store;
mod store_many;
mod store_trouble;
mod web;
mod wire;

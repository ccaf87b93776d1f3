//! The whole engine against a Kubernetes API in memory: what a user would see,
//! and what must never happen, whatever fails and whenever it dies.

mod allowed;
mod crashes;
mod drift;
pub mod fake;
mod faults;
mod fields;
mod hooks;
mod judging;
mod order;
mod order_crashes;
mod owners;
mod owners_crashes;
mod story;
pub mod world;

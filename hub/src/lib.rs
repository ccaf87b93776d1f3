//! The hub: git -> render -> rollout -> dispatch -> status, over one store.
//! Each module is a room that does one thing; `serve` wires them.

pub mod admin;
pub mod api;
pub mod auth;
pub mod config;
pub mod credentials;
pub mod data_dir;
pub mod diff;
pub mod dispatch;
pub mod enrol;
pub mod git;
pub mod limits;
pub mod metrics;
pub mod pki;
pub mod private_file;
pub mod render;
pub mod rollout;
pub mod secret;
pub mod serve;
pub mod signal;
pub mod status;
pub mod store;
pub mod transport;
pub mod web;

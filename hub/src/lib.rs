//! The hub: git -> render -> rollout -> dispatch -> status, over one store.
//! Each module is a room that does one thing; `serve` wires them.

pub mod api;
pub mod dispatch;
pub mod git;
pub mod metrics;
pub mod pki;
pub mod private_file;
pub mod render;
pub mod rollout;
pub mod secret;
pub mod signal;
pub mod status;
pub mod store;
pub mod transport;

//! The hub: git -> render -> rollout -> dispatch -> status, over one store.

pub mod signal;

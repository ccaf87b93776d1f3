//! The Lockstep agent: it dials out to the hub, pulls what its cluster is
//! assigned, reconciles that locally, and streams back what is true.
//!
//! Data flows one way round: [`link`] -> [`desired`] and [`bundle`] -> the
//! engine -> [`report`] -> [`link`]. Between them stand values, not queues: the
//! latest desired state in a watch, the latest report of each Assignment.

pub mod apply;
pub mod bundle;
pub mod caps;
pub mod cluster;
pub mod config;
pub mod desired;
pub mod disk;
pub mod engine;
pub mod fields;
pub mod health;
pub mod http;
pub mod identity;
pub mod inventory;
pub mod journal;
pub mod kubeconfig;
pub mod link;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod observe;
pub mod plan;
pub mod report;
pub mod run;

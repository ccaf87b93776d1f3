//! A sandbox cluster: a small Kubernetes API in process, for the demo, for speed and for
//! scale. It speaks to the unmodified agent and to `kubectl` over plain HTTP on 127.0.0.1,
//! keeps its objects in memory, and has a toy workload controller and faults on demand.
//!
//! It is a stand-in: what it does must be what the real server does, and a suite that runs
//! against both says whether it is.
//!
//! Data flows `http -> machinery -> (apply, patch, rules) -> store -> watch`; `controllers`
//! watch the store as any client would and write through the machinery.

mod apply;
mod controllers;
mod discovery;
pub mod faults;
mod http;
mod machinery;
mod patch;
mod rules;
mod sandbox;
mod schema;
mod selector;
mod status;
mod store;
mod table;
mod watch;

pub use http::{AnswerBody, Broken};
pub use sandbox::{Sandbox, SandboxOptions};

/// The Kubernetes version that the sandbox says it is.
pub const VERSION: &str = "v1.36.3";

/// `GET /version`.
fn version() -> serde_json::Value {
    serde_json::json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35", "gitVersion": VERSION,
        "gitCommit": "sandbox", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
    })
}

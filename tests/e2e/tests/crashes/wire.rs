//! Between agent and cluster: where requests get lost, and answers with them.

use std::future::pending;
use std::sync::Arc;

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use lockstep_sandbox::{AnswerBody, Sandbox};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// When the machine that runs the agent dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Before the request reaches the server.
    Before,
    /// After the server did it, before the answer came.
    After,
}

#[derive(Default)]
struct State {
    epoch: u64,
    dead: bool,
    crash: Option<(u64, Crash)>,
    /// What the agent asked for and got, for whoever has to find out.
    log: Vec<String>,
    /// Paths that must not be deleted, and those that were all the same.
    standing: Vec<String>,
    fallen: Vec<String>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Wire {
    sandbox: Arc<Sandbox>,
    state: Arc<Mutex<State>>,
    pub crashed: Arc<Notify>,
}

impl Wire {
    pub fn new(sandbox: Arc<Sandbox>) -> Self {
        Self {
            sandbox,
            state: Arc::default(),
            crashed: Arc::default(),
        }
    }

    /// A client of a fresh agent; earlier ones hear nothing any more.
    pub fn client(&self) -> Client {
        let epoch = {
            let mut state = self.state.lock();
            state.epoch += 1;
            state.dead = false;
            state.crash = None;
            state.epoch
        };
        let wire = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let wire = wire.clone();
            async move { wire.carry(epoch, request).await }
        });
        Client::new(service, "default")
    }

    /// Dies at the `n`th request from now that is no watch.
    pub fn crash_at(&self, n: u64, crash: Crash) {
        self.state.lock().crash = Some((n, crash));
    }

    /// What must stand from now on, by path.
    pub fn must_stand(&self, paths: Vec<String>) {
        self.state.lock().standing = paths;
    }

    /// What was deleted that had to stand.
    pub fn fallen(&self) -> Vec<String> {
        self.state.lock().fallen.clone()
    }

    pub fn log(&self) -> Vec<String> {
        self.state.lock().log.clone()
    }

    pub fn note(&self, line: &str) {
        self.state.lock().log.push(line.to_owned());
    }

    async fn carry(
        self,
        epoch: u64,
        request: Request<Body>,
    ) -> Result<http::Response<AnswerBody>, lockstep_sandbox::Broken> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let watch = uri.query().unwrap_or("").contains("watch=true");
        let mut crash = None;
        let lost = {
            let mut state = self.state.lock();
            if epoch == state.epoch && !state.dead && !watch {
                crash = match &mut state.crash {
                    Some((0, how)) => Some(*how),
                    Some((n, _)) => {
                        *n -= 1;
                        None
                    }
                    None => None,
                };
                if let Some(how) = crash {
                    state.crash = None;
                    state.dead = true;
                    state.log.push(format!("dies {how:?} {method} {uri}"));
                    self.crashed.notify_one();
                }
                crash == Some(Crash::Before)
            } else {
                epoch != state.epoch || state.dead
            }
        };
        if lost {
            return pending().await;
        }
        let answer = self.sandbox.call(request).await;
        let lost = {
            let mut state = self.state.lock();
            let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            if method != Method::GET {
                state.log.push(format!("{code} {method} {uri}"));
            }
            let path = uri.path();
            if method == Method::DELETE && code == 200 && state.standing.iter().any(|p| p == path) {
                state.fallen.push(path.to_owned());
            }
            crash.is_some() || (epoch != state.epoch || state.dead) && !watch
        };
        if lost {
            return pending().await;
        }
        answer
    }
}

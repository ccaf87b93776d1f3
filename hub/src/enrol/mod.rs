//! How a cluster joins: a join token and a signing request become a client
//! certificate.
//!
//! In comes a token that somebody with access made, once; out goes a
//! certificate for the cluster that the token is bound to. Nothing that the
//! caller says of itself counts, and what it learns from a refusal helps
//! nobody to guess a token.

mod join_tokens;
mod limit;
mod service;
mod token;

pub use join_tokens::{JoinTokenError, JoinTokens};
pub use service::Enrol;

#[cfg(test)]
mod tests;

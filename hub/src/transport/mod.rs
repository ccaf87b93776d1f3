//! The listener for agents and people: TLS 1.3 in front of gRPC.
//!
//! In come TCP connections, out go requests with a [`PeerInfo`] that says who
//! is at the other end. A client certificate is optional, but one that our CA
//! did not sign never gets past the handshake. This room decides who the peer
//! is, never what it may do.

mod accept;
mod calls;
mod connection;
mod peer;
mod tls;

pub use accept::{GrpcService, Listener};
pub use calls::CountCalls;
pub use peer::{PeerIdentity, PeerInfo};
pub use tls::{Certificates, TlsError};

#[cfg(test)]
mod tests;

//! What it means that the hub, or the way to it, said no.

use std::error::Error as _;

use lockstep_proto::client::innermost;
use tonic::{Code, Status};

/// What an alert of TLS says when it is about our certificate. The alert
/// arrives wherever the first read happens to be, and only as text.
const ALERTS: [&str; 8] = [
    "CertificateExpired",
    "CertificateRevoked",
    "CertificateUnknown",
    "CertificateRequired",
    "BadCertificate",
    "UnsupportedCertificate",
    "UnknownCA",
    "AccessDenied",
];

/// What rustls says when it is about the hub's.
const STRANGER: &str = "invalid peer certificate";

/// What rustls says of a peer that died: true, and no help to anybody.
const CUT: &str = "without sending TLS close_notify";

/// Why a connection or a call did not go well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The hub does not take this certificate: nothing but another will do.
    Identity(String),
    /// Whoever answers is not the hub that this agent joined.
    Stranger(String),
    /// A newer session of this same cluster took our place.
    Superseded(String),
    /// Worth trying again.
    Passing(String),
}

impl Refusal {
    /// What a failure to connect means.
    pub fn of_dial(cause: String) -> Self {
        if cause.contains(STRANGER) {
            return Self::Stranger(cause);
        }
        let alert = cause.contains("alert") && ALERTS.iter().any(|a| cause.contains(a));
        if alert {
            Self::Identity(cause)
        } else {
            Self::Passing(cause)
        }
    }

    /// What a failed call means.
    pub fn of_status(status: &Status) -> Self {
        let cause = words(status);
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Self::Identity(cause),
            Code::Aborted => Self::Superseded(cause),
            _ => Self::of_dial(cause),
        }
    }
}

/// A status in words: what the transport says at the bottom, else what the
/// hub says.
pub fn words(status: &Status) -> String {
    match status.source() {
        Some(source) => {
            let cause = innermost(source);
            if cause.contains(CUT) {
                "the connection was lost".into()
            } else {
                cause
            }
        }
        None if status.message().is_empty() => format!("the hub answered {:?}", status.code()),
        None => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_another_certificate_would_cure_is_about_the_identity() {
        let status = |code, text: &str| Refusal::of_status(&Status::new(code, text));
        let text = String::from;
        for (refusal, expected) in [
            (
                status(Code::Unauthenticated, "x"),
                Refusal::Identity(text("x")),
            ),
            (
                status(Code::PermissionDenied, "x"),
                Refusal::Identity(text("x")),
            ),
            (status(Code::Aborted, "x"), Refusal::Superseded(text("x"))),
            (status(Code::Unavailable, "x"), Refusal::Passing(text("x"))),
            (
                status(Code::Internal, ""),
                Refusal::Passing(text("the hub answered Internal")),
            ),
            (
                Refusal::of_dial(text("received fatal alert: CertificateExpired")),
                Refusal::Identity(text("received fatal alert: CertificateExpired")),
            ),
            (
                Refusal::of_dial(text("received fatal alert: HandshakeFailure")),
                Refusal::Passing(text("received fatal alert: HandshakeFailure")),
            ),
            (
                Refusal::of_dial(text("x: invalid peer certificate: UnknownIssuer")),
                Refusal::Stranger(text("x: invalid peer certificate: UnknownIssuer")),
            ),
            (
                Refusal::of_dial(text("Connection refused (os error 111)")),
                Refusal::Passing(text("Connection refused (os error 111)")),
            ),
        ] {
            assert_eq!(refusal, expected);
        }
    }
}

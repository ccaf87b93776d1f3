//! Why a remote gives nothing, in words that lead to what to do about it.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use http::StatusCode;
use rustls::CertificateError;

use super::mirror::MirrorError;
use super::pktline::NotPackets;
use super::protocol::ProtocolError;

/// One failure of one look at a remote. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    #[error("{0}")]
    Url(String),
    #[error("{0}")]
    Credential(String),
    #[error("cannot reach {host}: {cause}")]
    Unreachable { host: String, cause: String },
    #[error("{host} answered {status}{hint}")]
    Answer {
        host: String,
        status: u16,
        hint: String,
    },
    #[error("{host} redirects {cause}")]
    Redirect { host: String, cause: String },
    #[error(
        "{host} does not answer as a Git server at this address (it sent {found}): check spec.url"
    )]
    NotGit { host: String, found: String },
    #[error("{host} {what} for {}s", after.as_secs())]
    Stalled {
        host: String,
        what: &'static str,
        after: Duration,
    },
    #[error("the server took longer than {}s and was given up", .0.as_secs())]
    Deadline(Duration),
    #[error("the fetch brought more than {0} bytes and was given up")]
    TooBig(u64),
    #[error("{host} broke off its answer: {cause}")]
    BrokenOff { host: String, cause: String },
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The pack, or the disk that it is written to.
    #[error("what came cannot be used: {0}")]
    Mirror(#[from] MirrorError),
    #[error("the hub is stopping")]
    Stopped,
}

impl RemoteError {
    /// Whether another try may go better at once, rather than wait as long again.
    pub(super) fn is_quick(&self) -> bool {
        !matches!(
            self,
            Self::Stalled { .. } | Self::Deadline(_) | Self::Stopped
        )
    }

    /// Whether it comes from what was asked for, so that asking for something
    /// else may go well.
    pub(super) fn is_of_content(&self) -> bool {
        matches!(
            self,
            Self::Protocol(_) | Self::Mirror(_) | Self::BrokenOff { .. } | Self::TooBig(_)
        )
    }
}

impl From<NotPackets> for RemoteError {
    fn from(error: NotPackets) -> Self {
        Self::Protocol(error.into())
    }
}

impl From<git2::Error> for RemoteError {
    fn from(error: git2::Error) -> Self {
        Self::Mirror(error.into())
    }
}

/// What a failed request of an HTTP client comes from.
pub(super) fn of_request(host: &str, error: &(dyn StdError + 'static)) -> RemoteError {
    RemoteError::Unreachable {
        host: host.to_owned(),
        cause: innermost(error),
    }
}

/// What an answer that ends early comes from.
pub(super) fn of_body(host: &str, error: &(dyn StdError + 'static)) -> RemoteError {
    RemoteError::BrokenOff {
        host: host.to_owned(),
        cause: innermost(error),
    }
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut next = Some(error);
    let mut dns = false;
    let mut last = String::new();
    while let Some(error) = next {
        if let Some(tls) = tls_in(error) {
            return of_tls(tls);
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionRefused => {
                    return "the connection was refused; is the server running there?".into();
                }
                io::ErrorKind::ConnectionReset => return "the connection was reset".into(),
                io::ErrorKind::UnexpectedEof => return "the connection was closed".into(),
                io::ErrorKind::TimedOut => return "connecting timed out".into(),
                _ => {}
            }
        }
        let text = error.to_string();
        dns |= text.contains("dns error") || text.contains("failed to lookup");
        last = text;
        next = error.source();
    }
    if dns {
        return format!("its name is not known ({last}); check spec.url and the hub's DNS");
    }
    last
}

/// I/O errors wrap what they come from without naming it as their source.
fn tls_in<'a>(mut error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    while let Some(io) = error.downcast_ref::<io::Error>() {
        error = io.get_ref()?;
    }
    error.downcast_ref()
}

fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(cause) => match cause {
            CertificateError::UnknownIssuer => {
                "its certificate is signed by an unknown authority; put that authority's certificate into spec.caBundle".into()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet; check the hub's clock".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name; check spec.url".into()
            }
            other => format!("its certificate is not accepted: {other}"),
        },
        rustls::Error::InvalidMessage(_) => "it does not speak TLS on this port; is it http?".into(),
        other => format!("TLS failed: {other}"),
    }
}

/// What to do about a status; `credential` is the name of the one that was sent.
pub(super) fn of_status(
    host: &str,
    status: StatusCode,
    credential: Option<&str>,
    withheld: bool,
) -> RemoteError {
    let hint = match (status.as_u16(), credential) {
        (401 | 403, _) if withheld => {
            ": credentials go only to the host in spec.url, and that one redirects here; put this address there".into()
        }
        (401, None) => ": it wants a login; name a credential in spec.credential".into(),
        (401, Some(name)) => format!(": check credential {name:?}"),
        (403, None) => ": access is refused; name a credential in spec.credential".into(),
        (403, Some(name)) => format!(": credential {name:?} may not read this repository"),
        (404 | 410, None) => {
            ": there is no such repository, or it wants a credential; check spec.url".into()
        }
        (404 | 410, Some(name)) => {
            format!(": there is no such repository, or credential {name:?} may not see it; check spec.url")
        }
        (429, _) => ": it is asked too often; raise spec.poll".into(),
        (500.., _) => ": the server has a problem of its own".into(),
        _ => String::new(),
    };
    RemoteError::Answer {
        host: host.to_owned(),
        status: status.as_u16(),
        hint,
    }
}

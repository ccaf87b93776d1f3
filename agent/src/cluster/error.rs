//! What can go wrong with one request, and what that means for trying again.

use std::time::Duration;

use kube::core::Status;

/// Why a request to the Kubernetes API brought no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// The server answered, and refused.
    #[error("{}", .0.words())]
    Refused(Box<Refusal>),
    /// Nobody answered.
    #[error("the Kubernetes API cannot be reached: {0}")]
    Unreachable(String),
    /// The answer took longer than we wait.
    #[error("the Kubernetes API did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The answer makes no sense.
    #[error("the Kubernetes API gave an answer that cannot be read: {0}")]
    Malformed(String),
}

/// A refusal in the server's words.
#[derive(Debug, Clone, Default)]
pub struct Refusal {
    pub code: u16,
    pub reason: String,
    pub message: String,
    /// Field and reason of each cause.
    pub causes: Vec<(String, String)>,
    pub retry_after: Option<Duration>,
    /// The answer was a page, not a Status: the path itself is not served.
    pub no_such_path: bool,
}

/// Longer messages are cut: some webhooks answer with whole documents.
const LONGEST_MESSAGE: usize = 600;

impl Refusal {
    /// Reads the body of an answer that is not a success.
    #[must_use]
    pub fn read(code: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        let Ok(status) = serde_json::from_slice::<Status>(body) else {
            return Self {
                code,
                message: cut(String::from_utf8_lossy(body).trim()),
                retry_after,
                no_such_path: code == 404,
                ..Self::default()
            };
        };
        let (named, seconds, causes) = status.details.map_or_else(Default::default, |details| {
            let causes = details.causes.into_iter();
            (
                !details.name.is_empty(),
                u64::from(details.retry_after_seconds),
                causes.map(|c| (c.field, c.message)).collect::<Vec<_>>(),
            )
        });
        Self {
            code,
            reason: status.reason,
            message: cut(&status.message),
            causes,
            retry_after: retry_after.or((seconds > 0).then(|| Duration::from_secs(seconds))),
            no_such_path: code == 404 && !named,
        }
    }

    fn words(&self) -> String {
        match self.message.as_str() {
            "" => format!("HTTP {}", self.code),
            message => format!("{message} (HTTP {})", self.code),
        }
    }
}

fn cut(message: &str) -> String {
    if message.len() <= LONGEST_MESSAGE {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(LONGEST_MESSAGE);
    format!("{}…", &message[..end])
}

impl ApiError {
    /// The same, with what the server said as `change` puts it.
    #[must_use]
    pub fn said(mut self, change: impl Fn(&str) -> String) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.message = change(&refusal.message);
            for (_, message) in &mut refusal.causes {
                *message = change(message);
            }
        }
        self
    }

    /// What the server said, where it answered.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    fn code(&self) -> u16 {
        self.refusal().map_or(0, |refusal| refusal.code)
    }

    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == 404
    }

    /// The kind's path is not served: discovery is out of date, or the CRD is gone.
    #[must_use]
    pub fn is_kind_gone(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.no_such_path)
    }

    /// The namespace that the server says is missing.
    #[must_use]
    pub fn is_namespace_missing(&self, namespace: &str) -> bool {
        self.is_not_found()
            && !namespace.is_empty()
            && self.refusal().is_some_and(|refusal| {
                refusal.message == format!("namespaces {namespace:?} not found")
            })
    }

    /// The namespace is being deleted and takes nothing new: it will be gone,
    /// and can be made again.
    #[must_use]
    pub fn is_namespace_ending(&self) -> bool {
        self.is_forbidden()
            && self
                .refusal()
                .is_some_and(|refusal| refusal.message.contains("because it is being terminated"))
    }

    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == 409
    }

    /// A watch or a list token that is too old.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.code() == 410
            || self
                .refusal()
                .is_some_and(|refusal| refusal.reason == "Expired" || refusal.reason == "Gone")
    }

    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self.code(), 401 | 403)
    }

    /// The server takes the request for wrong, not for untimely.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        matches!(self.code(), 400 | 422)
    }

    /// Nothing was said about the object: the same will happen to every other.
    #[must_use]
    pub fn is_about_the_server(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// Likely to pass by itself within moments, without a person.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(refusal) => {
                matches!(refusal.code, 409 | 429 | 500 | 502 | 503 | 504)
            }
            Self::Unreachable(_) => true,
            Self::Timeout(_) | Self::Malformed(_) => false,
        }
    }

    /// How long the server asks us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal().and_then(|refusal| refusal.retry_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, body: &str) -> ApiError {
        ApiError::Refused(Box::new(Refusal::read(code, body.as_bytes(), None)))
    }

    #[test]
    fn a_status_is_told_in_the_servers_words() {
        let error = refused(
            422,
            r#"{"kind":"Status","status":"Failure","message":"Service \"web\" is invalid: spec.clusterIP: Invalid value: \"\": field is immutable","reason":"Invalid","details":{"name":"web","kind":"Service","causes":[{"reason":"FieldValueInvalid","message":"field is immutable","field":"spec.clusterIP"}]},"code":422}"#,
        );
        assert!(error.is_invalid());
        assert!(error.to_string().contains("spec.clusterIP"), "{error}");
        assert!(!error.is_transient());
    }

    #[test]
    fn a_missing_namespace_is_told_from_a_missing_kind() {
        let namespace = refused(
            404,
            r#"{"kind":"Status","message":"namespaces \"shop\" not found","reason":"NotFound","details":{"name":"shop","kind":"namespaces"},"code":404}"#,
        );
        assert!(namespace.is_namespace_missing("shop"));
        assert!(!namespace.is_namespace_missing("other"));
        assert!(!namespace.is_kind_gone());
        let kind = refused(404, "404 page not found\n");
        assert!(kind.is_kind_gone());
        assert!(!kind.is_namespace_missing("shop"));
        let resource = refused(
            404,
            r#"{"kind":"Status","message":"the server could not find the requested resource","reason":"NotFound","details":{},"code":404}"#,
        );
        assert!(resource.is_kind_gone());
    }

    #[test]
    fn a_busy_server_says_when_to_come_back() {
        let error = refused(
            429,
            r#"{"kind":"Status","message":"too many requests","reason":"TooManyRequests","details":{"retryAfterSeconds":2},"code":429}"#,
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
        assert!(error.is_transient());
    }

    #[test]
    fn a_very_long_answer_is_cut_at_a_character() {
        let error = refused(500, &"ä".repeat(5_000));
        assert!(error.to_string().len() < 700);
    }
}

//! The type of everything that must not be seen: tokens, passwords, keys.
//!
//! A [`Secret`] neither prints nor serialises, is wiped when dropped, and
//! compares in constant time. Whoever needs the text says so with `expose`.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A secret text. `Debug` shows only that it is one.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that sends or checks it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `other` is the same text, in time that depends on no content.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(other).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        #[derive(Debug)]
        struct Login {
            #[allow(dead_code)]
            password: Secret,
        }
        let login = Login {
            password: Secret::new("hunter2"),
        };
        assert_eq!(format!("{login:?}"), "Login { password: [secret] }");
    }

    #[test]
    fn a_secret_matches_itself_alone() {
        let secret = Secret::new("hunter2");
        assert!(secret.matches(b"hunter2"));
        for other in [&b""[..], b"hunter", b"hunter22", b"Hunter2"] {
            assert!(!secret.matches(other));
        }
    }
}

//! `lsj1.<id>.<secret>.<pin>`: what a person hands to an agent so that it may
//! join, and so that it trusts nobody on first use.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A join token. Neither prints nor serialises but to the hub.
#[derive(Clone)]
pub struct JoinToken {
    text: String,
    id: String,
    pin: [u8; 32],
}

/// Not a join token. Does not repeat the text: it may be one with a typing error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a join token: expected lsj1.<id>.<secret>.<pin> in one word, \
     as `lockstep token create --cluster NAME` prints it"
)]
pub struct TokenError;

impl JoinToken {
    /// # Errors
    /// [`TokenError`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let parts: Vec<&str> = text.split('.').collect();
        let &["lsj1", id, secret, pin] = parts.as_slice() else {
            return Err(TokenError);
        };
        let word = |part: &str| {
            let base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (1..=256).contains(&part.len()) && part.bytes().all(base64url)
        };
        if !word(id) || !word(secret) {
            return Err(TokenError);
        }
        let pin = URL_SAFE_NO_PAD.decode(pin).map_err(|_| TokenError)?;
        Ok(Self {
            id: id.to_owned(),
            pin: pin.try_into().map_err(|_| TokenError)?,
            text: text.to_owned(),
        })
    }

    /// Names the token without giving it away.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// SHA-256 of the `SubjectPublicKeyInfo` of the hub's CA.
    #[must_use]
    pub fn pin(&self) -> [u8; 32] {
        self.pin
    }

    /// The whole of it, for the hub alone.
    pub(super) fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin() -> String {
        URL_SAFE_NO_PAD.encode([7; 32])
    }

    #[test]
    fn a_token_is_read_with_white_space_around_it() {
        let token = JoinToken::parse(&format!(" lsj1.abc.s3cr_et-.{}\n", pin())).unwrap();
        assert_eq!((token.id(), token.pin()), ("abc", [7; 32]));
        assert!(token.expose().starts_with("lsj1.abc.s3cr_et-."));
    }

    #[test]
    fn a_token_does_not_print_its_secret() {
        let token = JoinToken::parse(&format!("lsj1.abc.s3cret.{}", pin())).unwrap();
        assert_eq!(format!("{token:?}"), "JoinToken(abc)");
    }

    #[test]
    fn anything_else_is_refused_without_being_repeated() {
        let pin = pin();
        for text in [
            String::new(),
            "lsj1".into(),
            format!("lsj2.a.b.{pin}"),
            format!("lsj1.a.{pin}"),
            format!("lsj1..b.{pin}"),
            format!("lsj1.a.b b.{pin}"),
            "lsj1.a.b.AAAA".into(),
            format!("lsj1.a.b.{pin}.c"),
        ] {
            let error = JoinToken::parse(&text).unwrap_err();
            assert!(!error.to_string().contains(&pin), "{text}");
        }
    }
}

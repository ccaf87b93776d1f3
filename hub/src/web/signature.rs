//! How each forge proves that a call is its own. Pure: headers and body in,
//! yes or no out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, header};
use sha2::Sha256;

use crate::secret::Secret;

/// Who calls, by the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forge {
    Github,
    Gitlab,
    Gitea,
    Bitbucket,
    Azure,
    Generic,
}

impl Forge {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "github" => Self::Github,
            "gitlab" => Self::Gitlab,
            "gitea" => Self::Gitea,
            "bitbucket" => Self::Bitbucket,
            "azure" => Self::Azure,
            "generic" => Self::Generic,
            _ => return None,
        })
    }

    /// What a signed call of this forge carries, for whoever sent none.
    pub fn expectation(self) -> &'static str {
        match self {
            Self::Github => "X-Hub-Signature-256: sha256=<HMAC-SHA256 of the body, hexadecimal>",
            Self::Gitlab => "X-Gitlab-Token: <the secret>",
            Self::Gitea => "X-Gitea-Signature: <HMAC-SHA256 of the body, hexadecimal>",
            Self::Bitbucket => "X-Hub-Signature: sha256=<HMAC-SHA256 of the body, hexadecimal>",
            Self::Azure => "Authorization: Basic, with the secret as password",
            Self::Generic => "X-Lockstep-Signature: sha256=<HMAC-SHA256 of the body, hexadecimal>",
        }
    }
}

/// A check that is under way: the body is read through it.
pub(super) enum Check {
    /// Settled by the headers.
    Passed,
    Body {
        mac: Box<Hmac<Sha256>>,
        claimed: [u8; 32],
    },
}

impl Check {
    /// Begins a check by the headers. `None` where they carry no proof, or a
    /// wrong one.
    pub fn begin(forge: Forge, headers: &HeaderMap, secret: &Secret) -> Option<Self> {
        let value = |name: &str| headers.get(name).map(http::HeaderValue::as_bytes);
        let claimed = match forge {
            Forge::Gitlab => {
                let token = value("x-gitlab-token")?;
                return secret.matches(token).then_some(Self::Passed);
            }
            Forge::Azure => {
                let password = password(value(header::AUTHORIZATION.as_str())?)?;
                return secret.matches(&password).then_some(Self::Passed);
            }
            Forge::Github => prefixed(value("x-hub-signature-256")?)?,
            Forge::Bitbucket => prefixed(value("x-hub-signature")?)?,
            Forge::Generic => prefixed(value("x-lockstep-signature")?)?,
            Forge::Gitea => hexadecimal(value("x-gitea-signature")?)?,
        };
        let mac = Hmac::new_from_slice(secret.expose().as_bytes()).ok()?;
        Some(Self::Body {
            mac: Box::new(mac),
            claimed,
        })
    }

    /// The next piece of the body.
    pub fn update(&mut self, piece: &[u8]) {
        if let Self::Body { mac, .. } = self {
            mac.update(piece);
        }
    }

    /// Whether the whole body is what was signed.
    pub fn passes(self) -> bool {
        match self {
            Self::Passed => true,
            Self::Body { mac, claimed } => mac.verify_slice(&claimed).is_ok(),
        }
    }
}

fn prefixed(value: &[u8]) -> Option<[u8; 32]> {
    hexadecimal(value.strip_prefix(b"sha256=")?)
}

fn hexadecimal(value: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(value, &mut bytes).ok()?;
    Some(bytes)
}

/// The password of basic authentication (RFC 7617).
fn password(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = pair.iter().position(|&b| b == b':')?;
    Some(pair[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    const FORGES: [Forge; 6] = [
        Forge::Github,
        Forge::Gitlab,
        Forge::Gitea,
        Forge::Bitbucket,
        Forge::Azure,
        Forge::Generic,
    ];

    fn signed(forge: Forge, secret: &[u8], body: &[u8]) -> (&'static str, Vec<u8>) {
        let mac = || {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
            mac.update(body);
            hex::encode(mac.finalize().into_bytes())
        };
        match forge {
            Forge::Github => ("x-hub-signature-256", format!("sha256={}", mac()).into()),
            Forge::Bitbucket => ("x-hub-signature", format!("sha256={}", mac()).into()),
            Forge::Generic => ("x-lockstep-signature", format!("sha256={}", mac()).into()),
            Forge::Gitea => ("x-gitea-signature", mac().into()),
            Forge::Gitlab => ("x-gitlab-token", secret.to_vec()),
            Forge::Azure => {
                let pair = [b"any:", secret].concat();
                let text = format!("Basic {}", STANDARD.encode(pair));
                ("authorization", text.into())
            }
        }
    }

    fn passes(forge: Forge, name: &str, value: &[u8], secret: &str, body: &[u8]) -> bool {
        let mut headers = HeaderMap::new();
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return false;
        };
        headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        let Some(mut check) = Check::begin(forge, &headers, &Secret::new(secret)) else {
            return false;
        };
        for piece in body.chunks(7) {
            check.update(piece);
        }
        check.passes()
    }

    #[test]
    fn the_examples_that_the_forges_publish_pass() {
        // docs.github.com, "Validating webhook deliveries".
        let header = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let secret = "It's a Secret to Everybody";
        let body = b"Hello, World!";
        assert!(passes(
            Forge::Github,
            "x-hub-signature-256",
            header,
            secret,
            body
        ));
        // The same from support.atlassian.com, "Manage webhooks".
        let header = b"sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9";
        assert!(passes(
            Forge::Bitbucket,
            "x-hub-signature",
            header,
            secret,
            b"Hello World!"
        ));
    }

    proptest! {
        #[test]
        fn a_signed_call_passes_and_a_changed_one_does_not(
            secret in "[!-~]{1,40}", other in "[!-~]{1,40}",
            body: Vec<u8>, at: usize, index in 0_usize..6,
        ) {
            let forge = FORGES[index];
            let (name, value) = signed(forge, secret.as_bytes(), &body);
            prop_assert!(passes(forge, name, &value, &secret, &body));
            if other != secret {
                prop_assert!(!passes(forge, name, &value, &other, &body));
            }
            if !body.is_empty() && !matches!(forge, Forge::Gitlab | Forge::Azure) {
                let mut changed = body.clone();
                changed[at % body.len()] ^= 1;
                prop_assert!(!passes(forge, name, &value, &secret, &changed));
            }
        }

        #[test]
        fn no_header_however_strange_passes_or_panics(
            value: Vec<u8>, prefix in "(sha256=|Basic |basic|sha1=|)", index in 0_usize..6,
        ) {
            let forge = FORGES[index];
            let (name, _) = signed(forge, b"", b"");
            let value = [prefix.as_bytes(), &value].concat();
            prop_assert!(!passes(forge, name, &value, "a secret that is not in it", b"body"));
        }
    }

    #[test]
    fn an_unsigned_call_does_not_pass() {
        for forge in FORGES {
            let check = Check::begin(forge, &HeaderMap::new(), &Secret::new("s"));
            assert!(check.is_none(), "{forge:?}");
        }
    }
}

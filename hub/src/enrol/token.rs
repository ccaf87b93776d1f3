//! The text of a join token: `lsj1.<id>.<secret>.<pin>`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lockstep_proto::Digest;

use crate::secret::Secret;

const PREFIX: &str = "lsj1";
/// 16 hexadecimal digits: a name that nobody has to keep secret.
const ID_LENGTH: usize = 16;

/// A new token, before anyone has seen it.
pub(super) struct NewToken {
    pub id: String,
    /// What the hub keeps.
    pub hash: Digest,
    /// What the agent is given.
    pub text: Secret,
}

/// What the hub takes from a token that somebody presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Presented {
    pub id: String,
    pub hash: Digest,
}

/// A token from 256 bits of chance, for a hub whose CA has this pin.
pub(super) fn new(id: [u8; ID_LENGTH / 2], secret: [u8; 32], pin: [u8; 32]) -> NewToken {
    let id = hex::encode(id);
    let secret = URL_SAFE_NO_PAD.encode(secret);
    let pin = URL_SAFE_NO_PAD.encode(pin);
    NewToken {
        hash: hash(&secret),
        text: Secret::new(format!("{PREFIX}.{id}.{secret}.{pin}")),
        id,
    }
}

/// Reads a token; `None` where it is not the text of one. The pin is for the
/// agent: it has chosen to talk to us already.
pub(super) fn parse(text: &str) -> Option<Presented> {
    let mut parts = text.trim().split('.');
    let (prefix, id, secret, pin) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed = prefix == PREFIX
        && parts.next().is_none()
        && id.len() == ID_LENGTH
        && id
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && [secret, pin].iter().all(|part| {
            let mut bytes = [0; 32];
            part.len() == 43 && URL_SAFE_NO_PAD.decode_slice(part, &mut bytes) == Ok(32)
        });
    well_formed.then(|| Presented {
        id: id.to_owned(),
        hash: hash(secret),
    })
}

fn hash(secret: &str) -> Digest {
    Digest::of(secret.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_reads_as_what_was_written(
            id: [u8; 8], secret: [u8; 32], pin: [u8; 32], other: [u8; 32],
        ) {
            let token = new(id, secret, pin);
            let presented = parse(token.text.expose()).unwrap();
            prop_assert_eq!(&presented.id, &token.id);
            prop_assert_eq!(presented.hash, token.hash);
            if other != secret {
                prop_assert_ne!(new(id, other, pin).hash, token.hash);
            }
            lockstep_proto::names::check_label(&token.id).unwrap();
        }

        #[test]
        fn nonsense_is_no_token_and_no_panic(text in ".{0,200}") {
            prop_assert_eq!(parse(&text), None);
        }

        #[test]
        fn a_token_that_lost_or_gained_a_character_is_none(
            secret: [u8; 32], at in 0_usize..120, extra in "[a-zA-Z0-9._]",
        ) {
            let text = new([7; 8], secret, [9; 32]).text;
            let at = at.min(text.expose().len() - 1);
            let mut shorter = text.expose().to_owned();
            shorter.remove(at);
            prop_assert_eq!(parse(&shorter), None);
            let mut longer = text.expose().to_owned();
            longer.insert_str(at, &extra);
            prop_assert_eq!(parse(&longer), None);
        }
    }
}

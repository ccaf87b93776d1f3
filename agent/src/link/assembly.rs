//! Puts a desired state together from the parts that it comes in. Pure.

use lockstep_proto::Digest;

use crate::desired::{Held, Part};

/// What an agent accepts of one desired state: guards it against a hub that
/// has lost its mind.
const ASSIGNMENTS: usize = 10_000;

/// Why the parts do not make a state. The cure is the same for all of them: a
/// new session that asks for a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Diverged {
    #[error("version {version} is a change to version {base}, and this agent holds {held}")]
    Base { version: u64, base: u64, held: u64 },
    #[error("version {version} should have digest {said:?}, and what arrived has {found}")]
    Digest {
        version: u64,
        said: String,
        found: Digest,
    },
    #[error("version {version} cannot be read: {cause}")]
    Item { version: u64, cause: String },
    #[error("version {0} is of more than {ASSIGNMENTS} assignments")]
    TooLarge(u64),
}

/// The state that is arriving, if one is.
#[derive(Debug, Default)]
pub struct Assembly {
    draft: Option<Held>,
}

impl Assembly {
    /// Adds a part to what is arriving on top of `held`. Gives the state when
    /// it is complete. A part of another version begins anew: the hub has
    /// something newer to say.
    ///
    /// # Errors
    /// [`Diverged`]; nothing is kept of what had arrived.
    pub fn take(&mut self, held: &Held, part: Part) -> Result<Option<Held>, Diverged> {
        let version = part.version;
        let mut draft = match self.draft.take().filter(|draft| draft.version == version) {
            Some(draft) => draft,
            None if part.base == 0 => Held::default(),
            None if part.base == held.version => held.clone(),
            None => {
                return Err(Diverged::Base {
                    version,
                    base: part.base,
                    held: held.version,
                });
            }
        };
        draft.version = version;
        let (last, said) = (part.last, part.digest.clone());
        draft.merge(part).map_err(|error| Diverged::Item {
            version,
            cause: error.to_string(),
        })?;
        if draft.len() > ASSIGNMENTS {
            return Err(Diverged::TooLarge(version));
        }
        if !last {
            self.draft = Some(draft);
            return Ok(None);
        }
        let found = draft.digest();
        if said == found.to_string() {
            Ok(Some(draft))
        } else {
            Err(Diverged::Digest {
                version,
                said,
                found,
            })
        }
    }
}

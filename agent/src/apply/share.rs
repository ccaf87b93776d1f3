//! How much of an Assignment one revision may remove before a person is asked.

use std::fmt;

/// What a prune may remove when nothing is said.
const DEFAULT: Share = Share::Percent(20);

/// `spec.sync.maxPrune`: "20%", or a number of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    Percent(u8),
    Objects(u32),
}

impl Share {
    /// Reads the option; the default where it is empty. What cannot be read
    /// (the hub checks it, so a newer hub) is the default too: the careful side.
    #[must_use]
    pub fn read(text: &str) -> Self {
        Self::parse(text).unwrap_or(DEFAULT)
    }

    /// Reads "20%" or "15"; none where it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse().ok().map(Self::Percent),
            None => text.parse().ok().map(Self::Objects),
        }
    }

    /// How many of `base` objects may go: one at least, so that a small
    /// Assignment does not ask for every file that is deleted.
    #[must_use]
    pub fn allows(self, base: usize) -> usize {
        let share = match self {
            Self::Percent(percent) => base.saturating_mul(usize::from(percent.min(100))) / 100,
            Self::Objects(objects) => usize::try_from(objects).unwrap_or(usize::MAX),
        };
        share.max(1)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Objects(objects) => write!(f, "{objects}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage_or_a_number_but_never_less_than_one_object() {
        for (text, base, allowed) in [
            ("", 10, 2),
            ("20%", 100, 20),
            ("20%", 4, 1),
            ("20%", 0, 1),
            ("0%", 100, 1),
            ("100%", 7, 7),
            ("200%", 7, 7),
            ("15", 1000, 15),
            ("0", 1000, 1),
            ("nonsense", 10, 2),
        ] {
            assert_eq!(Share::read(text).allows(base), allowed, "{text} of {base}");
        }
    }
}

//! Names with `*` for any run of characters and `?` for one.

/// See the module. Upper and lower case are the same: a rule that meant
/// `Secret` and says `secret` must not let it through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Box<[u8]>);

impl Glob {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_ascii_lowercase().into_bytes().into())
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let (glob, text) = (&self.0, text.as_bytes());
        let (mut g, mut t) = (0, 0);
        // Where the last `*` stands, and how far it reaches.
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match glob.get(g) {
                Some(b'*') => {
                    star = Some((g, t));
                    g += 1;
                }
                Some(wanted) if *wanted == b'?' || *wanted == text[t].to_ascii_lowercase() => {
                    g += 1;
                    t += 1;
                }
                _ => match &mut star {
                    Some((at, reach)) => {
                        *reach += 1;
                        (g, t) = (*at + 1, *reach);
                    }
                    None => return false,
                },
            }
        }
        glob[g..].iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_run_and_question_marks_for_one() {
        for (glob, text, matches) in [
            ("shop", "shop", true),
            ("shop", "shop2", false),
            ("shop", "xshop", false),
            ("Secret", "secret", true),
            ("team-*", "team-", true),
            ("team-*", "team-a", true),
            ("team-*", "the-team-a", false),
            ("*-dev", "shop-dev", true),
            ("*-dev", "dev-dev", true),
            ("*-dev", "shop-dev-2", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("t?am", "team", true),
            ("t?am", "tam", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(Glob::new(glob).matches(text), matches, "{glob} {text}");
        }
    }
}

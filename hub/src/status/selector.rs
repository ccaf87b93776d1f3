//! The text form of a label selector, as people type it after `-l`: the
//! grammar of `k8s.io/apimachinery/pkg/labels`.

use super::labels::{Requirement, Selector, check_key, check_value};

/// Longer than any selector that a person or a script writes.
const MAX_LENGTH: usize = 4096;

/// Why a text is not a label selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{selector:?} is not a label selector: {cause}. Write it like \
     \"env=prod,region in (eu,us),!edge\""
)]
pub struct SelectorError {
    pub selector: String,
    pub cause: String,
}

impl std::str::FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let error = |cause: String| SelectorError {
            selector: text.chars().take(100).collect(),
            cause,
        };
        if text.len() > MAX_LENGTH {
            return Err(error(format!("it is longer than {MAX_LENGTH} bytes")));
        }
        let mut parser = Parser {
            tokens: tokens(text),
            at: 0,
        };
        parser.selector().map(Selector::new).map_err(error)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'a str),
    End,
}

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(text) | Self::Symbol(text) => write!(f, "{text:?}"),
            Self::End => f.write_str("the end"),
        }
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    const SYMBOLS: &[char] = &['=', '!', '(', ')', ',', '>', '<'];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let length = match rest.find(|c: char| c.is_whitespace() || SYMBOLS.contains(&c)) {
            Some(0) if rest.starts_with("==") || rest.starts_with("!=") => 2,
            Some(0) => 1,
            Some(length) => length,
            None => rest.len(),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(if token.starts_with(SYMBOLS) {
            Token::Symbol(token)
        } else {
            Token::Word(token)
        });
        rest = after.trim_start();
    }
    tokens
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        if self.peek() == Token::End {
            return Ok(requirements);
        }
        loop {
            requirements.push(self.requirement()?);
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Symbol(",") => {}
                other => return Err(format!("expected \",\" or the end, found {other}")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.peek() == Token::Symbol("!") {
            self.next();
            return Ok(Requirement::DoesNotExist(self.key()?));
        }
        let key = self.key()?;
        match self.peek() {
            Token::Symbol(",") | Token::End => Ok(Requirement::Exists(key)),
            Token::Symbol("=" | "==") => {
                self.next();
                Ok(Requirement::In(key, vec![self.value()?]))
            }
            Token::Symbol("!=") => {
                self.next();
                Ok(Requirement::NotIn(key, vec![self.value()?]))
            }
            Token::Symbol(order @ (">" | "<")) => {
                self.next();
                let value = self.value()?;
                let number = value
                    .parse()
                    .map_err(|_| format!("{order:?} needs a whole number, found {value:?}"))?;
                Ok(match order {
                    ">" => Requirement::GreaterThan(key, number),
                    _ => Requirement::LessThan(key, number),
                })
            }
            Token::Word("in") => {
                self.next();
                Ok(Requirement::In(key, self.values()?))
            }
            Token::Word("notin") => {
                self.next();
                Ok(Requirement::NotIn(key, self.values()?))
            }
            other => Err(format!(
                "expected =, !=, in, notin, > or < after {key:?}, found {other}"
            )),
        }
    }

    fn key(&mut self) -> Result<String, String> {
        match self.next() {
            Token::Word(key) => {
                check_key(key)?;
                Ok(key.to_owned())
            }
            other => Err(format!("expected a label key, found {other}")),
        }
    }

    /// A value, which may be empty.
    fn value(&mut self) -> Result<String, String> {
        let Token::Word(value) = self.peek() else {
            return Ok(String::new());
        };
        self.next();
        check_value(value)?;
        Ok(value.to_owned())
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(format!("expected \"(\", found {other}")),
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            match self.next() {
                Token::Symbol(")") => return Ok(values),
                Token::Symbol(",") => {}
                other => return Err(format!("expected \",\" or \")\", found {other}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let selector: Selector = selector.parse().unwrap();
        selector.matches_by(|key| labels.get(key).copied())
    }

    #[test]
    fn selectors_mean_what_they_mean_to_kubectl() {
        let eu = &[("env", "prod"), ("region", "eu"), ("nodes", "12")];
        for (selector, expected) in [
            ("", true),
            ("env=prod", true),
            ("env==prod", true),
            ("env = prod , region = eu", true),
            ("env=dev", false),
            ("env!=dev", true),
            ("zone!=a", true),
            ("env!=prod", false),
            ("region in (eu,us)", true),
            ("region in (us, ap)", false),
            ("region notin (us)", true),
            ("zone notin (a)", true),
            ("region notin (eu)", false),
            ("env", true),
            ("zone", false),
            ("!zone", true),
            ("! env", false),
            ("env=", false),
            ("zone in ()", false),
            ("nodes>11", true),
            ("nodes > 12", false),
            ("nodes<13", true),
            ("env>1", false),
            ("env=prod,region in (eu,us),!edge", true),
            ("lockstep.dev/tier=a", false),
            // Words are keywords only where an operator may stand.
            ("in", false),
            ("notin in (in)", false),
        ] {
            assert_eq!(matches(selector, eu), expected, "{selector}");
        }
        assert!(matches("env=", &[("env", "")]));
        assert!(matches("in in (in)", &[("in", "in")]));
    }

    #[test]
    fn a_selector_that_is_none_says_what_was_expected() {
        for (selector, cause) in [
            ("env=prod,", "expected a label key, found the end"),
            (",", "expected a label key, found \",\""),
            ("env in", "expected \"(\", found the end"),
            ("env in (a", "expected \",\" or \")\", found the end"),
            ("env prod", "expected =, !=, in, notin, > or <"),
            ("env=a b", "expected \",\" or the end, found \"b\""),
            ("n>x", "needs a whole number"),
            ("-a", "is not a label key"),
            ("a=b/c", "is not a label value"),
            ("a===b", "expected \",\" or the end"),
        ] {
            let error = selector.parse::<Selector>().unwrap_err().to_string();
            assert!(error.contains(cause), "{selector}: {error}");
        }
        let long = "a,".repeat(3000);
        assert!(long.parse::<Selector>().is_err());
    }
}

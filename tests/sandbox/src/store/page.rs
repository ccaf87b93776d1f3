//! Lists read in pages: the rest of a list is kept as it was when the first page was read,
//! so that the pages together are one consistent list.

use std::collections::VecDeque;
use std::sync::Arc;

use super::object::Object;

/// Unfinished lists kept at a time; the oldest go first, and their readers start again.
const MOST_PAGES: usize = 64;

/// What a continue token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    id: u64,
    pub revision: u64,
    offset: usize,
}

impl Token {
    pub(crate) fn encode(&self) -> String {
        format!("{}.{}.{}", self.id, self.revision, self.offset)
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (id, revision, offset) = (number()?, number()?, number()?);
        Some(Self {
            id,
            revision,
            offset: usize::try_from(offset).ok()?,
        })
    }
}

#[derive(Default)]
pub(crate) struct Pages {
    next: u64,
    lists: VecDeque<(u64, Arc<[Arc<Object>]>)>,
}

/// One page: its objects, and the token and size of what is left.
pub(crate) type Page = (Vec<Arc<Object>>, Option<(Token, usize)>);

impl Pages {
    /// The first page of a list.
    pub(crate) fn start(&mut self, objects: Vec<Arc<Object>>, revision: u64, limit: usize) -> Page {
        if objects.len() <= limit {
            return (objects, None);
        }
        let id = self.next;
        self.next += 1;
        self.lists.push_back((id, objects.into()));
        if self.lists.len() > MOST_PAGES {
            self.lists.pop_front();
        }
        self.read(
            &Token {
                id,
                revision,
                offset: 0,
            },
            limit,
        )
        .unwrap_or_default()
    }

    /// The page that a token stands for; `None` once it expired.
    pub(crate) fn read(&self, token: &Token, limit: usize) -> Option<Page> {
        let (_, objects) = self.lists.iter().find(|(id, _)| *id == token.id)?;
        let rest = objects.get(token.offset..)?;
        if rest.len() <= limit {
            return Some((rest.to_vec(), None));
        }
        let next = Token {
            offset: token.offset + limit,
            ..token.clone()
        };
        Some((rest[..limit].to_vec(), Some((next, rest.len() - limit))))
    }
}

//! What people said of assignments beside their specs: releases, pins, pauses
//! and approvals.

use lockstep_proto::{Digest, v1};
use prost::Message;
use rusqlite::{OptionalExtension as _, params};

use super::rows::{signed, unsigned};
use super::{Control, Held, Order, Said, StoreError, Tx};

/// [`Control`] as it stands in `control.body`.
#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(message, optional, tag = "1")]
    released: Option<StoredHeld>,
    #[prost(message, optional, tag = "2")]
    pinned: Option<StoredHeld>,
    #[prost(message, optional, tag = "3")]
    pinned_said: Option<StoredSaid>,
    #[prost(message, optional, tag = "4")]
    paused: Option<StoredSaid>,
    #[prost(bytes = "vec", tag = "5")]
    approved: Vec<u8>,
    #[prost(message, optional, tag = "6")]
    approved_said: Option<StoredSaid>,
    #[prost(enumeration = "v1::history_entry::Cause", tag = "7")]
    order_cause: i32,
    #[prost(message, optional, tag = "8")]
    order_said: Option<StoredSaid>,
    #[prost(string, tag = "9")]
    order_revision: String,
    #[prost(message, optional, tag = "10")]
    changed: Option<StoredSaid>,
    #[prost(message, optional, tag = "11")]
    paused_at: Option<StoredHeld>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredHeld {
    #[prost(string, tag = "1")]
    revision: String,
    #[prost(string, tag = "2")]
    tree: String,
    #[prost(bytes = "vec", tag = "3")]
    digest: Vec<u8>,
    #[prost(uint32, tag = "4")]
    objects: u32,
    #[prost(message, optional, tag = "5")]
    commit: Option<v1::CommitInfo>,
    #[prost(string, tag = "6")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct StoredSaid {
    #[prost(string, tag = "1")]
    by: String,
    #[prost(int64, tag = "2")]
    at: i64,
}

impl Tx<'_> {
    pub fn each_control(&self, mut each: impl FnMut(String, Control)) -> Result<(), StoreError> {
        let mut statement = self
            .0
            .prepare("SELECT assignment, version, body FROM control ORDER BY assignment")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let body: Vec<u8> = row.get(2)?;
            let control = read(unsigned(row.get(1)?), &body)?;
            each(row.get(0)?, control);
        }
        Ok(())
    }

    /// The version of an assignment's control; zero where nothing was said.
    pub fn control_version(&self, assignment: &str) -> Result<u64, StoreError> {
        Ok(self
            .0
            .prepare_cached("SELECT version FROM control WHERE assignment = ?1")?
            .query_row([assignment], |row| row.get(0).map(unsigned))
            .optional()?
            .unwrap_or(0))
    }

    pub fn put_control(&self, assignment: &str, control: &Control) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "INSERT OR REPLACE INTO control
                   (assignment, version, released_digest, pinned_digest, body)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                assignment,
                signed(control.version),
                control.released.as_ref().map(|held| held.digest.0),
                control.pinned.as_ref().map(|(held, _)| held.digest.0),
                Stored::of(control).encode_to_vec()
            ])?;
        Ok(())
    }

    /// With the assignment go what was said of it and the Bundles that it
    /// could have gone back to. Its history stays for a while.
    pub(super) fn drop_control(&self, assignment: &str) -> Result<(), StoreError> {
        for sql in [
            "DELETE FROM control WHERE assignment = ?1",
            "DELETE FROM history_bundles WHERE assignment = ?1",
        ] {
            self.0.prepare_cached(sql)?.execute([assignment])?;
        }
        Ok(())
    }
}

impl Stored {
    fn of(control: &Control) -> Self {
        let said = |said: &Said| StoredSaid {
            by: said.by.clone(),
            at: said.at,
        };
        let held = |held: &Held| StoredHeld {
            revision: held.revision.clone(),
            tree: held.tree.clone(),
            digest: held.digest.0.to_vec(),
            objects: held.objects,
            commit: held.commit.clone(),
            namespace: held.namespace.clone(),
        };
        let (pinned, approved) = (control.pinned.as_ref(), control.approved.as_ref());
        let order = control.order.as_ref();
        Self {
            released: control.released.as_ref().map(held),
            pinned: pinned.map(|(pin, _)| held(pin)),
            pinned_said: pinned.map(|(_, by)| said(by)),
            paused: control.paused.as_ref().map(|(by, _)| said(by)),
            paused_at: control
                .paused
                .as_ref()
                .and_then(|(_, at)| at.as_ref().map(held)),
            approved: approved.map_or_else(Vec::new, |(digest, _)| digest.0.to_vec()),
            approved_said: approved.map(|(_, by)| said(by)),
            order_cause: order.map_or(0, |order| order.cause.into()),
            order_said: order.map(|order| said(&order.said)),
            order_revision: order.map_or_else(String::new, |order| order.revision.clone()),
            changed: control.changed.as_ref().map(said),
        }
    }
}

fn read(version: u64, body: &[u8]) -> Result<Control, StoreError> {
    let stored = Stored::decode(body).map_err(|error| StoreError::corrupt("control", error))?;
    let order_cause = stored.order_cause();
    let said = |said: Option<StoredSaid>| said.map_or_else(Said::default, said_of);
    let approved = match stored.approved.as_slice() {
        [] => None,
        bytes => Some((digest(bytes)?, said(stored.approved_said))),
    };
    Ok(Control {
        version,
        released: stored.released.map(held).transpose()?,
        pinned: match stored.pinned {
            Some(pin) => Some((held(pin)?, said(stored.pinned_said))),
            None => None,
        },
        paused: match stored.paused {
            Some(by) => Some((said_of(by), stored.paused_at.map(held).transpose()?)),
            None => None,
        },
        approved,
        order: stored.order_said.map(|by| Order {
            cause: order_cause,
            said: said_of(by),
            revision: stored.order_revision,
        }),
        changed: stored.changed.map(said_of),
    })
}

fn said_of(said: StoredSaid) -> Said {
    Said {
        by: said.by,
        at: said.at,
    }
}

fn held(held: StoredHeld) -> Result<Held, StoreError> {
    Ok(Held {
        digest: digest(&held.digest)?,
        revision: held.revision,
        tree: held.tree,
        objects: held.objects,
        commit: held.commit,
        namespace: held.namespace,
    })
}

fn digest(bytes: &[u8]) -> Result<Digest, StoreError> {
    bytes
        .try_into()
        .map(Digest)
        .map_err(|error| StoreError::corrupt("control", error))
}

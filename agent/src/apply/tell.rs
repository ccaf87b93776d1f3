//! What the history is told of drift: one event when it is detected, one when
//! it has ended, whatever lies between them.

use lockstep_proto::v1::ObjectEvent;
use lockstep_proto::v1::object_event::Type;

use super::send::Sender;
use crate::cluster::{ASSIGNMENT_LABEL, Meta};
use crate::inventory::{Drift, ObjectId};

/// What a correction is to put right.
#[derive(Debug, Clone)]
pub enum Wrong {
    /// It was gone, as far as watches tell.
    Missing,
    Differs,
    /// Nothing but who owns it.
    Owner,
}

impl Sender<'_> {
    /// Somebody changed or deleted it.
    pub(super) fn tell_drifted(self, id: &ObjectId, api_version: &str, drift: &Drift) {
        let message = if drift.deleted {
            "deleted by somebody"
        } else {
            ""
        };
        self.tell(Type::Drifted, id, api_version, drift, message);
    }

    /// It was put right, or was so by itself.
    pub(super) fn tell_corrected(
        self,
        id: &ObjectId,
        api_version: &str,
        drift: &Drift,
        message: &str,
    ) {
        self.tell(Type::Corrected, id, api_version, drift, message);
    }

    /// The API server took what puts the object right: `meta` says how.
    pub(super) fn tell_put_back(self, id: &ObjectId, wrong: &Wrong, meta: &Meta) {
        let (api_version, ended, news) = {
            let mut inventory = self.shared.inventory.lock();
            let Some(item) = inventory.get_mut(id) else {
                return;
            };
            let api_version = item.api_version.to_string();
            let told = item.told != 0;
            let known = item.drift.as_deref().cloned();
            let ended = inventory.holds(id, meta.owned());
            let drift = match wrong {
                // What it was made of is gone: nobody can say who did it.
                Wrong::Missing if meta.created => Drift::deleted(),
                // It was there: whoever takes our label away hides it from us.
                Wrong::Missing => Drift::in_fields(
                    vec![format!(".metadata.labels[{ASSIGNMENT_LABEL}]")],
                    meta.last_other_manager(),
                ),
                Wrong::Owner => match ended {
                    Some(ended) => ended,
                    None => return,
                },
                Wrong::Differs => known.or(ended).unwrap_or_else(Drift::deleted),
            };
            (api_version, drift, !told)
        };
        if news {
            self.tell_drifted(id, &api_version, &ended);
        }
        let message = match wrong {
            Wrong::Owner => "put back by somebody else",
            _ if ended.deleted => "made again",
            _ => "",
        };
        self.tell_corrected(id, &api_version, &ended, message);
    }

    /// What puts a missing object right was refused: that it is missing is
    /// news all the same, once.
    pub(super) fn tell_missing(self, id: &ObjectId) {
        let told = {
            let mut inventory = self.shared.inventory.lock();
            let Some(item) = inventory.get_mut(id).filter(|item| item.is_missing()) else {
                return;
            };
            let drift = Drift::deleted();
            let fingerprint = drift.fingerprint();
            let news = std::mem::replace(&mut item.told, fingerprint) != fingerprint;
            news.then(|| (item.api_version.to_string(), drift))
        };
        if let Some((api_version, drift)) = told {
            self.tell_drifted(id, &api_version, &drift);
        }
    }

    fn tell(self, kind: Type, id: &ObjectId, api_version: &str, drift: &Drift, message: &str) {
        self.journal.record(ObjectEvent {
            assignment: self.assignment.to_owned(),
            object: id.say(api_version),
            r#type: kind.into(),
            fields: drift.fields.clone(),
            more_fields: drift.more,
            manager: drift.by.as_deref().unwrap_or("").to_owned(),
            message: message.to_owned(),
            revision: self.target.revision.clone(),
            ..ObjectEvent::default()
        });
    }
}

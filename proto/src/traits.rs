//! What an object asks of whoever applies it, by annotations `lockstep.dev/…`.
//! The hub reads them to refuse what makes no sense, the agent to act on them.

use serde_json::{Map, Value};

use crate::v1::drift;

/// Order inside a stage: smaller first, 0 where nothing is said.
pub const WAVE: &str = "lockstep.dev/wave";
/// `PreSync`, `PostSync` or `SyncFail`.
pub const HOOK: &str = "lockstep.dev/hook";
/// One or more of `BeforeHookCreation` (the default), `HookSucceeded` and
/// `HookFailed`, with commas between.
pub const HOOK_DELETE_POLICY: &str = "lockstep.dev/hook-delete-policy";
/// `Correct`, `Report` or `Ignore`, whatever the Assignment says.
pub const DRIFT: &str = "lockstep.dev/drift";
/// `Disabled`: the object stays when it is no longer wanted.
pub const PRUNE: &str = "lockstep.dev/prune";
/// `OnImmutable`: deleted and made anew where an immutable field changes.
pub const REPLACE: &str = "lockstep.dev/replace";

/// What every annotation of ours begins with.
pub const PREFIX: &str = "lockstep.dev/";
/// All that an object can ask.
pub const NAMES: [&str; 6] = [WAVE, HOOK, HOOK_DELETE_POLICY, DRIFT, PRUNE, REPLACE];
/// Nobody orders by more, and it bounds what a hostile repository can ask for.
const WAVES: std::ops::RangeInclusive<i16> = -1000..=1000;

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Before anything else of the Bundle is applied.
    PreSync,
    /// When all of it is applied and healthy.
    PostSync,
    /// When either of those, or the apply, failed.
    SyncFail,
}

impl Hook {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::PreSync => "PreSync",
            Self::PostSync => "PostSync",
            Self::SyncFail => "SyncFail",
        }
    }
}

/// When a hook's object is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools)]
pub struct HookDelete {
    pub before_creation: bool,
    pub succeeded: bool,
    pub failed: bool,
}

impl HookDelete {
    fn words(self) -> Vec<&'static str> {
        [
            (self.before_creation, "BeforeHookCreation"),
            (self.succeeded, "HookSucceeded"),
            (self.failed, "HookFailed"),
        ]
        .into_iter()
        .filter_map(|(set, word)| set.then_some(word))
        .collect()
    }
}

/// What an object's annotations ask for. The default is what nearly every
/// object asks for: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Traits {
    pub wave: i16,
    pub hook: Option<(Hook, HookDelete)>,
    pub drift: Option<drift::Policy>,
    /// Not to be deleted when it is no longer wanted.
    pub keep: bool,
    /// May be deleted and made anew.
    pub replace: bool,
}

/// An annotation that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {name}: {value:?} is not {expected}")]
pub struct TraitError {
    pub name: &'static str,
    pub value: String,
    pub expected: &'static str,
}

impl Traits {
    /// Reads an object's annotations.
    ///
    /// # Errors
    /// [`TraitError`], for the first that makes no sense.
    pub fn read(annotations: &Map<String, Value>) -> Result<Self, TraitError> {
        let mut traits = Self::default();
        if !annotations.keys().any(|key| key.starts_with(PREFIX)) {
            return Ok(traits);
        }
        let read = |name| annotations.get(name).map(|value| (name, value));
        if let Some((name, value)) = read(WAVE) {
            let wave = text(value)
                .trim()
                .parse()
                .ok()
                .filter(|w| WAVES.contains(w));
            traits.wave = wave.ok_or_else(|| {
                wrong(name, value, "a whole number from -1000 to 1000, in quotes")
            })?;
        }
        if let Some((name, value)) = read(HOOK) {
            let hook = match text(value) {
                "PreSync" => Hook::PreSync,
                "PostSync" => Hook::PostSync,
                "SyncFail" => Hook::SyncFail,
                _ => return Err(wrong(name, value, "PreSync, PostSync or SyncFail")),
            };
            traits.hook = Some((hook, delete_policy(read(HOOK_DELETE_POLICY))?));
        }
        if let Some((name, value)) = read(DRIFT) {
            traits.drift = Some(match text(value) {
                "Correct" => drift::Policy::Correct,
                "Report" => drift::Policy::Report,
                "Ignore" => drift::Policy::Ignore,
                _ => return Err(wrong(name, value, "Correct, Report or Ignore")),
            });
        }
        if let Some((name, value)) = read(PRUNE) {
            traits.keep = match text(value) {
                "Disabled" => true,
                "Enabled" => false,
                _ => return Err(wrong(name, value, "Disabled or Enabled")),
            };
        }
        if let Some((name, value)) = read(REPLACE) {
            traits.replace = match text(value) {
                "OnImmutable" => true,
                "Never" => false,
                _ => return Err(wrong(name, value, "OnImmutable or Never")),
            };
        }
        Ok(traits)
    }

    /// The annotations that ask for this: what [`Traits::read`] reads back.
    #[must_use]
    pub fn annotations(&self) -> Map<String, Value> {
        let mut all = Map::new();
        let mut say = |name: &str, value: &str| all.insert(name.into(), value.into());
        if self.wave != 0 {
            say(WAVE, &self.wave.to_string());
        }
        if let Some((hook, delete)) = self.hook {
            say(HOOK, hook.word());
            let words = delete.words();
            // None at all cannot be said, and nobody can have asked for it.
            if !words.is_empty() {
                say(HOOK_DELETE_POLICY, &words.join(","));
            }
        }
        match self.drift {
            Some(drift::Policy::Correct) => drop(say(DRIFT, "Correct")),
            Some(drift::Policy::Report) => drop(say(DRIFT, "Report")),
            Some(drift::Policy::Ignore) => drop(say(DRIFT, "Ignore")),
            Some(drift::Policy::Unspecified) | None => {}
        }
        if self.keep {
            say(PRUNE, "Disabled");
        }
        if self.replace {
            say(REPLACE, "OnImmutable");
        }
        all
    }

    /// Reads the annotations of an object's canonical JSON; nothing is parsed
    /// where the text does not mention any of ours.
    ///
    /// # Errors
    /// In words, where they make no sense.
    pub fn of_json(object: &[u8]) -> Result<Self, String> {
        #[derive(serde::Deserialize)]
        struct Object {
            #[serde(default)]
            metadata: Metadata,
        }
        #[derive(Default, serde::Deserialize)]
        struct Metadata {
            #[serde(default)]
            annotations: Option<Map<String, Value>>,
        }
        if memchr::memmem::find(object, PREFIX.as_bytes()).is_none() {
            return Ok(Self::default());
        }
        let object: Object = serde_json::from_slice(object)
            .map_err(|error| format!("it is not a Kubernetes object: {error}"))?;
        let annotations = object.metadata.annotations.unwrap_or_default();
        Self::read(&annotations).map_err(|error| error.to_string())
    }
}

fn delete_policy(said: Option<(&'static str, &Value)>) -> Result<HookDelete, TraitError> {
    let mut policy = HookDelete {
        before_creation: false,
        succeeded: false,
        failed: false,
    };
    let Some((name, value)) = said else {
        policy.before_creation = true;
        return Ok(policy);
    };
    for word in text(value).split(',') {
        match word.trim() {
            "BeforeHookCreation" => policy.before_creation = true,
            "HookSucceeded" => policy.succeeded = true,
            "HookFailed" => policy.failed = true,
            _ => {
                let expected = "BeforeHookCreation, HookSucceeded or HookFailed";
                return Err(wrong(name, value, expected));
            }
        }
    }
    Ok(policy)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn wrong(name: &'static str, value: &Value, expected: &'static str) -> TraitError {
    TraitError {
        name,
        value: value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(annotations: &Value) -> Result<Traits, TraitError> {
        Traits::read(annotations.as_object().unwrap())
    }

    #[test]
    fn an_object_without_annotations_of_ours_asks_for_nothing() {
        assert_eq!(read(&json!({"a": "b"})), Ok(Traits::default()));
        let text = br#"{"kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"{"}}"#;
        assert_eq!(Traits::of_json(text), Ok(Traits::default()));
    }

    #[test]
    fn every_annotation_is_understood() {
        let traits = read(&json!({
            "lockstep.dev/wave": "-3", "lockstep.dev/hook": "PostSync",
            "lockstep.dev/hook-delete-policy": "HookSucceeded, HookFailed",
            "lockstep.dev/drift": "Report", "lockstep.dev/prune": "Disabled",
            "lockstep.dev/replace": "OnImmutable"}))
        .unwrap();
        assert_eq!(traits.wave, -3);
        let (hook, delete) = traits.hook.unwrap();
        assert_eq!(hook, Hook::PostSync);
        assert!(!delete.before_creation && delete.succeeded && delete.failed);
        assert_eq!(traits.drift, Some(drift::Policy::Report));
        assert!(traits.keep && traits.replace);
        let text = br#"{"metadata":{"annotations":{"lockstep.dev/hook":"PreSync"}}}"#;
        let (hook, delete) = Traits::of_json(text).unwrap().hook.unwrap();
        assert_eq!(hook, Hook::PreSync);
        assert!(delete.before_creation && !delete.succeeded);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for annotations in [
            json!({}),
            json!({"lockstep.dev/wave": "7"}),
            json!({"lockstep.dev/hook": "SyncFail"}),
            json!({
                "lockstep.dev/wave": "-3", "lockstep.dev/hook": "PostSync",
                "lockstep.dev/hook-delete-policy": "HookSucceeded, HookFailed",
                "lockstep.dev/drift": "Ignore", "lockstep.dev/prune": "Disabled",
                "lockstep.dev/replace": "OnImmutable"}),
        ] {
            let traits = read(&annotations).unwrap();
            assert_eq!(Traits::read(&traits.annotations()), Ok(traits));
        }
        assert!(Traits::default().annotations().is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (name, value) in [
            (WAVE, json!("soon")),
            (WAVE, json!("4000")),
            (WAVE, json!(3)),
            (HOOK, json!("Later")),
            (DRIFT, json!("correct")),
            (PRUNE, json!("false")),
            (REPLACE, json!("yes")),
        ] {
            let error = read(&json!({name: value})).unwrap_err();
            assert_eq!(error.name, name);
            assert!(error.to_string().contains(name), "{error}");
        }
        let hook = json!({HOOK: "PreSync", HOOK_DELETE_POLICY: "Never"});
        assert_eq!(read(&hook).unwrap_err().name, HOOK_DELETE_POLICY);
    }
}

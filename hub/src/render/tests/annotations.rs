//! What objects ask of whoever applies them, by annotations.

use super::{bundle, problem};

#[test]
fn annotations_of_ours_that_make_no_sense_are_named_with_file_and_line() {
    let with = |annotations: &str| {
        format!(
            "\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations: {{{annotations}}}\n"
        )
    };
    for (annotations, want) in [
        (
            "lockstep.dev/wave: '1.5'",
            "annotation lockstep.dev/wave: \"1.5\" is not a whole number",
        ),
        (
            "lockstep.dev/wave: 1",
            "metadata.annotations[\"lockstep.dev/wave\"] is not a text; quote it",
        ),
        (
            "lockstep.dev/hook: PreInstall",
            "annotation lockstep.dev/hook: \"PreInstall\" is not PreSync, PostSync or SyncFail",
        ),
        (
            "lockstep.dev/hook: PreSync, lockstep.dev/hook-delete-policy: Never",
            "annotation lockstep.dev/hook-delete-policy: \"Never\" is not BeforeHookCreation",
        ),
        (
            "lockstep.dev/hook-delete-policy: HookSucceeded",
            "annotation lockstep.dev/hook-delete-policy says nothing without lockstep.dev/hook",
        ),
        (
            "lockstep.dev/drift: ignore",
            "annotation lockstep.dev/drift: \"ignore\" is not Correct, Report or Ignore",
        ),
        (
            "lockstep.dev/prune: 'false'",
            "annotation lockstep.dev/prune: \"false\" is not Disabled or Enabled",
        ),
        (
            "lockstep.dev/replace: Always",
            "annotation lockstep.dev/replace: \"Always\" is not OnImmutable or Never",
        ),
        (
            "lockstep.dev/prunes: Disabled",
            "annotation \"lockstep.dev/prunes\" is not one of lockstep.dev/wave, ",
        ),
    ] {
        let got = problem(&with(annotations));
        let want = format!("deploy/web.yaml:2: ConfigMap a: {want}");
        assert!(got.starts_with(&want), "{got:?}, wanted {want:?}");
    }
    for annotations in [
        "example.com/wave: soon",
        "lockstep.dev/wave: '-3', lockstep.dev/drift: Report, lockstep.dev/prune: Disabled",
        "lockstep.dev/hook: PostSync, lockstep.dev/hook-delete-policy: 'HookSucceeded,HookFailed'",
    ] {
        let got = bundle(&[("a.yaml", &with(annotations))]);
        assert_eq!(got.objects.len(), 1);
    }
}

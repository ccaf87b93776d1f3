//! `lockstep diff`: what a ref would change on the clusters, by a dry run that
//! the agents make.

mod print;

use std::path::PathBuf;

use anyhow::bail;
use lockstep_proto::API_VERSION;
use lockstep_proto::v1::{
    DiffGroup, DiffProgress, DiffRequest, diff_response::Response, object_diff::Action,
};
use serde_json::json;

use super::standing::count;
use crate::args::DiffArgs;
use crate::hub::{self, Hub};
use crate::output::{self, Format};
use crate::term::Progress;
use crate::{Exit, Usage, term};

/// Errors of every kind end in [`Exit::NotCompared`]: 1 says that there are
/// differences.
pub(crate) async fn run(config: Option<PathBuf>, args: DiffArgs) -> anyhow::Result<Exit> {
    let compared = async { compare(&mut hub::connect(config).await?, &args).await };
    let whole = match compared.await {
        Ok(whole) => whole,
        Err(error) => {
            term::say(&format!("error: {}", hub::in_words(&error)));
            return Ok(Exit::NotCompared);
        }
    };
    for line in print::silent(&whole.groups) {
        term::say(&line);
    }
    match show(&whole, &args) {
        Err(error) if !term::is_broken_pipe(&error) => {
            term::say(&format!("error: {}", hub::in_words(&error)));
            Ok(Exit::NotCompared)
        }
        // A reader that has seen enough changes nothing of what is true.
        _ => Ok(exit(&whole.groups)),
    }
}

/// What came back.
#[derive(Debug, Default)]
struct Whole {
    /// The revision that was compared.
    revision: String,
    groups: Vec<DiffGroup>,
}

async fn compare(hub: &mut Hub, args: &DiffArgs) -> anyhow::Result<Whole> {
    if matches!(args.output, Some(Format::Name)) {
        return Err(Usage(
            "-o name: a diff has no names; use json, yaml or jsonpath=TEMPLATE".into(),
        )
        .into());
    }
    let request = DiffRequest {
        assignment: args.assignment.clone(),
        r#ref: args.reference.clone(),
        cluster: args.cluster.clone(),
    };
    let mut answers = hub.diff(request).await?.into_inner();
    let mut progress = Progress::new();
    let mut whole = Whole::default();
    while let Some(answer) = answers.message().await? {
        match answer.response {
            Some(Response::Progress(now)) => {
                progress.show(&in_words(&now));
                if !now.revision.is_empty() {
                    whole.revision = now.revision;
                }
            }
            Some(Response::Group(group)) => whole.groups.push(group),
            None => {}
        }
    }
    if whole.groups.is_empty() {
        bail!(
            "assignment {}: no cluster was asked; see `lockstep describe assignment {}`",
            args.assignment,
            args.assignment
        );
    }
    // What most clusters say comes first.
    whole
        .groups
        .sort_by_key(|group| std::cmp::Reverse(group.clusters.len()));
    Ok(whole)
}

fn in_words(progress: &DiffProgress) -> String {
    format!(
        "{} of {} answered",
        progress.answered,
        count(u64::from(progress.asked), "cluster")
    )
}

fn show(whole: &Whole, args: &DiffArgs) -> anyhow::Result<()> {
    match &args.output {
        Some(format) if !format.is_table() => {
            let mut list = json!({
                "apiVersion": API_VERSION,
                "kind": "DiffList",
                "assignment": args.assignment,
                "revision": whole.revision,
                "items": serde_json::to_value(&whole.groups)?,
            });
            output::end_times_in_z(&mut list);
            term::print(&output::write_value(&list, format)?)
        }
        _ => term::print(&print::text(
            &whole.groups,
            &whole.revision,
            term::is_colourful(),
        )),
    }
}

fn exit(groups: &[DiffGroup]) -> Exit {
    let silent = groups.iter().any(|group| !group.error.is_empty());
    let mut objects = groups.iter().flat_map(|group| &group.objects).peekable();
    let different = objects.peek().is_some();
    if silent || objects.any(|object| object.action() == Action::Fail) {
        Exit::NotCompared
    } else if different {
        Exit::Different
    } else {
        Exit::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_proto::v1::ObjectDiff;

    #[test]
    fn the_exit_code_tells_none_from_some_from_not_known() {
        let group = |error: &str, actions: &[Action]| DiffGroup {
            clusters: vec!["eu-1".into()],
            objects: actions
                .iter()
                .map(|&action| ObjectDiff {
                    action: action.into(),
                    ..ObjectDiff::default()
                })
                .collect(),
            error: error.into(),
        };
        for (groups, want) in [
            (vec![group("", &[])], Exit::Done),
            (
                vec![group("", &[]), group("", &[Action::Change])],
                Exit::Different,
            ),
            (
                vec![group("", &[Action::Change, Action::Fail])],
                Exit::NotCompared,
            ),
            (
                vec![group("", &[Action::Create]), group("offline", &[])],
                Exit::NotCompared,
            ),
        ] {
            assert_eq!(exit(&groups), want, "{groups:?}");
        }
    }
}

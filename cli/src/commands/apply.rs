//! `lockstep apply`.

use lockstep_proto::v1::{ApplyRequest, apply_result};

use super::files;
use crate::args::ApplyArgs;
use crate::hub::Hub;
use crate::output::kind_word;
use crate::{Exit, term};

pub(crate) async fn run(hub: &mut Hub, args: ApplyArgs) -> anyhow::Result<Exit> {
    let request = ApplyRequest {
        resources: files::read(&args.filename)?,
        dry_run: args.dry_run,
    };
    let response = hub.apply(request).await?.into_inner();
    let note = if args.dry_run { " (dry run)" } else { "" };
    let mut out = String::new();
    for result in response.results {
        let action = match result.action() {
            apply_result::Action::Created => "created",
            apply_result::Action::Configured => "configured",
            apply_result::Action::Unchanged | apply_result::Action::Unspecified => "unchanged",
        };
        out.push_str(&format!(
            "{}/{} {action}{note}\n",
            kind_word(result.kind()),
            result.name
        ));
    }
    term::print(&out)?;
    Ok(Exit::Done)
}

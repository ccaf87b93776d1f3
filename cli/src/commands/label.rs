//! `lockstep label`.

use lockstep_proto::v1::{LabelClusterRequest, kind};

use super::pairs;
use crate::args::LabelArgs;
use crate::hub::Hub;
use crate::{Exit, Usage, term};

pub(crate) async fn run(hub: &mut Hub, args: LabelArgs) -> anyhow::Result<Exit> {
    if args.kind != kind::Name::Cluster {
        return Err(Usage(
            "only clusters are labelled: lockstep label cluster NAME key=value".into(),
        )
        .into());
    }
    let (remove, set): (Vec<_>, Vec<_>) = args
        .labels
        .into_iter()
        .partition(|l| !l.contains('=') && l.ends_with('-'));
    let request = LabelClusterRequest {
        name: args.name.clone(),
        set: pairs(&set)?,
        remove: remove
            .iter()
            .map(|l| l.trim_end_matches('-').to_owned())
            .collect(),
    };
    hub.label_cluster(request).await?;
    term::print(&format!("cluster/{} labelled\n", args.name))?;
    Ok(Exit::Done)
}

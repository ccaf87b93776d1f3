//! `lockstep delete`.

use lockstep_proto::v1::{DeleteRequest, kind};

use super::files;
use crate::args::DeleteArgs;
use crate::hub::Hub;
use crate::output::kind_word;
use crate::{Exit, term};

pub(crate) async fn run(hub: &mut Hub, args: DeleteArgs) -> anyhow::Result<Exit> {
    let mut targets: Vec<(kind::Name, String)> = match args.kind {
        Some(kind) => args.names.into_iter().map(|name| (kind, name)).collect(),
        None => files::read(&args.filename)?
            .iter()
            .map(|r| (r.kind(), r.name().to_owned()))
            .collect(),
    };
    // What refers goes before what is referred to.
    targets.sort_by_key(|(kind, _)| match kind {
        kind::Name::Assignment => 0,
        kind::Name::ClusterGroup => 1,
        kind::Name::Repository => 2,
        _ => 3,
    });
    for (kind, name) in targets {
        let request = DeleteRequest {
            kind: kind.into(),
            name: name.clone(),
        };
        let message = hub.delete(request).await?.into_inner().message;
        term::print(&format!("{}/{name} deleted\n", kind_word(kind)))?;
        if !message.is_empty() {
            term::say(&message);
        }
    }
    Ok(Exit::Done)
}

//! `lockstep token`.

use lockstep_proto::v1::{CreateJoinTokenRequest, RevokeJoinTokenRequest, kind};

use super::{get, list_all, pairs};
use crate::args::TokenCommand;
use crate::hub::Hub;
use crate::{Exit, Usage, term};

pub(crate) async fn run(hub: &mut Hub, command: TokenCommand) -> anyhow::Result<Exit> {
    match command {
        TokenCommand::Create {
            cluster,
            labels,
            ttl,
        } => {
            let request = CreateJoinTokenRequest {
                cluster,
                labels: pairs(&labels)?,
                ttl_seconds: u32::try_from(ttl.as_secs())
                    .map_err(|_| Usage("--ttl is longer than a hub can count".into()))?
                    .max(1),
            };
            let made = hub.create_join_token(request).await?.into_inner();
            term::print(&format!("{}\n", made.token))?;
        }
        TokenCommand::List { output } => {
            let tokens = list_all(hub, kind::Name::JoinToken, &[], "").await?;
            get::print(kind::Name::JoinToken, &tokens, &[], &output)?;
        }
        TokenCommand::Revoke { id } => {
            hub.revoke_join_token(RevokeJoinTokenRequest { id: id.clone() })
                .await?;
            term::print(&format!("jointoken/{id} revoked\n"))?;
        }
    }
    Ok(Exit::Done)
}

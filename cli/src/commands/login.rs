//! `lockstep login` and `lockstep context`.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use lockstep_proto::v1::{ListRequest, kind};

use crate::args::{ContextCommand, LoginArgs};
use crate::context::{self, Config, HubContext, Token};
use crate::term::Table;
use crate::{Exit, hub, term};

/// Saves a context, once the hub has answered to it.
pub(crate) async fn login(config: Option<PathBuf>, args: LoginArgs) -> anyhow::Result<Exit> {
    let path = context::path(config)?;
    let mut config = if path.exists() {
        Config::read(&path)?
    } else {
        Config::default()
    };
    let ca = match &args.ca {
        Some(file) => Some(
            std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the CA file {}", file.display()))?,
        ),
        None => None,
    };
    let mut token = String::new();
    std::io::stdin()
        .read_to_string(&mut token)
        .context("cannot read the token from standard input")?;
    let host = args
        .endpoint
        .rsplit_once(':')
        .map_or(args.endpoint.as_str(), |(host, _)| host);
    let context = HubContext {
        name: args.name.unwrap_or_else(|| host.to_owned()),
        endpoint: args.endpoint.clone(),
        ca,
        token: Token(token.trim().to_owned()),
    };
    let probe = ListRequest {
        kind: kind::Name::Cluster.into(),
        page_size: 1,
        ..ListRequest::default()
    };
    hub::dial(&context).await?.list(probe).await?;

    let name = context.name.clone();
    config.contexts.retain(|c| c.name != name);
    config.contexts.push(context);
    config.current_context.clone_from(&name);
    config.write(&path)?;
    term::say(&format!("logged in: context {name} in {}", path.display()));
    Ok(Exit::Done)
}

pub(crate) fn context(config: Option<PathBuf>, command: ContextCommand) -> anyhow::Result<Exit> {
    let path = context::path(config)?;
    let mut config = Config::read(&path)?;
    match command {
        ContextCommand::List => {
            let mut table = Table::new(&["CURRENT", "NAME", "ENDPOINT"]);
            for context in &config.contexts {
                let mark = if context.name == config.current_context {
                    "*"
                } else {
                    ""
                };
                table.row([
                    mark.to_owned(),
                    context.name.clone(),
                    context.endpoint.clone(),
                ]);
            }
            term::print(&table.render(false))?;
        }
        ContextCommand::Use { name } => {
            if !config.contexts.iter().any(|c| c.name == name) {
                bail!("there is no context {name:?}; see `lockstep context list`");
            }
            config.current_context.clone_from(&name);
            config.write(&path)?;
            term::say(&format!("current context: {name}"));
        }
    }
    Ok(Exit::Done)
}

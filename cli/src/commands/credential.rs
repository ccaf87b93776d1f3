//! `lockstep credential`. Secrets come from standard input only: arguments and
//! environments can be read by others.

use std::io::Read as _;

use anyhow::{Context as _, bail};
use lockstep_proto::v1::create_credential_request::Secret;
use lockstep_proto::v1::{
    BasicCredential, CreateCredentialRequest, DeleteRequest, TokenCredential, kind,
};

use super::{get, list_all};
use crate::args::CredentialCommand;
use crate::hub::Hub;
use crate::{Exit, term};

pub(crate) async fn run(hub: &mut Hub, command: CredentialCommand) -> anyhow::Result<Exit> {
    match command {
        CredentialCommand::Create(args) => {
            let text = secret_from_stdin()?;
            let secret = match args.username {
                Some(username) => Secret::Basic(BasicCredential {
                    username,
                    password: text,
                }),
                None => Secret::Token(TokenCredential { token: text }),
            };
            let request = CreateCredentialRequest {
                name: args.name.clone(),
                secret: Some(secret),
            };
            hub.create_credential(request).await?;
            term::print(&format!("credential/{} created\n", args.name))?;
        }
        CredentialCommand::List { output } => {
            let all = list_all(hub, kind::Name::Credential, &[], "").await?;
            get::print(kind::Name::Credential, &all, &[], &output)?;
        }
        CredentialCommand::Delete { name } => {
            let request = DeleteRequest {
                kind: kind::Name::Credential.into(),
                name: name.clone(),
            };
            hub.delete(request).await?;
            term::print(&format!("credential/{name} deleted\n"))?;
        }
    }
    Ok(Exit::Done)
}

/// Reads a secret; the newline that `echo` adds is not part of it.
fn secret_from_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("cannot read the secret from standard input")?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        bail!("standard input is empty: pipe the secret in, as in `… --token-stdin < file`");
    }
    Ok(secret.to_owned())
}

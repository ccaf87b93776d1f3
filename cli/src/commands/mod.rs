//! One module for each command.

pub(crate) mod apply;
pub(crate) mod credential;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod diff;
pub(crate) mod get;
pub(crate) mod history;
pub(crate) mod label;
pub(crate) mod login;
pub(crate) mod status;
pub(crate) mod steer;
pub(crate) mod token;
pub(crate) mod wait;

mod files;
mod rows;
mod standing;

use lockstep_proto::v1::{GetRequest, ListRequest, Resource, kind};

use crate::hub::Hub;
use crate::{Cli, Exit};

pub(crate) fn completion(shell: clap_complete::Shell) -> Exit {
    clap_complete::generate(shell, &mut Cli::whole(), "lockstep", &mut std::io::stdout());
    Exit::Done
}

/// The largest page that the hub gives.
const PAGE: u32 = 5000;

/// All resources of a kind that match, page by page.
async fn list_all(
    hub: &mut Hub,
    kind: kind::Name,
    names: &[String],
    selector: &str,
) -> anyhow::Result<Vec<Resource>> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListRequest {
            kind: kind.into(),
            label_selector: selector.to_owned(),
            page_size: PAGE,
            page_token,
            names: names.to_vec(),
        };
        let page = hub.list(request).await?.into_inner();
        all.extend(page.items);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn get_one(hub: &mut Hub, kind: kind::Name, name: &str) -> anyhow::Result<Resource> {
    let request = GetRequest {
        kind: kind.into(),
        name: name.to_owned(),
    };
    Ok(hub.get(request).await?.into_inner())
}

/// `a=b` pairs, as `--labels` takes them.
fn pairs(texts: &[String]) -> anyhow::Result<std::collections::BTreeMap<String, String>> {
    texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(crate::Usage(format!("{text:?} is not a label: write key=value")).into()),
        })
        .collect()
}

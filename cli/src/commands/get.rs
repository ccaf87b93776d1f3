//! `lockstep get`.

use std::time::SystemTime;

use lockstep_proto::v1::{Resource, WatchRequest, kind, watch_event};

use super::{list_all, rows};
use crate::Exit;
use crate::args::GetArgs;
use crate::hub::Hub;
use crate::output::{self, Format};
use crate::term::{self, Table};

pub(crate) async fn run(hub: &mut Hub, args: GetArgs) -> anyhow::Result<Exit> {
    if args.watch {
        return watch(hub, args).await;
    }
    let found = list_all(hub, args.kind, &args.names, &args.selector).await?;
    print(args.kind, &found, &args.names, &args.output)?;
    Ok(Exit::Done)
}

/// Prints what was found. Asked for one by name, machines get that one and not
/// a list of one.
pub(super) fn print(
    kind: kind::Name,
    found: &[Resource],
    names: &[String],
    format: &Format,
) -> anyhow::Result<()> {
    let text = match format {
        Format::Table | Format::Wide if found.is_empty() => {
            term::say(&format!("no {} found", output::kind_word(kind)));
            return Ok(());
        }
        Format::Table | Format::Wide => {
            let wide = matches!(format, Format::Wide);
            let mut table = Table::new(&rows::header(kind, wide));
            let now = SystemTime::now();
            for resource in found {
                table.row(rows::row(resource, wide, now));
            }
            table.render(term::is_colourful())
        }
        Format::Name => found.iter().map(|r| output::name_of(r) + "\n").collect(),
        machine => {
            let value = match found {
                [one] if names.len() == 1 => output::to_json(one)?,
                all => output::list_json(kind, all)?,
            };
            output::write_value(&value, machine)?
        }
    };
    term::print(&text)
}

async fn watch(hub: &mut Hub, args: GetArgs) -> anyhow::Result<Exit> {
    let request = WatchRequest {
        kind: args.kind.into(),
        label_selector: args.selector,
        names: args.names,
    };
    let mut events = hub.watch(request).await?.into_inner();
    let wide = matches!(args.output, Format::Wide);
    let header = rows::header(args.kind, wide);
    // What is there at the start is one table; later changes are rows in its columns.
    let mut first = Vec::new();
    let mut started = false;
    while let Some(event) = events.message().await? {
        let gone = event.r#type() == watch_event::Type::Deleted;
        if event.r#type() == watch_event::Type::Synced {
            started = true;
            if args.output.is_table() {
                print(args.kind, &first, &[], &args.output)?;
                first.clear();
            }
            continue;
        }
        let Some(resource) = event.resource else {
            continue;
        };
        let text = match &args.output {
            Format::Table | Format::Wide if !started => {
                first.push(resource);
                continue;
            }
            Format::Table | Format::Wide => {
                let mut table = Table::new(&header);
                let mut cells = rows::row(&resource, wide, SystemTime::now());
                if gone {
                    cells = vec![resource.name().to_owned(), "deleted".to_owned()];
                }
                table.row(cells);
                let text = table.render(term::is_colourful());
                text.split_once('\n')
                    .map_or_else(String::new, |(_, row)| row.to_owned())
            }
            Format::Name => format!(
                "{}{}\n",
                output::name_of(&resource),
                if gone { " deleted" } else { "" }
            ),
            machine => output::write_value(&output::to_json(&resource)?, machine)?,
        };
        term::print(&text)?;
    }
    Ok(Exit::Done)
}

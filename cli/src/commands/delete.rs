//! `lockstep delete`.

use lockstep_proto::v1::{DeleteRequest, Resource, kind, resource::Resource as Is};

use super::{files, list_all};
use crate::args::DeleteArgs;
use crate::hub::Hub;
use crate::output::kind_word;
use crate::{Exit, term};

pub(crate) async fn run(hub: &mut Hub, args: DeleteArgs) -> anyhow::Result<Exit> {
    let declared = match args.kind {
        Some(kind @ kind::Name::Assignment) if args.names.len() > 1 => {
            list_all(hub, kind, &args.names, "").await?
        }
        Some(_) => Vec::new(),
        None => files::read(&args.filename)?,
    };
    let targets: Vec<(kind::Name, String)> = match args.kind {
        Some(kind) if declared.is_empty() => {
            args.names.into_iter().map(|name| (kind, name)).collect()
        }
        _ => last_first(declared),
    };
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

/// What refers goes before what is referred to.
fn last_first(mut resources: Vec<Resource>) -> Vec<(kind::Name, String)> {
    let rank = |resource: &Resource| match resource.kind() {
        kind::Name::Assignment => 0,
        kind::Name::ClusterGroup => 1,
        kind::Name::Repository => 2,
        _ => 3,
    };
    resources.sort_by_key(rank);
    let mut order = Vec::new();
    while !resources.is_empty() {
        let first = rank(&resources[0]);
        let same = resources.iter().take_while(|r| rank(r) == first);
        let free = same
            .enumerate()
            .find(|(_, resource)| !resources.iter().any(|other| depends(other, resource)))
            .map(|(at, _)| at);
        // In a circle, which a hub refuses, any will do.
        let next = resources.remove(free.unwrap_or(0));
        order.push((next.kind(), next.name().to_owned()));
    }
    order
}

fn depends(resource: &Resource, on: &Resource) -> bool {
    let (Some(Is::Assignment(assignment)), Some(Is::Assignment(_))) =
        (&resource.resource, &on.resource)
    else {
        return false;
    };
    let spec = assignment.spec.iter();
    let mut names = spec.flat_map(|spec| &spec.depends_on);
    resource.name() != on.name() && names.any(|other| other.assignment == on.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_proto::v1::{Assignment, AssignmentSpec, Dependency, ObjectMeta, Repository};

    fn assignment(name: &str, on: &[&str]) -> Resource {
        let depends_on = on.iter().map(|&name| Dependency {
            assignment: name.to_owned(),
        });
        Resource {
            resource: Some(Is::Assignment(Assignment {
                metadata: Some(ObjectMeta {
                    name: name.to_owned(),
                    ..ObjectMeta::default()
                }),
                spec: Some(AssignmentSpec {
                    depends_on: depends_on.collect(),
                    ..AssignmentSpec::default()
                }),
                ..Assignment::default()
            })),
        }
    }

    #[test]
    fn what_depends_goes_before_what_it_depends_on() {
        let repository = Resource {
            resource: Some(Is::Repository(Repository::default())),
        };
        let order = last_first(vec![
            repository,
            assignment("base", &[]),
            assignment("middle", &["base"]),
            assignment("top", &["middle", "elsewhere"]),
            assignment("round", &["about"]),
            assignment("about", &["round"]),
        ]);
        let names: Vec<_> = order.iter().map(|(_, name)| name.as_str()).collect();
        let place = |name: &str| names.iter().position(|n| *n == name).unwrap();
        assert_eq!(names.len(), 6);
        assert!(place("top") < place("middle") && place("middle") < place("base"));
        assert_eq!(names[5], "", "the repository goes last");
    }
}

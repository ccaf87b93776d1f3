//! Who is in the fleet: names, groups and labels. Pure.

/// One cluster to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// The value of the label `env`, and the group that selects it.
    pub group: &'static str,
    pub region: String,
}

pub const PROD: &str = "prod";
pub const STAGING: &str = "staging";

/// How many of `count` clusters are in prod: three fifths, and one is left for staging.
fn in_prod(count: usize) -> usize {
    (count * 3).div_ceil(5).min(count.saturating_sub(1)).max(1)
}

/// A fleet of `count` clusters: three fifths in prod, over two regions, the rest in staging.
pub fn fleet(count: usize) -> Vec<Member> {
    let prod = in_prod(count);
    let (mut eu, mut us, mut st) = (0, 0, 0);
    (0..count)
        .map(|at| {
            let (group, region, number) = if at >= prod {
                st += 1;
                (STAGING, "st", st)
            } else if at % 3 == 2 {
                us += 1;
                (PROD, "us", us)
            } else {
                eu += 1;
                (PROD, "eu", eu)
            };
            let name = format!("{region}-{number}");
            let region = if region == "st" { "eu" } else { region };
            Member {
                name,
                group,
                region: region.to_owned(),
            }
        })
        .collect()
}

/// A fleet of the person's own contexts, named after them.
pub fn own(contexts: &[String]) -> Vec<Member> {
    let prod = in_prod(contexts.len());
    let mut out: Vec<Member> = Vec::new();
    for (at, context) in contexts.iter().enumerate() {
        let base = cluster_name(context);
        let taken = |name: &str| out.iter().any(|other| other.name == name);
        let name = (1..)
            .map(|number| {
                if number == 1 {
                    base.clone()
                } else {
                    format!("{base}-{number}")
                }
            })
            .find(|name| !taken(name))
            .expect("numbers do not end");
        let group = if at < prod { PROD } else { STAGING };
        out.push(Member {
            name,
            group,
            region: "own".to_owned(),
        });
    }
    out
}

/// A context's name as the name of a cluster: small letters, digits and dashes.
fn cluster_name(context: &str) -> String {
    let mut name: String = context
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    name.truncate(50);
    let name = name.trim_matches('-');
    if name.is_empty() {
        "cluster".to_owned()
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(members: &[Member]) -> Vec<&str> {
        members.iter().map(|member| member.name.as_str()).collect()
    }

    #[test]
    fn five_clusters_are_three_in_prod_and_two_in_staging() {
        let fleet = fleet(5);
        assert_eq!(names(&fleet), ["eu-1", "eu-2", "us-1", "st-1", "st-2"]);
        let prod: Vec<_> = fleet.iter().filter(|member| member.group == PROD).collect();
        assert_eq!(prod.len(), 3);
    }

    #[test]
    fn every_size_has_names_of_its_own() {
        for count in 1..=200 {
            let fleet = fleet(count);
            let mut unique = names(&fleet);
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), count);
            assert_eq!(fleet[0].group, PROD);
            assert!(count == 1 || fleet[count - 1].group == STAGING);
        }
    }

    #[test]
    fn contexts_become_names_that_the_hub_takes() {
        let contexts =
            ["kind-a", "arn:aws:eks:eu-1:1:cluster/Shop", "kind_a", "://"].map(str::to_owned);
        assert_eq!(
            names(&own(&contexts)),
            [
                "kind-a",
                "arn-aws-eks-eu-1-1-cluster-shop",
                "kind-a-2",
                "cluster"
            ]
        );
    }
}

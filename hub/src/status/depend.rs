//! What Assignments depend on: a cycle would wait for itself forever. Pure.

use std::collections::{BTreeMap, HashMap};

/// Cycles that can be reached from `names`, each as "a -> b -> a" and once.
/// `of` says what an Assignment depends on.
pub(super) fn cycles<'a>(
    names: impl IntoIterator<Item = &'a str>,
    of: impl Fn(&'a str) -> Vec<&'a str>,
) -> BTreeMap<&'a str, String> {
    let mut found = BTreeMap::new();
    // Where each stands on the path from the start; none once all from it is known.
    let mut places: HashMap<&str, Option<usize>> = HashMap::new();
    for start in names {
        if places.contains_key(start) {
            continue;
        }
        let mut path = vec![(start, of(start))];
        places.insert(start, Some(0));
        while let Some((name, left)) = path.last_mut() {
            let Some(next) = left.pop() else {
                places.insert(name, None);
                path.pop();
                continue;
            };
            match places.get(next) {
                Some(None) => {}
                Some(Some(place)) => {
                    let mut words: Vec<&str> =
                        path[*place..].iter().map(|(name, _)| *name).collect();
                    words.push(next);
                    found.insert(next, words.join(" -> "));
                }
                None => {
                    places.insert(next, Some(path.len()));
                    path.push((next, of(next)));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(edges: &[(&str, &str)]) -> Vec<String> {
        let mut graph: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (from, to) in edges {
            graph.entry(from).or_default().push(to);
        }
        let of = |name| graph.get(name).cloned().unwrap_or_default();
        cycles(graph.keys().copied(), of).into_values().collect()
    }

    #[test]
    fn a_cycle_is_named_by_those_in_it() {
        for (edges, expected) in [
            (&[("web", "base"), ("shop", "base")][..], &[][..]),
            (&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")], &[]),
            (&[("a", "a")], &["a -> a"]),
            (&[("a", "b"), ("b", "a")], &["a -> b -> a"]),
            (
                &[("x", "a"), ("a", "b"), ("b", "c"), ("c", "a")],
                &["a -> b -> c -> a"],
            ),
            (
                &[("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")],
                &["a -> b -> a", "c -> d -> c"],
            ),
            (&[("a", "nowhere")], &[]),
        ] {
            assert_eq!(said(edges), expected, "{edges:?}");
        }
    }

    #[test]
    fn a_long_chain_takes_no_stack() {
        let names: Vec<String> = (0..100_000).map(|i| format!("n{i:06}")).collect();
        let edges: Vec<_> = names
            .windows(2)
            .map(|pair| (&*pair[0], &*pair[1]))
            .collect();
        assert_eq!(said(&edges), [""; 0]);
    }
}

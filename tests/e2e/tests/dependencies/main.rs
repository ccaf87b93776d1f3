//! What `deny.toml` forbids is not in the build: the same lists that
//! cargo-deny reads, checked with nothing but cargo.

mod licence;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Name and licence of everything that the workspace is built from, tests
/// included, on the platform that we build for.
fn packages() -> BTreeMap<String, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["tree", "--workspace", "--locked", "--prefix", "none"])
        .args(["--edges", "normal,build,dev", "--format", "{p}|{l}"])
        .output()
        .expect("cargo runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree: {told}");
    let mut packages = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((package, licence)) = line.split_once('|') else {
            continue;
        };
        let name = package.split(' ').next().expect("a package has a name");
        // Cargo marks what it has listed before.
        let licence = licence.trim_end_matches("(*)").trim();
        packages.insert(name.to_owned(), licence.to_owned());
    }
    assert!(packages.contains_key("tonic"), "{packages:?}");
    packages
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The quoted words of the list `NAME = [ … ]` in deny.toml.
fn list(name: &str) -> Vec<String> {
    let deny = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml is there");
    let begin = format!("\n{name} = [\n");
    let (_, rest) = deny.split_once(&begin).expect("the list is there");
    let (list, _) = rest.split_once("\n]").expect("the list ends");
    let lines = list.lines().filter(|line| !line.trim().starts_with('#'));
    lines
        .filter_map(|line| line.split('"').nth(1))
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_banned_crate_is_in_the_build() {
    let packages = packages();
    let banned = list("deny");
    assert!(banned.contains(&"openssl".to_owned()), "{banned:?}");
    for name in banned {
        assert!(
            !packages.contains_key(&name),
            "{name} is in the build: `cargo tree -i {name}` says who wants it"
        );
    }
}

#[test]
fn every_licence_is_allowed() {
    let allowed = list("allow");
    let bad: Vec<_> = packages()
        .into_iter()
        .filter(|(_, licence)| !licence::is_allowed(licence, &allowed))
        .collect();
    assert!(bad.is_empty(), "not allowed by deny.toml: {bad:#?}");
}

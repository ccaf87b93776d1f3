//! What the commits hold: ConfigMaps whose `data.round` says of which commit
//! they are.

use lockstep_e2e::fixtures::GitRepository;
use lockstep_e2e::{Result, config_map};

/// A path in the repository and what stands there.
pub type File = (String, String);

/// `count` ConfigMaps `NAME-0`, `NAME-1`, … in `folder`.
pub fn files(folder: &str, name: &str, count: usize, round: &str) -> Vec<File> {
    (0..count)
        .map(|n| {
            let name = format!("{name}-{n}");
            let path = format!("{folder}/{name}.yaml");
            (path, config_map(&name, "round", round))
        })
        .collect()
}

/// Writes `files`, commits and pushes. The webhook, which a forge sends after
/// the push, is the measurement's.
pub async fn commit(repository: &GitRepository, files: &[File]) -> Result<()> {
    let files: Vec<_> = files
        .iter()
        .map(|(path, content)| (path.as_str(), content.as_str()))
        .collect();
    repository.commit("Next round", &files).await.map(drop)
}

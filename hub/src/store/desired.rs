//! Desired state: per cluster, what it should run, under a version that only
//! grows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_proto::{ClusterName, Digest, v1};
use prost::Message as _;
use rusqlite::{OptionalExtension as _, Row, params};

use super::rows::{cluster, signed, unsigned};
use super::{Because, Change, DesiredChange, DesiredRow, Store, StoreError, Touched, Tx};

const ROW: &str =
    "SELECT cluster, assignment, version, digest, revision, options, tombstone FROM desired";

impl Tx<'_> {
    pub fn each_desired(&self, mut each: impl FnMut(DesiredRow)) -> Result<(), StoreError> {
        let mut statement = self
            .0
            .prepare(&format!("{ROW} ORDER BY cluster, assignment"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(read(row)?);
        }
        Ok(())
    }

    /// Applies `changes`, raising the version of each cluster that they
    /// really change by one. Returns those clusters.
    pub fn change_desired(&self, changes: &[DesiredChange]) -> Result<Vec<Touched>, StoreError> {
        let mut assignments: BTreeMap<&str, bool> = BTreeMap::new();
        let mut by_cluster: BTreeMap<&ClusterName, Vec<&DesiredChange>> = BTreeMap::new();
        for change in changes {
            by_cluster.entry(&change.cluster).or_default().push(change);
        }
        let mut touched = Vec::new();
        let mut told = BTreeSet::new();
        for (cluster, changes) in by_cluster {
            let Some(version) = self.version(cluster)? else {
                continue;
            };
            let mut one = Touched {
                cluster: cluster.clone(),
                version: version + 1,
                rows: Vec::new(),
                forgotten: Vec::new(),
            };
            for change in changes {
                if matches!(change.change, Change::Set { .. }) {
                    let name = &*change.assignment;
                    let exists = match assignments.get(name) {
                        Some(exists) => *exists,
                        None => self.resource_exists(v1::kind::Name::Assignment, name)?,
                    };
                    assignments.insert(name, exists);
                    if !exists {
                        continue;
                    }
                }
                self.change_one(change, &mut one)?;
            }
            if one.rows.is_empty() && one.forgotten.is_empty() {
                continue;
            }
            let live = one.rows.iter().filter(|row| !row.tombstone);
            told.extend(live.map(|row| (row.assignment.clone(), row.digest)));
            self.set_version(cluster, one.version)?;
            if !one.forgotten.is_empty() {
                self.set_forgotten(cluster, one.version)?;
            }
            touched.push(one);
        }
        for (assignment, digest) in told {
            self.keep_bundle(&assignment, &digest)?;
        }
        Ok(touched)
    }

    fn change_one(&self, change: &DesiredChange, one: &mut Touched) -> Result<(), StoreError> {
        let now = self.desired_row(change.cluster.as_str(), &change.assignment)?;
        let row = match (&change.change, now) {
            (Change::Forget { version }, Some(now)) if now.tombstone && now.version <= *version => {
                self.0
                    .prepare_cached("DELETE FROM desired WHERE cluster = ?1 AND assignment = ?2")?
                    .execute([change.cluster.as_str(), &change.assignment])?;
                self.end_history(&change.cluster, &change.assignment)?;
                one.rows.retain(|row| row.assignment != change.assignment);
                one.forgotten.push(change.assignment.clone());
                return Ok(());
            }
            (Change::Tombstone, Some(now)) if !now.tombstone => DesiredRow {
                version: one.version,
                tombstone: true,
                ..now
            },
            (
                Change::Set {
                    digest, options, ..
                },
                Some(now),
            ) if !now.tombstone && now.digest == *digest && now.options == *options => {
                return Ok(());
            }
            (
                Change::Set {
                    digest,
                    revision,
                    options,
                },
                _,
            ) => DesiredRow {
                cluster: change.cluster.clone(),
                assignment: change.assignment.clone(),
                version: one.version,
                digest: *digest,
                revision: revision.clone(),
                options: options.clone(),
                tombstone: false,
            },
            _ => return Ok(()),
        };
        self.0
            .prepare_cached(
                "INSERT INTO desired
                   (cluster, assignment, version, digest, revision, options, tombstone)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (cluster, assignment) DO UPDATE SET
                   version = ?3, digest = ?4, revision = ?5, options = ?6, tombstone = ?7",
            )?
            .execute(params![
                row.cluster.as_str(),
                row.assignment,
                signed(row.version),
                row.digest.0,
                row.revision,
                row.options.encode_to_vec(),
                row.tombstone
            ])?;
        match &change.because {
            Some(because) => self.begin_history(&row, because)?,
            None => self.reword_history(&row)?,
        }
        one.forgotten.retain(|name| *name != row.assignment);
        one.rows.retain(|other| other.assignment != row.assignment);
        one.rows.push(row);
        Ok(())
    }

    /// Turns the rows of `assignment` into tombstones, on every cluster.
    pub fn bury_assignment(
        &self,
        assignment: &str,
        because: Because,
    ) -> Result<Vec<Touched>, StoreError> {
        let because = Arc::new(because);
        let mut changes = Vec::new();
        let mut statement = self.0.prepare_cached(
            "SELECT cluster FROM desired WHERE assignment = ?1 AND NOT tombstone",
        )?;
        let mut rows = statement.query([assignment])?;
        while let Some(row) = rows.next()? {
            changes.push(DesiredChange {
                cluster: cluster(row.get_ref(0)?)?,
                assignment: assignment.into(),
                change: Change::Tombstone,
                because: Some(Arc::clone(&because)),
            });
        }
        self.change_desired(&changes)
    }

    /// Makes the cluster's version at least `at_least`, and returns what it is then.
    pub fn raise_version(
        &self,
        cluster: &ClusterName,
        at_least: u64,
    ) -> Result<Option<u64>, StoreError> {
        let Some(version) = self.version(cluster)? else {
            return Ok(None);
        };
        if version < at_least {
            self.set_version(cluster, at_least)?;
            // What agents hold of the versions in between is unknown here.
            self.set_forgotten(cluster, at_least)?;
        }
        Ok(Some(version.max(at_least)))
    }

    fn desired_row(&self, cluster: &str, name: &str) -> Result<Option<DesiredRow>, StoreError> {
        let mut statement = self
            .0
            .prepare_cached(&format!("{ROW} WHERE cluster = ?1 AND assignment = ?2"))?;
        let mut rows = statement.query([cluster, name])?;
        rows.next()?.map(read).transpose()
    }

    fn version(&self, cluster: &ClusterName) -> Result<Option<u64>, StoreError> {
        Ok(self
            .0
            .prepare_cached("SELECT desired_version FROM cluster_state WHERE cluster = ?1")?
            .query_row([cluster.as_str()], |row| row.get(0).map(unsigned))
            .optional()?)
    }

    fn set_forgotten(&self, cluster: &ClusterName, version: u64) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE cluster_state SET forgotten_version = ?2 WHERE cluster = ?1")?
            .execute(params![cluster.as_str(), signed(version)])?;
        Ok(())
    }

    fn set_version(&self, cluster: &ClusterName, version: u64) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE cluster_state SET desired_version = ?2 WHERE cluster = ?1")?
            .execute(params![cluster.as_str(), signed(version)])?;
        Ok(())
    }
}

impl Store {
    /// The version and the rows of a cluster's desired state, of one instant.
    /// Version zero and no rows for a cluster that does not exist.
    pub async fn desired_for(
        &self,
        cluster: &ClusterName,
    ) -> Result<(u64, Vec<DesiredRow>), StoreError> {
        let cluster = cluster.clone();
        self.read(move |tx| {
            let version = tx.version(&cluster)?.unwrap_or(0);
            let mut statement =
                tx.0.prepare_cached(&format!("{ROW} WHERE cluster = ?1 ORDER BY assignment"))?;
            let mut found = statement.query([cluster.as_str()])?;
            let mut rows = Vec::new();
            while let Some(row) = found.next()? {
                rows.push(read(row)?);
            }
            Ok((version, rows))
        })
        .await
    }
}

fn read(row: &Row<'_>) -> Result<DesiredRow, StoreError> {
    let text = |index| -> Result<Arc<str>, StoreError> {
        row.get_ref(index)?
            .as_str()
            .map(Into::into)
            .map_err(|error| StoreError::corrupt("desired row", error))
    };
    let options = row
        .get_ref(5)?
        .as_blob()
        .map_err(|error| StoreError::corrupt("desired row", error))?;
    Ok(DesiredRow {
        cluster: cluster(row.get_ref(0)?)?,
        assignment: text(1)?,
        version: unsigned(row.get(2)?),
        digest: Digest(row.get(3)?),
        revision: text(4)?,
        options: v1::ApplyOptions::decode(options)
            .map(Arc::new)
            .map_err(|error| StoreError::corrupt("desired row", error))?,
        tombstone: row.get(6)?,
    })
}

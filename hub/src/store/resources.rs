//! Resources: what people wrote, by kind and name.

use lockstep_proto::v1;
use rusqlite::params;

use super::{ResourceRow, Store, StoreError, Tx};

impl Tx<'_> {
    /// Every resource, through `each`, in order of kind and name.
    pub fn each_resource(
        &self,
        mut each: impl FnMut(ResourceRow) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.0.prepare(
            "SELECT kind, name, uid, generation, created_at, body FROM resources ORDER BY kind, name",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(read(row)?)?;
        }
        Ok(())
    }

    /// Creates or replaces a resource. A new Cluster gets its state beside it.
    pub fn put_resource(&self, row: &ResourceRow) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "INSERT INTO resources (kind, name, uid, generation, created_at, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (kind, name) DO UPDATE SET
                   uid = ?3, generation = ?4, created_at = ?5, body = ?6",
            )?
            .execute(params![
                row.kind as i32,
                row.name,
                row.uid,
                row.generation,
                row.created_at,
                row.body
            ])?;
        if row.kind == v1::kind::Name::Cluster {
            self.0
                .prepare_cached("INSERT OR IGNORE INTO cluster_state (cluster) VALUES (?1)")?
                .execute([&row.name])?;
        }
        Ok(())
    }

    /// Drops a resource and what the hub knows of it. Desired rows of an
    /// Assignment stay: they go by tombstones only.
    pub fn delete_resource(&self, kind: v1::kind::Name, name: &str) -> Result<bool, StoreError> {
        let deleted = self
            .0
            .prepare_cached("DELETE FROM resources WHERE kind = ?1 AND name = ?2")?
            .execute(params![kind as i32, name])?;
        let state = match kind {
            v1::kind::Name::Cluster => Some("DELETE FROM cluster_state WHERE cluster = ?1"),
            v1::kind::Name::Repository => {
                Some("DELETE FROM repository_state WHERE repository = ?1")
            }
            v1::kind::Name::Assignment => {
                Some("DELETE FROM assignment_state WHERE assignment = ?1")
            }
            _ => None,
        };
        if let Some(sql) = state {
            self.0.prepare_cached(sql)?.execute([name])?;
        }
        if kind == v1::kind::Name::Assignment {
            self.drop_control(name)?;
        }
        Ok(deleted > 0)
    }

    pub(super) fn resource_exists(
        &self,
        kind: v1::kind::Name,
        name: &str,
    ) -> Result<bool, StoreError> {
        Ok(self
            .0
            .prepare_cached("SELECT 1 FROM resources WHERE kind = ?1 AND name = ?2")?
            .exists(params![kind as i32, name])?)
    }
}

impl Store {
    /// Every resource, in order of kind and name.
    pub async fn resources(&self) -> Result<Vec<ResourceRow>, StoreError> {
        self.read(|tx| {
            let mut all = Vec::new();
            tx.each_resource(|row| {
                all.push(row);
                Ok(())
            })?;
            Ok(all)
        })
        .await
    }
}

fn read(row: &rusqlite::Row<'_>) -> Result<ResourceRow, StoreError> {
    Ok(ResourceRow {
        kind: v1::kind::Name::try_from(row.get::<_, i32>(0)?)
            .map_err(|error| StoreError::corrupt("resource kind", error))?,
        name: row.get(1)?,
        uid: row.get(2)?,
        generation: row.get(3)?,
        created_at: row.get(4)?,
        body: row.get(5)?,
    })
}

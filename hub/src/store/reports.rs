//! Reports: the latest of each cluster on each assignment that it is told of.

use lockstep_proto::desired::report_digest;
use lockstep_proto::{ClusterName, v1};
use prost::Message as _;
use rusqlite::params;

use super::{Store, StoreError, Tx};

impl Tx<'_> {
    pub fn each_report(
        &self,
        mut each: impl FnMut(ClusterName, v1::Report),
    ) -> Result<(), StoreError> {
        let mut statement = self
            .0
            .prepare("SELECT cluster, body FROM reports ORDER BY cluster, assignment")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(super::rows::cluster(row.get_ref(0)?)?, decode(row, 1)?);
        }
        Ok(())
    }

    /// Stores a report, unless its content is what is stored. False, and
    /// nothing stored, where the cluster has no desired row of that
    /// assignment: what nobody asked for is not kept.
    pub fn put_report(
        &self,
        cluster: &ClusterName,
        report: &v1::Report,
    ) -> Result<bool, StoreError> {
        if let Some(held) = self.report(cluster, &report.assignment)?
            && report_digest(&held) == report_digest(report)
        {
            return Ok(true);
        }
        let stored = self
            .0
            .prepare_cached(
                "INSERT OR REPLACE INTO reports (cluster, assignment, body)
                 SELECT cluster, assignment, ?3 FROM desired WHERE cluster = ?1 AND assignment = ?2",
            )?
            .execute(params![
                cluster.as_str(),
                report.assignment,
                report.encode_to_vec()
            ])?
            > 0;
        if stored {
            self.tell_history(cluster, report)?;
        }
        Ok(stored)
    }

    /// What a cluster last reported on an assignment.
    pub(super) fn report(
        &self,
        cluster: &ClusterName,
        assignment: &str,
    ) -> Result<Option<v1::Report>, StoreError> {
        let mut statement = self
            .0
            .prepare_cached("SELECT body FROM reports WHERE cluster = ?1 AND assignment = ?2")?;
        let mut rows = statement.query([cluster.as_str(), assignment])?;
        rows.next()?.map(|row| decode(row, 0)).transpose()
    }
}

impl Store {
    pub async fn reports_for(&self, cluster: &ClusterName) -> Result<Vec<v1::Report>, StoreError> {
        let cluster = cluster.clone();
        self.read(move |tx| {
            let mut statement = tx.0.prepare_cached(
                "SELECT body FROM reports WHERE cluster = ?1 ORDER BY assignment",
            )?;
            let mut rows = statement.query([cluster.as_str()])?;
            let mut reports = Vec::new();
            while let Some(row) = rows.next()? {
                reports.push(decode(row, 0)?);
            }
            Ok(reports)
        })
        .await
    }
}

fn decode(row: &rusqlite::Row<'_>, index: usize) -> Result<v1::Report, StoreError> {
    let body = row
        .get_ref(index)?
        .as_blob()
        .map_err(|error| StoreError::corrupt("report", error))?;
    v1::Report::decode(body).map_err(|error| StoreError::corrupt("report", error))
}

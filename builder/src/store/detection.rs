//! What detectors found in candidates: table `detection`, one row a candidate and detector's version.

use serde::Deserialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::detect::Detected;
use crate::{Error, Result};

#[derive(Clone, Debug)]
pub struct Detection {
    pub candidate_id: Uuid,
    pub answerer: String,
    pub answerer_version: String,
    /// A list of [`crate::detect::Detected`], its boxes in shares of the picture.
    pub found: Value,
}

impl Detection {
    /// # Errors
    /// `Row` when `found` holds something else.
    pub fn read(&self) -> Result<Vec<Detected>> {
        let failed =
            |error: serde_json::Error| Error::Row { table: "detection", column: "found", message: error.to_string() };
        Vec::<Detected>::deserialize(&self.found).map_err(failed)
    }
}

/// Adds or replaces, by (candidate, detector, version).
pub async fn upsert_many(conn: &mut PgConnection, rows: &[Detection]) -> Result<()> {
    let candidate_ids: Vec<Uuid> = rows.iter().map(|one| one.candidate_id).collect();
    let answerers: Vec<&str> = rows.iter().map(|one| &*one.answerer).collect();
    let versions: Vec<&str> = rows.iter().map(|one| &*one.answerer_version).collect();
    let found: Vec<String> = rows.iter().map(|one| one.found.to_string()).collect();
    sqlx::query!(
        "INSERT INTO detection (candidate_id, answerer, answerer_version, found)
         SELECT candidate_id, answerer, answerer_version, found::json
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[]) AS t (candidate_id, answerer, answerer_version, found)
         ON CONFLICT ON CONSTRAINT detection_pkey DO UPDATE SET found = excluded.found, created_at = now()",
        &candidate_ids,
        &answerers as &[&str],
        &versions as &[&str],
        &found,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Of these candidates, of whichever detector looked last at each.
pub async fn of_candidates(conn: &mut PgConnection, candidate_ids: &[Uuid]) -> Result<Vec<Detection>> {
    Ok(sqlx::query_as!(
        Detection,
        "SELECT DISTINCT ON (candidate_id) candidate_id, answerer, answerer_version, found FROM detection
         WHERE candidate_id = ANY ($1) ORDER BY candidate_id, created_at DESC, answerer, answerer_version",
        candidate_ids,
    )
    .fetch_all(conn)
    .await?)
}

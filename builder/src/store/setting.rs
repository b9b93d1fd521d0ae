//! Small facts under a name: table `setting`.

use serde_json::Value;
use sqlx::PgConnection;

use crate::Result;

pub async fn get(conn: &mut PgConnection, key: &str) -> Result<Option<Value>> {
    Ok(sqlx::query_scalar!("SELECT value FROM setting WHERE key = $1", key).fetch_optional(conn).await?)
}

pub async fn put(conn: &mut PgConnection, key: &str, value: &Value) -> Result<()> {
    sqlx::query!(
        "INSERT INTO setting (key, value) VALUES ($1, $2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = now()",
        key,
        value,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn delete(conn: &mut PgConnection, key: &str) -> Result<()> {
    sqlx::query!("DELETE FROM setting WHERE key = $1", key).execute(conn).await?;
    Ok(())
}

/// Takes the lock `name` for as long as this connection lives or until it is unlocked; false where another one holds it.
pub async fn try_lock(conn: &mut PgConnection, name: &str) -> Result<bool> {
    Ok(sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS "locked!""#, name)
        .fetch_one(conn)
        .await?)
}

//! Tokens and what was done with them: tables `token`, `audit`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::{self, Page};
use crate::Result;

/// A token without its secret, of which only the hash is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: Uuid,
    pub name: String,
    /// Of `read`, `curate`, `train`, `admin`.
    pub scopes: Vec<String>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

pub async fn insert(
    conn: &mut PgConnection,
    name: &str,
    secret_hash: &str,
    scopes: &[String],
    expires_at: Option<DateTime<Utc>>,
) -> Result<Uuid> {
    let id = crate::id::new();
    sqlx::query!(
        "INSERT INTO token (id, name, secret_hash, scopes, expires_at) VALUES ($1, $2, $3, $4, $5)",
        id,
        name,
        secret_hash,
        scopes,
        expires_at,
    )
    .execute(conn)
    .await?;
    Ok(id)
}

pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Token>> {
    Ok(sqlx::query_as!(
        Token,
        "SELECT id, name, scopes, expires_at, revoked_at, last_used_at, created_at FROM token WHERE id = $1",
        id,
    )
    .fetch_optional(conn)
    .await?)
}

/// The token with this secret, unless it was revoked or has expired.
pub async fn find_valid(conn: &mut PgConnection, secret_hash: &str) -> Result<Option<Token>> {
    Ok(sqlx::query_as!(
        Token,
        "SELECT id, name, scopes, expires_at, revoked_at, last_used_at, created_at FROM token
         WHERE secret_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
        secret_hash,
    )
    .fetch_optional(conn)
    .await?)
}

/// To the minute: a row is not written with each request.
pub async fn touch(conn: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!(
        "UPDATE token SET last_used_at = now()
         WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')",
        id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Newest first.
pub async fn list(conn: &mut PgConnection, limit: i64, cursor: Option<&str>) -> Result<Page<Token>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let rows = sqlx::query_as!(
        Token,
        "SELECT id, name, scopes, expires_at, revoked_at, last_used_at, created_at FROM token
         WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
        before,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM token"#).fetch_one(conn).await?;
    Page::new(rows, limit, total, |row| row.id)
}

/// From now on the token is worth nothing; doing it again changes nothing.
pub async fn revoke(conn: &mut PgConnection, id: Uuid) -> Result<()> {
    sqlx::query!("UPDATE token SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1", id).execute(conn).await?;
    Ok(())
}

/// A request that would change something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    pub id: Uuid,
    pub at: DateTime<Utc>,
    pub token_id: Option<Uuid>,
    pub token_name: Option<String>,
    pub method: String,
    pub path: String,
    /// Of the answer.
    pub status: i32,
    pub request_id: String,
}

pub async fn insert_audit(
    conn: &mut PgConnection,
    token: Option<(Uuid, &str)>,
    method: &str,
    path: &str,
    status: i32,
    request_id: &str,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO audit (id, token_id, token_name, method, path, status, request_id) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        crate::id::new(),
        token.map(|(id, _)| id),
        token.map(|(_, name)| name),
        method,
        path,
        status,
        request_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Newest first; of one token where it is named.
pub async fn list_audit(
    conn: &mut PgConnection,
    token_id: Option<Uuid>,
    limit: i64,
    cursor: Option<&str>,
) -> Result<Page<Audit>> {
    let limit = page::clamp(limit);
    let before: Option<Uuid> = page::decode(cursor)?;
    let rows = sqlx::query_as!(
        Audit,
        "SELECT id, at, token_id, token_name, method, path, status, request_id FROM audit
         WHERE ($1::uuid IS NULL OR id < $1) AND ($2::uuid IS NULL OR token_id = $2) ORDER BY id DESC LIMIT $3",
        before,
        token_id,
        limit + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM audit WHERE $1::uuid IS NULL OR token_id = $1"#,
        token_id
    )
    .fetch_one(conn)
    .await?;
    Page::new(rows, limit, total, |row| row.id)
}

//! Who may do what: tokens, the sessions of pages, and the log of who did what.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use builder::error::Fault;
use builder::job::Fields;
use builder::store;
use builder::store::token::{Audit, Token};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::auth;
use crate::extract::{self, Body, Id, Query};
use crate::page::{Limit, List, PageQuery};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// A token, without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenResponse {
    /// Of the token.
    pub id: Uuid,
    /// For people.
    #[schema(example = "nightly export")]
    pub name: String,
    /// `read`, `curate`, `train`, `admin`.
    pub scopes: Vec<String>,
    /// From then on it is worth nothing; null: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was taken back.
    pub revoked_at: Option<DateTime<Utc>>,
    /// To the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl From<Token> for TokenResponse {
    fn from(token: Token) -> Self {
        let Token { id, name, scopes, expires_at, revoked_at, last_used_at, created_at } = token;
        Self { id, name, scopes, expires_at, revoked_at, last_used_at, created_at }
    }
}

/// A new token, and the only time that its secret is shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NewToken {
    #[serde(flatten)]
    pub token: TokenResponse,
    /// What goes into `Authorization: Bearer …`.
    pub secret: String,
}

/// What a token may do, and how long.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"name": "nightly export", "scopes": ["curate"], "expires_at": "2100-01-01T00:00:00Z"}))]
pub struct CreateTokenRequest {
    /// For people.
    pub name: String,
    /// `read`, `curate`, `train`, `admin`; each of the others may also read, `admin` may everything.
    pub scopes: Vec<String>,
    /// Default: never.
    #[schema(required = false)]
    pub expires_at: Option<DateTime<Utc>>,
}

impl Body for CreateTokenRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        if value.get("name").is_none_or(Value::is_null) {
            faults.push(Fault::new("/name", "is a text"));
        }
        let name = fields.text("name", faults).unwrap_or_default();
        if value.get("scopes").is_none_or(Value::is_null) {
            faults.push(Fault::new("/scopes", format!("is a list of {}", auth::SCOPES.join(", "))));
        }
        let mut scopes = fields.texts("scopes", faults).unwrap_or_default();
        for (place, scope) in scopes.iter().enumerate().filter(|(_, scope)| !auth::SCOPES.contains(&scope.as_str())) {
            let known = auth::SCOPES.join(", ");
            faults.push(Fault::new(format!("/scopes/{place}"), format!("{scope:?} is not one of {known}")));
        }
        scopes.sort_unstable();
        scopes.dedup();
        let expires_at = fields.take("expires_at").and_then(|value| {
            let at = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok()).map(|at| at.to_utc());
            match at {
                Some(at) if at > Utc::now() && at.timestamp() < 253_402_300_800 => return Some(at),
                Some(_) => faults.push(Fault::new("/expires_at", "lies in the future, before the year 10000")),
                None => faults.push(Fault::new("/expires_at", "is a time like 2100-01-01T00:00:00Z")),
            }
            None
        });
        fields.finish(faults);
        Some(Self { name, scopes, expires_at })
    }
}

/// Makes a token. Its secret is shown in this answer and never again.
#[utoipa::path(post, path = "/tokens", tag = "access", request_body = CreateTokenRequest,
    responses((status = 201, description = "Made", body = NewToken,
        headers(("Location" = String, description = "The token"))), Problems))]
pub async fn create_token(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<CreateTokenRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<NewToken>)> {
    let secret = auth::new_secret();
    let mut connection = state.connection().await?;
    let hash = auth::hash(&secret);
    let id = store::token::insert(&mut connection, &request.name, &hash, &request.scopes, request.expires_at).await?;
    let token = store::token::find(&mut connection, id).await?.ok_or_else(|| Problem::not_found("token", id))?;
    let location = [(header::LOCATION, format!("/api/v1/tokens/{id}"))];
    Ok((StatusCode::CREATED, location, Json(NewToken { token: token.into(), secret })))
}

/// Tokens, the newest first.
#[utoipa::path(get, path = "/tokens", tag = "access", params(PageQuery),
    responses((status = 200, description = "A page", body = List<TokenResponse>), Problems))]
pub async fn list_tokens(
    State(state): State<AppState>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<TokenResponse>>> {
    let mut connection = state.connection().await?;
    let found = store::token::list(&mut connection, page.limit(), page.cursor.as_deref()).await?;
    Ok(Json(found.map(TokenResponse::from).into()))
}

/// One token.
#[utoipa::path(get, path = "/tokens/{id}", tag = "access", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The token", body = TokenResponse), Problems))]
pub async fn find_token(State(state): State<AppState>, Id(id): Id) -> Result<Json<TokenResponse>> {
    let token = store::token::find(&mut *state.connection().await?, id).await?;
    Ok(Json(token.ok_or_else(|| Problem::not_found("token", id))?.into()))
}

/// Takes a token back: from now on it is worth nothing.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "access", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Taken back"), Problems))]
pub async fn revoke_token(State(state): State<AppState>, Id(id): Id) -> Result<StatusCode> {
    let mut connection = state.connection().await?;
    store::token::find(&mut connection, id).await?.ok_or_else(|| Problem::not_found("token", id))?;
    store::token::revoke(&mut connection, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A token's secret.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"secret": "diptych_0000000000000000000000000000000000000000000000000000000000000000"}))]
pub struct CreateSessionRequest {
    /// As it was shown when the token was made.
    pub secret: String,
}

impl Body for CreateSessionRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        let secret = fields.text("secret", faults);
        if secret.as_ref().is_none_or(|secret| !secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
        {
            faults.push(Fault::new("/secret", "is a token's secret"));
        }
        fields.finish(faults);
        Some(Self { secret: secret? })
    }
}

/// Lets the pages of this browser act as a token: sets a cookie that scripts cannot read and other sites cannot send.
#[utoipa::path(post, path = "/session", tag = "access", request_body = CreateSessionRequest,
    responses((status = 200, description = "The token that the pages act as", body = TokenResponse), Problems))]
pub async fn create_session(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<CreateSessionRequest>,
) -> Result<([(HeaderName, String); 1], Json<TokenResponse>)> {
    let token = auth::check(&state, &request.secret).await?;
    let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Strict", auth::COOKIE, request.secret);
    Ok(([(header::SET_COOKIE, cookie)], Json(token.into())))
}

/// Ends the session of this browser's pages.
#[utoipa::path(delete, path = "/session", tag = "access",
    responses((status = 204, description = "Ended"), Problems))]
pub async fn end_session() -> Result<(StatusCode, [(HeaderName, String); 1])> {
    let cookie = format!("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", auth::COOKIE);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]))
}

/// A request that would change something.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditResponse {
    /// Of the entry.
    pub id: Uuid,
    /// When it was answered.
    pub at: DateTime<Utc>,
    /// Whose it was; null where nobody is asked.
    pub token_id: Option<Uuid>,
    /// The token's name then.
    pub token_name: Option<String>,
    /// What was asked.
    #[schema(example = "POST")]
    pub method: String,
    /// Of what.
    #[schema(example = "/api/v1/jobs")]
    pub path: String,
    /// What was answered.
    #[schema(example = 202)]
    pub status: i32,
    /// As in the answer's `x-request-id`.
    pub request_id: String,
}

impl From<Audit> for AuditResponse {
    fn from(entry: Audit) -> Self {
        let Audit { id, at, token_id, token_name, method, path, status, request_id } = entry;
        Self { id, at, token_id, token_name, method, path, status, request_id }
    }
}

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Rows a page, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50, value_type = Option<i64>)]
    #[serde(default)]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Of this token alone.
    pub token_id: Option<Uuid>,
}

/// Who did what, the newest first: every request but those that only read, refused ones too.
#[utoipa::path(get, path = "/audit", tag = "access", params(AuditQuery),
    responses((status = 200, description = "A page", body = List<AuditResponse>), Problems))]
pub async fn list_audit(
    State(state): State<AppState>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<List<AuditResponse>>> {
    let mut connection = state.connection().await?;
    let (limit, cursor) = (query.limit.rows(), query.cursor.as_deref());
    let found = store::token::list_audit(&mut connection, query.token_id, limit, cursor).await?;
    Ok(Json(found.map(AuditResponse::from).into()))
}

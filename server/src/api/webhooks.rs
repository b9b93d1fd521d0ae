//! Addresses that are told of the events of jobs.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use builder::error::Fault;
use builder::job::Fields;
use builder::store;
use builder::store::webhook::{Delivery, Webhook};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth;
use crate::extract::{self, Body, Id, Query};
use crate::page::{List, PageQuery};
use crate::precondition::{IfMatch, etag, failed};
use crate::problem::{Problem, Problems, Result};
use crate::state::AppState;

/// An address that is told of the events of jobs.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookResponse {
    /// Of the webhook.
    pub id: Uuid,
    /// Where to.
    pub url: String,
    /// Kinds of events; none: all.
    pub events: Vec<String>,
    /// Whether it is told of new events.
    pub active: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl From<Webhook> for WebhookResponse {
    fn from(webhook: Webhook) -> Self {
        let Webhook { id, url, events, active, version: _, created_at } = webhook;
        Self { id, url, events, active, created_at }
    }
}

/// A new webhook, and the only time that its secret is shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NewWebhook {
    #[serde(flatten)]
    pub webhook: WebhookResponse,
    /// Key of the signature in `X-Diptych-Signature: t=SECONDS,v1=HEX`, the HMAC-SHA-256 of `SECONDS.BODY`.
    pub secret: String,
}

/// Whom to tell of what.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"url": "https://example.org/diptych", "events": ["state"]}))]
pub struct CreateWebhookRequest {
    /// An address of the open internet.
    pub url: String,
    /// Kinds of events. Default: all.
    #[schema(required = false)]
    pub events: Vec<String>,
}

impl Body for CreateWebhookRequest {
    fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        if value.get("url").is_none_or(Value::is_null) {
            faults.push(Fault::new("/url", "is an address"));
        }
        let url = fields.text("url", faults).unwrap_or_default();
        let events = fields.texts("events", faults).unwrap_or_default();
        fields.finish(faults);
        Some(Self { url, events })
    }
}

/// An event on its way to a webhook.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryResponse {
    /// As in `X-Diptych-Delivery`.
    pub id: Uuid,
    /// Whose event.
    pub job_id: Uuid,
    /// Which of its events.
    pub sequence: i64,
    /// `waiting`, `delivered` or `failed`.
    #[schema(example = "delivered")]
    pub state: String,
    /// How often it was sent.
    pub attempts: i32,
    /// When it is sent again, while it waits.
    pub next_attempt_at: DateTime<Utc>,
    /// HTTP status of the last answer.
    pub last_status: Option<i32>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it was taken.
    pub delivered_at: Option<DateTime<Utc>>,
}

impl From<Delivery> for DeliveryResponse {
    fn from(delivery: Delivery) -> Self {
        let Delivery { id, job_id, sequence, state, attempts, next_attempt_at, last_status, last_error, delivered_at } =
            delivery;
        Self { id, job_id, sequence, state, attempts, next_attempt_at, last_status, last_error, delivered_at }
    }
}

async fn load(connection: &mut PgConnection, id: Uuid) -> Result<Webhook> {
    store::webhook::find(connection, id).await?.ok_or_else(|| Problem::not_found("webhook", id))
}

/// Tells an address of the events of all jobs from now on, each signed, and again until it is taken.
#[utoipa::path(post, path = "/webhooks", tag = "access", request_body = CreateWebhookRequest,
    responses((status = 201, description = "Made", body = NewWebhook,
        headers(("Location" = String, description = "The webhook"))), Problems))]
pub async fn create_webhook(
    State(state): State<AppState>,
    extract::Json(request): extract::Json<CreateWebhookRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<NewWebhook>)> {
    builder::webhook::check_url(&request.url, state.limits.private_webhooks)
        .map_err(|message| Problem::faults(&[Fault::new("/url", message)]))?;
    let secret = auth::new_secret();
    let mut connection = state.connection().await?;
    let id = store::webhook::insert(&mut connection, &request.url, &request.events, &secret).await?;
    let webhook = load(&mut connection, id).await?;
    let location = [(header::LOCATION, format!("/api/v1/webhooks/{id}"))];
    Ok((StatusCode::CREATED, location, Json(NewWebhook { webhook: webhook.into(), secret })))
}

/// Webhooks, the newest first.
#[utoipa::path(get, path = "/webhooks", tag = "access", params(PageQuery),
    responses((status = 200, description = "A page", body = List<WebhookResponse>), Problems))]
pub async fn list_webhooks(
    State(state): State<AppState>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<WebhookResponse>>> {
    let mut connection = state.connection().await?;
    let found = store::webhook::list(&mut connection, page.limit(), page.cursor.as_deref()).await?;
    Ok(Json(found.map(WebhookResponse::from).into()))
}

/// One webhook; its `ETag` is what `If-Match` of a change must say.
#[utoipa::path(get, path = "/webhooks/{id}", tag = "access", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The webhook", body = WebhookResponse,
        headers(("ETag" = String, description = "Its version"))), Problems))]
pub async fn find_webhook(
    State(state): State<AppState>,
    Id(id): Id,
) -> Result<([(HeaderName, String); 1], Json<WebhookResponse>)> {
    let webhook = load(&mut *state.connection().await?, id).await?;
    Ok((etag(webhook.version), Json(webhook.into())))
}

/// Deletes a webhook, and what waits to be sent to it.
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "access",
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag that was seen")),
    responses((status = 204, description = "Deleted"), Problems))]
pub async fn delete_webhook(State(state): State<AppState>, Id(id): Id, seen: IfMatch) -> Result<StatusCode> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    if !store::webhook::delete(&mut connection, id, seen.version()?).await? {
        return Err(failed());
    }
    Ok(StatusCode::NO_CONTENT)
}

/// What was sent to a webhook and what came of it, the newest first.
#[utoipa::path(get, path = "/webhooks/{id}/deliveries", tag = "access", params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, description = "A page", body = List<DeliveryResponse>), Problems))]
pub async fn list_deliveries(
    State(state): State<AppState>,
    Id(id): Id,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<DeliveryResponse>>> {
    let mut connection = state.connection().await?;
    load(&mut connection, id).await?;
    let found = store::webhook::deliveries(&mut connection, id, page.limit(), page.cursor.as_deref()).await?;
    Ok(Json(found.map(DeliveryResponse::from).into()))
}

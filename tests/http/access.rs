//! Who may do what, what is written down of it, and who is told of events.

use std::sync::{Arc, Mutex};

use anyhow::{Context, ensure};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use builder::store::job_event;
use serde_json::{Value, json};
use server::state::Limits;
use tests::test_app::{Answer, TestApp};
use uuid::Uuid;

use crate::finished::{Finished, text};
use crate::{Outcome, Test, World, test};

pub const TESTS: &[(&str, Test)] = &[
    test!(tokens_open_what_their_scopes_say),
    test!(a_token_that_asks_too_much_waits),
    test!(every_change_is_written_down),
    test!(webhooks_are_signed_and_sent_again),
    test!(webhooks_call_nothing_private),
    test!(what_is_no_page_carries_a_strict_policy),
];

async fn with(app: &TestApp, method: Method, path: &str, secret: &str, body: &Value) -> anyhow::Result<Answer> {
    let bearer = format!("Bearer {secret}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    app.request(method, path, &headers, body.to_string()).await
}

async fn token(app: &TestApp, scopes: &[&str]) -> anyhow::Result<(Uuid, String)> {
    let secret = server::auth::new_secret();
    let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
    let hash = server::auth::hash(&secret);
    let id = builder::store::token::insert(&mut *app.connection().await?, "test", &hash, &scopes, None).await?;
    Ok((id, secret))
}

async fn tokens_open_what_their_scopes_say(world: Arc<World>) -> Outcome {
    let app = TestApp::with_limits(&world.cluster, Limits { auth: true, ..Limits::default() }).await?;
    let (graphs, edits) = ("/api/v1/graphs?facets=false", json!({"name": "c"}));
    let refused = app.get(graphs).await?;
    refused.problem(401, "unauthenticated")?;
    ensure!(refused.header("www-authenticate").starts_with("Bearer"));
    app.get("/api/v1/health").await?.expect(200)?;
    let (_, admin) = token(&app, &["admin"]).await?;
    let body = json!({"name": "reader", "scopes": ["read"], "expires_at": "2100-01-01T00:00:00Z"});
    let made = with(&app, Method::POST, "/api/v1/tokens", &admin, &body).await?.expect(201)?;
    let reader = text(&made["secret"]);
    let kept: String = sqlx::query_scalar("SELECT token::text FROM token WHERE name = 'reader'")
        .fetch_one(&mut *app.connection().await?)
        .await?;
    ensure!(!kept.contains(reader), "the secret itself is not kept");
    with(&app, Method::GET, graphs, reader, &Value::Null).await?.expect(200)?;
    with(&app, Method::POST, "/api/v1/collections", reader, &edits).await?.problem(403, "forbidden")?;
    with(&app, Method::GET, "/api/v1/tokens", reader, &Value::Null).await?.problem(403, "forbidden")?;
    let (_, curator) = token(&app, &["curate"]).await?;
    with(&app, Method::POST, "/api/v1/collections", &curator, &edits).await?.expect(201)?;
    with(&app, Method::POST, "/jobs", &curator, &json!({})).await?.problem(403, "forbidden")?;
    let (_, trainer) = token(&app, &["train"]).await?;
    with(&app, Method::POST, "/jobs", &trainer, &json!({})).await?.problem(422, "invalid_fields")?;
    // A page's cookie.
    let session = app.post("/api/v1/session", &json!({"secret": reader})).await?;
    session.expect(200)?;
    let cookie = session.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
    ensure!(session.header("set-cookie").contains("HttpOnly; SameSite=Strict"));
    app.request(Method::GET, graphs, &[("cookie", &cookie)], "").await?.expect(200)?;
    let ended = app.request(Method::DELETE, "/api/v1/session", &[], "").await?;
    ensure!(ended.status == 204 && ended.header("set-cookie").contains("Max-Age=0"));
    // Taken back, or expired.
    let path = format!("/api/v1/tokens/{}", text(&made["id"]));
    let list = with(&app, Method::GET, "/api/v1/tokens", &admin, &Value::Null).await?.expect(200)?;
    ensure!(list["total"] == 4 && !list.to_string().contains("secret"), "{list}");
    ensure!(with(&app, Method::DELETE, &path, &admin, &Value::Null).await?.status == 204);
    ensure!(with(&app, Method::GET, &path, &admin, &Value::Null).await?.expect(200)?["revoked_at"].is_string());
    with(&app, Method::GET, graphs, reader, &Value::Null).await?.problem(401, "unauthenticated")?;
    sqlx::query("UPDATE token SET expires_at = now() - interval '1 second'")
        .execute(&mut *app.connection().await?)
        .await?;
    with(&app, Method::GET, graphs, &curator, &Value::Null).await?.problem(401, "unauthenticated")?;
    Ok(())
}

async fn a_token_that_asks_too_much_waits(world: Arc<World>) -> Outcome {
    let limits = Limits { auth: true, requests_per_second: 1.0, ..Limits::default() };
    let app = TestApp::with_limits(&world.cluster, limits).await?;
    let (_, secret) = token(&app, &["read"]).await?;
    let mut granted = 0;
    let refused = loop {
        let answer = with(&app, Method::GET, "/api/v1/jobs", &secret, &Value::Null).await?;
        if answer.status == 429 {
            break answer;
        }
        answer.expect(200)?;
        granted += 1;
        ensure!(granted < 60, "no limit");
    };
    refused.problem(429, "rate_limited")?;
    ensure!(
        granted >= 4 && refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1),
        "{granted}"
    );
    let (_, other) = token(&app, &["read"]).await?;
    with(&app, Method::GET, "/api/v1/jobs", &other, &Value::Null).await?.expect(200)?;
    Ok(())
}

async fn every_change_is_written_down(world: Arc<World>) -> Outcome {
    let app = TestApp::with_limits(&world.cluster, Limits { auth: true, ..Limits::default() }).await?;
    let ((admin_id, admin), (reader_id, reader)) = (token(&app, &["admin"]).await?, token(&app, &["read"]).await?);
    let made = with(&app, Method::POST, "/api/v1/collections", &admin, &json!({"name": "a"})).await?;
    with(&app, Method::POST, "/api/v1/collections", &reader, &json!({"name": "b"})).await?.problem(403, "forbidden")?;
    with(&app, Method::GET, "/api/v1/collections", &reader, &Value::Null).await?.expect(200)?;
    let list = with(&app, Method::GET, "/api/v1/audit", &admin, &Value::Null).await?.expect(200)?;
    ensure!(list["total"] == 2, "what only reads is not written down: {list}");
    let (refused, done) = (&list["items"][0], &list["items"][1]);
    ensure!(refused["status"] == 403 && refused["token_id"] == reader_id.to_string(), "{refused}");
    ensure!(done["status"] == 201 && done["token_id"] == admin_id.to_string() && done["method"] == "POST", "{done}");
    ensure!(done["path"] == "/api/v1/collections" && done["request_id"] == made.header("x-request-id"), "{done}");
    let of_reader = format!("/api/v1/audit?token_id={reader_id}");
    ensure!(with(&app, Method::GET, &of_reader, &admin, &Value::Null).await?.expect(200)?["total"] == 1);
    Ok(())
}

/// What arrived at a webhook: signature and body.
type Arrived = Arc<Mutex<Vec<(String, String)>>>;

async fn receive(State(arrived): State<Arrived>, headers: HeaderMap, body: String) -> StatusCode {
    let signature = headers.get("x-diptych-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Ok(mut arrived) = arrived.lock() else { return StatusCode::INTERNAL_SERVER_ERROR };
    arrived.push((signature.to_owned(), body));
    if arrived.len() == 1 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::NO_CONTENT }
}

/// A job of another store's making, which nobody works on.
async fn idle_job(app: &TestApp) -> anyhow::Result<Uuid> {
    let id = Uuid::now_v7();
    sqlx::query("INSERT INTO job (id, state, spec, request_hash) VALUES ($1, 'queued', '{}', '')")
        .bind(id)
        .execute(&mut *app.connection().await?)
        .await?;
    Ok(id)
}

async fn webhooks_are_signed_and_sent_again(world: Arc<World>) -> Outcome {
    let app = TestApp::with_limits(&world.cluster, Limits { private_webhooks: true, ..Limits::default() }).await?;
    let arrived: Arrived = Arc::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    let router = axum::Router::new().route("/hook", axum::routing::post(receive)).with_state(Arc::clone(&arrived));
    tokio::spawn(axum::serve(listener, router).into_future());
    let made = app.post("/api/v1/webhooks", &json!({"url": url, "events": ["state"]})).await?;
    let secret = text(&made.expect(201)?["secret"]).to_owned();
    let path = made.header("location").to_owned();
    let job = idle_job(&app).await?;
    for (kind, number) in [("state", 1), ("log", 2), ("state", 3)] {
        job_event::append(&mut *app.connection().await?, job, kind, &json!({"number": number})).await?;
    }
    builder::webhook::deliver_due(&app.state.context, true).await?;
    // The first answer was a 500: it waits, and is sent again once its time has come.
    let list = app.get(&format!("{path}/deliveries")).await?.expect(200)?;
    let waiting = list["items"].as_array().into_iter().flatten().filter(|one| one["state"] == "waiting").count();
    ensure!(list["total"] == 2 && waiting == 1, "{list}");
    sqlx::query("UPDATE delivery SET next_attempt_at = now()").execute(&mut *app.connection().await?).await?;
    builder::webhook::deliver_due(&app.state.context, true).await?;
    let list = app.get(&format!("{path}/deliveries?limit=1")).await?.expect(200)?;
    ensure!(list["items"][0]["state"] == "delivered" && list["next_cursor"].is_string(), "{list}");
    let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM delivery WHERE state <> 'delivered'")
        .fetch_one(&mut *app.connection().await?)
        .await?;
    ensure!(waiting == 0);
    let arrived = arrived.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.clone();
    ensure!(arrived.len() == 3, "{arrived:?}");
    for (signature, body) in &arrived {
        let seconds = signature.strip_prefix("t=").and_then(|rest| rest.split(',').next()).context("a time")?;
        let expected = builder::webhook::signature(&secret, seconds.parse()?, body.as_bytes());
        ensure!(*signature == expected, "{signature} {expected}");
        let event: Value = serde_json::from_str(body)?;
        ensure!(event["kind"] == "state" && event["job_id"] == job.to_string(), "{event}");
    }
    let etag = app.get(&path).await?.header("etag").to_owned();
    let deleted = app.request(Method::DELETE, &path, &[("if-match", &etag)], "").await?;
    ensure!(deleted.status == 204 && app.get("/api/v1/webhooks").await?.expect(200)?["total"] == 0);
    Ok(())
}

async fn webhooks_call_nothing_private(world: Arc<World>) -> Outcome {
    let app = TestApp::new(&world.cluster).await?;
    for url in
        ["http://127.0.0.1:5432/", "http://[::1]/", "http://169.254.169.254/latest", "http://2130706433/", "gopher://a"]
    {
        let problem = app.post("/api/v1/webhooks", &json!({"url": url})).await?.problem(422, "invalid_fields")?;
        ensure!(problem["errors"][0]["pointer"] == "/url", "{problem}");
    }
    // A name that leads here is found out when it is called, and is not called again.
    let made = app.post("/api/v1/webhooks", &json!({"url": "http://localhost:9/"})).await?;
    made.expect(201)?;
    let job = idle_job(&app).await?;
    job_event::append(&mut *app.connection().await?, job, "state", &json!({})).await?;
    builder::webhook::deliver_due(&app.state.context, false).await?;
    let list = app.get(&format!("{}/deliveries", made.header("location"))).await?.expect(200)?;
    let one = &list["items"][0];
    ensure!(one["state"] == "failed" && text(&one["last_error"]).contains("private"), "{list}");
    Ok(())
}

async fn what_is_no_page_carries_a_strict_policy(world: Arc<World>) -> Outcome {
    let Finished { app, .. } = world.finished().await?;
    for path in ["/api/v1/graphs?limit=1", "/api/v1/nothing", "/api/v1/openapi.json"] {
        let policy = app.get(path).await?.header("content-security-policy").to_owned();
        ensure!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
    }
    Ok(())
}

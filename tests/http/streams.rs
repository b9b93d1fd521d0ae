//! The events of a job as a stream: all of them, in order, going on where the last connection broke off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use axum::body::Body;
use axum::http::Request;
use builder::store::job_event;
use futures::StreamExt;
use serde_json::{Value, json};
use tests::test_app::TestApp;
use uuid::Uuid;

use crate::finished::{Finished, text};
use crate::{Outcome, Test, World, test};

pub const TESTS: &[(&str, Test)] = &[
    test!(a_stream_goes_on_after_the_last_event_id),
    test!(a_new_event_arrives_within_a_second),
    test!(a_bad_last_event_id_is_refused),
];

/// A stream that is being read.
struct Stream {
    body: axum::body::BodyDataStream,
    buffer: String,
}

impl Stream {
    async fn open(app: &TestApp, job: &str, last: Option<&str>) -> anyhow::Result<Self> {
        let mut request =
            Request::builder().uri(format!("/api/v1/jobs/{job}/events")).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = app.send(request.body(Body::empty())?).await?;
        ensure!(response.status() == 200, "{}", response.status());
        ensure!(response.headers()["content-type"] == "text/event-stream", "{:?}", response.headers());
        Ok(Self { body: response.into_body().into_data_stream(), buffer: String::new() })
    }

    /// The next event: id, kind, document.
    async fn next(&mut self) -> anyhow::Result<(i64, String, Value)> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.buffer = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let Some(id) = field("id:") else { continue };
                let document = serde_json::from_str(field("data:").context("data")?)?;
                return Ok((id.parse()?, field("event:").context("a kind")?.to_owned(), document));
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.body.next()).await?;
            self.buffer.push_str(std::str::from_utf8(&chunk.context("the stream ended")??)?);
        }
    }
}

async fn a_stream_goes_on_after_the_last_event_id(world: Arc<World>) -> Outcome {
    let Finished { app, job, .. } = world.finished().await?;
    let id = text(&job["id"]);
    let events = app.get(&format!("/api/v1/jobs/{id}/events")).await?.expect(200)?;
    let expected = events["items"].as_array().context("events")?;
    ensure!(expected.len() > 5, "{events}");
    let mut stream = Stream::open(app, id, None).await?;
    for event in expected {
        let (sequence, kind, document) = stream.next().await?;
        ensure!(document == *event && event["sequence"] == sequence && event["kind"] == kind, "{document} {event}");
    }
    for last in [0, 3, expected.len() - 1] {
        let mut stream = Stream::open(app, id, Some(&last.to_string())).await?;
        ensure!(stream.next().await?.2 == expected[last], "after {last}");
    }
    let after = app.get(&format!("/api/v1/jobs/{id}/events?after=3&limit=2")).await?.expect(200)?;
    ensure!(after["items"] == json!(expected[3..5]) && after["total"] == expected.len(), "{after}");
    Ok(())
}

async fn a_new_event_arrives_within_a_second(world: Arc<World>) -> Outcome {
    let Finished { app, job, .. } = world.finished().await?;
    let id = text(&job["id"]);
    let events = app.get(&format!("/api/v1/jobs/{id}/events")).await?.expect(200)?;
    let last = events["total"].to_string();
    // A job of its own, so that nobody else's events are counted.
    let request = crate::finished::job_request(&world.finished().await?.pairing, 1_000_000);
    let other = crate::finished::accept(app, "/api/v1/jobs", &request).await?;
    app.post(&format!("/api/v1/jobs/{}/cancel", text(&other["id"])), &json!({})).await?.expect(202)?;
    crate::finished::wait_until(app, "jobs", &other, |job| job["state"] == "cancelled").await?;
    let its_events = app.get(&format!("/api/v1/jobs/{}/events", text(&other["id"]))).await?.expect(200)?;
    let mut stream = Stream::open(app, text(&other["id"]), Some(&its_events["total"].to_string())).await?;
    // Wait until the stream waits.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    let other_id = Uuid::parse_str(text(&other["id"]))?;
    job_event::append(&mut *app.connection().await?, other_id, "log", &json!({"message": "hello"})).await?;
    let (sequence, kind, document) = stream.next().await?;
    ensure!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    ensure!(
        kind == "log" && document["data"]["message"] == "hello" && its_events["total"] == sequence - 1,
        "{document}"
    );
    ensure!(app.get(&format!("/api/v1/jobs/{id}/events")).await?.expect(200)?["total"].to_string() == last);
    Ok(())
}

async fn a_bad_last_event_id_is_refused(world: Arc<World>) -> Outcome {
    let Finished { app, job, .. } = world.finished().await?;
    for last in ["x", "1.5", "99999999999999999999"] {
        let headers = [("accept", "text/event-stream"), ("last-event-id", last)];
        let path = format!("/api/v1/jobs/{}/events", text(&job["id"]));
        app.request(axum::http::Method::GET, &path, &headers, "").await?.problem(400, "malformed_header")?;
    }
    Ok(())
}

//! A thousand pages that watch one job.

use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::client::Client;
use crate::table::Table;

const LISTENERS: usize = 1000;

/// How long after an event each listener has it, in ms, for the events that came to be while it listened.
pub async fn measure(client: &Client, table: &mut Table) -> anyhow::Result<()> {
    eprintln!("{LISTENERS} listeners on one job");
    let policy = json!({"weights": {"dpg": 1.0}, "select": "best_worst"});
    let pairing = client.post("pairings", json!({"name": "load", "policy": policy}).to_string()).await?;
    let request = json!({"pairing_id": pairing["id"], "objective": "diffusion-dpo", "max_steps": 20, "warmup_steps": 1,
        "batch_size": 2, "checkpoint_every": 5, "sample_every": 10, "sample_graphs": 2, "evaluation": {"num_graphs": 4}});
    let job = client.post("jobs", request.to_string()).await?;
    let url = format!("{}jobs/{}/events", client.api, job["id"].as_str().context("no id")?);
    let listeners = join_all((0..LISTENERS).map(|_| tokio::spawn(listen(client.clone(), url.clone())))).await;
    let mut late = Vec::new();
    let mut counts = std::collections::BTreeSet::new();
    for listener in listeners {
        let (all, lateness) = listener??;
        counts.insert(all);
        late.extend(lateness);
    }
    ensure!(counts.len() == 1, "listeners were told different numbers of events: {counts:?}");
    let most = late.iter().copied().fold(0.0, f64::max);
    let (events, told) = (counts.first().copied().unwrap_or_default(), late.len());
    table.row(
        &format!("{LISTENERS} listeners of one job, {events} events, {told} times told"),
        format!("{most:.0} ms at most after the event"),
        "< 1000 ms".to_owned(),
        most < 1000.0 && told > LISTENERS,
    );
    Ok(())
}

/// Listens until the job has ended. Events that were there before are counted, not timed.
async fn listen(client: Client, url: String) -> anyhow::Result<(usize, Vec<f64>)> {
    let response = client.http.get(url).header("accept", "text/event-stream").send().await?;
    ensure!(response.status() == 200, "{}", response.status());
    let since = Utc::now();
    let (mut bytes, mut buffer) = (response.bytes_stream(), String::new());
    let (mut all, mut late) = (0, Vec::new());
    loop {
        let chunk =
            tokio::time::timeout(Duration::from_secs(300), bytes.next()).await?.context("the stream ended")??;
        let now = Utc::now();
        buffer.push_str(std::str::from_utf8(&chunk)?);
        while let Some((event, rest)) = buffer.split_once("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data:"));
            let event: Option<Value> = data.map(serde_json::from_str).transpose()?;
            buffer = rest.to_owned();
            let Some(event) = event else { continue };
            all += 1;
            let at: DateTime<Utc> = event["at"].as_str().context("no time")?.parse()?;
            if at > since {
                late.push((now - at).as_seconds_f64() * 1e3);
            }
            if event["kind"] == "state" && event["data"]["to"] == "succeeded" {
                return Ok((all, late));
            }
            ensure!(event["data"]["to"] != "failed", "{event}");
        }
    }
}

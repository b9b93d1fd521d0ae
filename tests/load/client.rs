//! Requests over real sockets.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    /// The API, with a slash at its end.
    pub api: String,
}

impl Client {
    pub fn new(url: &str) -> anyhow::Result<Self> {
        // Several may ask for it; the first one counts.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(256).build()?;
        Ok(Self { http, api: format!("{}/api/v1/", url.trim_end_matches('/')) })
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        read(self.http.get(format!("{}{path}", self.api)).send().await?).await
    }

    pub async fn post(&self, path: &str, body: String) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}{path}", self.api)).header("content-type", "application/json");
        read(request.body(body).send().await?).await
    }

    /// Waits for long work.
    pub async fn finish(&self, noun: &str, mut resource: Value) -> anyhow::Result<Value> {
        while resource["finished_at"].is_null() {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let id = resource["id"].as_str().context("no id")?;
            resource = self.get(&format!("{noun}/{id}")).await?;
        }
        ensure!(resource["state"] == "succeeded", "{noun}: {resource}");
        Ok(resource)
    }
}

async fn read(response: reqwest::Response) -> anyhow::Result<Value> {
    let (status, text) = (response.status(), response.text().await?);
    ensure!(status.is_success(), "{status}: {text}");
    Ok(serde_json::from_str(&text)?)
}

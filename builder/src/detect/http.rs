//! Boxes from an HTTP endpoint, asked patiently ([`crate::endpoint`]).
//!
//! `POST {"model": "…", "image": "data:image/png;base64,…", "labels": ["dog", …]}` is answered by
//! `{"detections": [{"label", "box": [x1, y1, x2, y2], "confidence", "depth"?}, …]}`, boxes in pixels of the picture.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Detected, Detector, Sight, read_detections};
use crate::endpoint::chat::Spent;
use crate::endpoint::{Endpoint, Patience, Picture, key_of, shortened};
use crate::{Error, Result};

/// Where and how to ask.
#[derive(Clone)]
pub struct DetectorSettings {
    /// The whole address.
    pub url: String,
    /// Which of the endpoint's models; "" where it has one.
    pub model: String,
    /// Sent as a bearer token; never printed.
    pub api_key: Option<String>,
    /// How much at once, how often.
    pub patience: Patience,
}

impl DetectorSettings {
    /// `DETECTOR_URL` and, if they are there, `DETECTOR_MODEL` and `DETECTOR_API_KEY`.
    ///
    /// # Errors
    /// The first is not set.
    pub fn from_environment() -> Result<Self> {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let url = read("DETECTOR_URL");
        let url =
            url.ok_or_else(|| Error::invalid("/answerer", "`http-boxes`: the environment does not set DETECTOR_URL"))?;
        let model = read("DETECTOR_MODEL").unwrap_or_default();
        Ok(Self { url, model, api_key: read("DETECTOR_API_KEY"), patience: Patience::default() })
    }
}

impl std::fmt::Debug for DetectorSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key stays out of every log.
        f.debug_struct("DetectorSettings").field("url", &self.url).field("model", &self.model).finish_non_exhaustive()
    }
}

/// What the endpoint found in one picture.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Found {
    detections: Vec<Detected>,
}

/// The detector.
pub struct HttpDetector {
    endpoint: Endpoint<Found>,
    model: String,
    version: String,
}

impl HttpDetector {
    /// Makes ready to ask; sends nothing yet.
    ///
    /// # Errors
    /// The address is none, or the file of kept boxes cannot be read.
    pub fn new(settings: DetectorSettings) -> Result<Self> {
        let DetectorSettings { url, model, api_key, patience } = settings;
        // Another endpoint is another detector, whatever it calls its model.
        let place = &crate::scene_graph::sha256_hex(url.as_bytes())[..8];
        let version = if model.is_empty() { place.to_owned() } else { format!("{place}/{model}") };
        Ok(Self { endpoint: Endpoint::new(&url, api_key, patience)?, model, version })
    }

    async fn one(&self, picture: &Picture<'_>, labels: &[&str]) -> Result<Vec<Detected>> {
        let words = labels.join("\n");
        let key = key_of(&[&picture.hash, words.as_bytes(), self.version.as_bytes()]);
        let body = || {
            let mut body = json!({ "image": &*picture.url()?, "labels": labels });
            if !self.model.is_empty() {
                body["model"] = json!(self.model);
            }
            Ok(body)
        };
        Ok(self.endpoint.ask(key, body, read_reply, |_| true).await?.detections)
    }
}

fn read_reply(text: &[u8]) -> Result<Found, String> {
    let reply: Value =
        serde_json::from_slice(text).map_err(|error| format!("the reply is no JSON: {error}: {}", shortened(text)))?;
    let detections = reply.get("detections").unwrap_or(&reply);
    let detections = read_detections(detections).map_err(|message| format!("the reply: {message}"))?;
    Ok(Found { detections })
}

impl Detector for HttpDetector {
    fn name(&self) -> &'static str {
        "http-boxes"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn spent(&self) -> Option<Spent> {
        Some(self.endpoint.sent().into())
    }

    fn detect_many(&self, sights: &[Sight<'_>]) -> Vec<Result<Vec<Detected>>> {
        let pictures: Vec<Picture<'_>> = sights.iter().map(|sight| Picture::of(sight.image)).collect();
        let requests: Vec<_> =
            pictures.iter().zip(sights).map(|(picture, sight)| self.one(picture, sight.labels)).collect();
        self.endpoint.wait_for_all(requests)
    }
}

//! Asks any OpenAI-compatible vision endpoint (vLLM, llama.cpp, Ollama, hosted ones): one request a question, patiently
//! ([`crate::endpoint`]). Answers are kept by (pixels, question, model, prompt version).

mod reply;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use image::RgbImage;
use serde_json::{Value, json};

use super::{Answer, AnswerValue, Answerer, Asked, Inquiry};
use crate::endpoint::{Endpoint, Patience, Picture, key_of};
use crate::{Error, Result};
use reply::{Given, read_reply};

/// Changes whenever the words around a question do.
pub const PROMPT_VERSION: &str = "1";
/// Told to the model before each question.
const PROMPT: &str = "You judge whether a statement about the picture holds. Answer with exactly one word: yes or no.";

/// Where and how to ask.
#[derive(Clone)]
pub struct OpenAiSettings {
    /// Up to and with the version: `http://127.0.0.1:8000/v1`.
    pub base_url: String,
    /// Name of the model at that endpoint.
    pub model: String,
    /// Sent as a bearer token; never printed.
    pub api_key: Option<String>,
    /// Ask for the probabilities of the first token; not every server knows how.
    pub logprobs: bool,
    /// 1, or the number of a repetition: what other repetitions were answered is then asked again.
    pub repetition: u32,
    /// How much at once, how often.
    pub patience: Patience,
}

impl OpenAiSettings {
    /// Usual values for an endpoint.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            api_key: None,
            logprobs: false,
            repetition: 1,
            patience: Patience::default(),
        }
    }

    /// `OPENAI_BASE_URL`, `OPENAI_MODEL` and, if there is one, `OPENAI_API_KEY`.
    ///
    /// # Errors
    /// One of the first two is not set.
    pub fn from_environment() -> Result<Self> {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let needed = |name: &str| {
            read(name)
                .ok_or_else(|| Error::invalid("/answerer", format!("`openai`: the environment does not set {name}")))
        };
        let mut settings = Self::new(needed("OPENAI_BASE_URL")?, needed("OPENAI_MODEL")?);
        settings.api_key = read("OPENAI_API_KEY");
        Ok(settings)
    }

    /// As this, with answers kept in a file.
    #[must_use]
    pub fn with_cache(mut self, file: PathBuf) -> Self {
        self.patience.cache = Some(file);
        self
    }
}

impl std::fmt::Debug for OpenAiSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key stays out of every log.
        f.debug_struct("OpenAiSettings")
            .field("base_url", &self.base_url)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// What was spent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Requests sent, tries included.
    pub requests: u64,
    /// Requests that had to be sent again.
    pub retries: u64,
    /// Questions that were answered from what is kept.
    pub cached: u64,
    /// As the server counts them.
    pub prompt_tokens: u64,
    /// As the server counts them.
    pub completion_tokens: u64,
}

/// The answerer.
pub struct OpenAiAnswerer {
    version: String,
    model: String,
    logprobs: bool,
    repetition: u32,
    endpoint: Endpoint<Given>,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
}

impl OpenAiAnswerer {
    /// Makes ready to ask; sends nothing yet.
    ///
    /// # Errors
    /// The address is none, or the file of kept answers cannot be read.
    pub fn new(settings: OpenAiSettings) -> Result<Self> {
        let OpenAiSettings { base_url, model, api_key, logprobs, repetition, patience } = settings;
        let url = format!("{}/chat/completions", base_url.trim_end_matches('/'));
        Ok(Self {
            version: format!("{PROMPT_VERSION}/{model}"),
            model,
            logprobs,
            repetition,
            endpoint: Endpoint::new(&url, api_key, patience)?,
            prompt_tokens: AtomicU64::new(0),
            completion_tokens: AtomicU64::new(0),
        })
    }

    /// What was spent so far.
    pub fn spent(&self) -> Spent {
        let sent = self.endpoint.sent();
        Spent {
            requests: sent.requests,
            retries: sent.retries,
            cached: sent.cached,
            prompt_tokens: self.prompt_tokens.load(Ordering::Relaxed),
            completion_tokens: self.completion_tokens.load(Ordering::Relaxed),
        }
    }

    /// One question, from what is kept or from the server.
    async fn one(&self, picture: &Picture<'_>, question: &Asked<'_>) -> Result<Answer> {
        let mut parts: Vec<&[u8]> = vec![&picture.hash, question.text.as_bytes(), self.version.as_bytes()];
        let repetition = self.repetition.to_le_bytes();
        if self.repetition > 1 {
            parts.push(&repetition);
        }
        let started = Instant::now();
        let read = |text: &[u8]| {
            let mut given = read_reply(text)?;
            given.seconds = Some(started.elapsed().as_secs_f32());
            self.prompt_tokens.fetch_add(given.prompt_tokens, Ordering::Relaxed);
            self.completion_tokens.fetch_add(given.completion_tokens, Ordering::Relaxed);
            Ok(given)
        };
        let body = || Ok(self.body(question.text, &picture.url()?));
        // A refusal is no answer: the next run may ask again.
        let keep = |given: &Given| given.value != AnswerValue::CannotAnswer;
        let given = self.endpoint.ask(key_of(&parts), body, read, keep).await?;
        let Given { value, probability, seconds, .. } = given;
        Ok(Answer { question: question.id, value, probability, seconds })
    }

    fn body(&self, question: &str, image: &str) -> Value {
        let mut body = json!({
            "model": self.model,
            "temperature": 0,
            "max_tokens": 4,
            "messages": [
                { "role": "system", "content": PROMPT },
                { "role": "user", "content": [
                    { "type": "image_url", "image_url": { "url": image } },
                    { "type": "text", "text": question },
                ]},
            ],
        });
        if self.logprobs {
            body["logprobs"] = json!(true);
            body["top_logprobs"] = json!(10);
        }
        body
    }
}

impl Answerer for OpenAiAnswerer {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn ask(&self, image: &RgbImage, questions: &[Asked<'_>]) -> Result<Vec<Answer>> {
        let inquiry = Inquiry { image, questions, graph: None };
        self.answer_many(&[inquiry]).pop().unwrap_or_else(|| Ok(Vec::new()))
    }

    /// All questions of all pictures are under way together.
    fn answer_many(&self, inquiries: &[Inquiry<'_>]) -> Vec<Result<Vec<Answer>>> {
        let pictures: Vec<Picture<'_>> = inquiries.iter().map(|inquiry| Picture::of(inquiry.image)).collect();
        let asked: Vec<Vec<Asked<'_>>> = inquiries
            .iter()
            .map(|inquiry| match inquiry.graph.filter(|_| inquiry.questions.is_empty()) {
                Some((_, dag)) => {
                    dag.questions().map(|question| Asked { id: question.id, text: &question.text }).collect()
                }
                None => inquiry.questions.to_vec(),
            })
            .collect();
        let requests: Vec<_> = pictures
            .iter()
            .zip(&asked)
            .flat_map(|(picture, questions)| questions.iter().map(move |question| self.one(picture, question)))
            .collect();
        let mut outcomes = self.endpoint.wait_for_all(requests).into_iter();
        asked
            .iter()
            .map(|questions| outcomes.by_ref().take(questions.len()).collect::<Vec<_>>().into_iter().collect())
            .collect()
    }
}

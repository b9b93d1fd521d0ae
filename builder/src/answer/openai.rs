//! Asks any OpenAI-compatible vision endpoint (vLLM, llama.cpp, Ollama, hosted ones): one request a question.
//!
//! Many requests are under way at once; what is busy (429), broken (5xx, a reply that is no JSON) or away is tried again
//! with growing pauses, and a server's `Retry-After` holds all requests back. What was answered is kept by (pixels,
//! question, model, prompt version), in memory and, if wished, in a file, and never asked again: a run that failed half-way
//! goes on where it was.

mod cache;
mod exchange;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use futures::StreamExt;
use image::RgbImage;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::{Answer, AnswerValue, Answerer, Asked, Inquiry};
use crate::{Error, Result};
use cache::{Cache, Given, Key};
use exchange::Exchange;

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
    /// Requests under way at most.
    pub concurrency: usize,
    /// Of one request, from connecting to the end of the reply.
    pub timeout: Duration,
    /// Tries of one question.
    pub max_attempts: u32,
    /// Pause before the second try; doubles with each, up to 64 times.
    pub first_pause: Duration,
    /// Ask for the probabilities of the first token; not every server knows how.
    pub logprobs: bool,
    /// File that answers are kept in.
    pub cache: Option<PathBuf>,
}

impl OpenAiSettings {
    /// Usual values for an endpoint.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            api_key: None,
            concurrency: 64,
            timeout: Duration::from_secs(60),
            max_attempts: 8,
            first_pause: Duration::from_millis(500),
            logprobs: false,
            cache: None,
        }
    }

    /// `OPENAI_BASE_URL`, `OPENAI_MODEL` and, if there is one, `OPENAI_API_KEY`.
    ///
    /// # Errors
    /// One of the first two is not set.
    pub fn from_environment() -> Result<Self> {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let needed =
            |name: &str| read(name).ok_or_else(|| Error::invalid("", format!("set {name} for the answerer `openai`")));
        let mut settings = Self::new(needed("OPENAI_BASE_URL")?, needed("OPENAI_MODEL")?);
        settings.api_key = read("OPENAI_API_KEY");
        Ok(settings)
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

#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: AtomicU64,
    retries: AtomicU64,
    cached: AtomicU64,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
}

/// The answerer.
pub struct OpenAiAnswerer {
    version: String,
    concurrency: usize,
    exchange: Exchange,
    cache: Cache,
    counters: Arc<Counters>,
    // Taken on drop only.
    runtime: Option<tokio::runtime::Runtime>,
}

impl OpenAiAnswerer {
    /// Makes ready to ask; sends nothing yet.
    ///
    /// # Errors
    /// The address is none, or the file of kept answers cannot be read.
    pub fn new(settings: OpenAiSettings) -> Result<Self> {
        let cache = Cache::open(settings.cache.as_deref())?;
        let counters = Arc::new(Counters::default());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().thread_name("openai").build()?;
        let version = format!("{PROMPT_VERSION}/{}", settings.model);
        let concurrency = settings.concurrency.max(1);
        let exchange = Exchange::new(settings, Arc::clone(&counters))?;
        Ok(Self { version, concurrency, exchange, cache, counters, runtime: Some(runtime) })
    }

    /// What was spent so far.
    pub fn spent(&self) -> Spent {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Spent {
            requests: read(&self.counters.requests),
            retries: read(&self.counters.retries),
            cached: read(&self.counters.cached),
            prompt_tokens: read(&self.counters.prompt_tokens),
            completion_tokens: read(&self.counters.completion_tokens),
        }
    }

    fn key(&self, pixels: &[u8; 32], question: &str) -> Key {
        let mut hasher = Sha256::new();
        // Lengths keep the parts apart.
        for part in [&pixels[..], question.as_bytes(), self.version.as_bytes()] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }

    /// One question, from what is kept or from the server.
    async fn one(&self, picture: &Picture<'_>, question: &Asked<'_>) -> Result<Answer> {
        let key = self.key(&picture.hash, question.text);
        let cell = self.cache.cell(key);
        if cell.initialized() {
            self.counters.cached.fetch_add(1, Ordering::Relaxed);
        }
        let ask = async move || -> Result<Given> {
            let url = picture.url()?;
            let given = self.exchange.ask(PROMPT, question.text, &url, &key).await?;
            // A refusal is no answer: the next run may ask again.
            if given.value != AnswerValue::CannotAnswer {
                self.cache.keep(&key, &given)?;
            }
            Ok(given)
        };
        // Whoever asks the same at the same time waits for the one answer.
        let given = cell.get_or_try_init(ask).await?;
        Ok(Answer { question: question.id, value: given.value, probability: given.probability })
    }

    async fn many(&self, inquiries: &[Inquiry<'_>]) -> Vec<Result<Vec<Answer>>> {
        let pictures: Vec<Picture<'_>> = inquiries.iter().map(|inquiry| Picture::of(inquiry.image)).collect();
        let graph_questions: Vec<Option<Vec<Asked<'_>>>> = inquiries
            .iter()
            .map(|inquiry| {
                let (_, dag) = inquiry.graph.filter(|_| inquiry.questions.is_empty())?;
                Some(dag.questions().map(|question| Asked { id: question.id, text: &question.text }).collect())
            })
            .collect();
        let asked: Vec<&[Asked<'_>]> = inquiries
            .iter()
            .zip(&graph_questions)
            .map(|(inquiry, derived)| derived.as_deref().unwrap_or(inquiry.questions))
            .collect();
        let mut outcomes: Vec<Vec<Option<Result<Answer>>>> =
            asked.iter().map(|questions| questions.iter().map(|_| None).collect()).collect();
        let all = asked
            .iter()
            .enumerate()
            .flat_map(|(i, questions)| questions.iter().enumerate().map(move |(k, one)| (i, k, one)));
        let requests: Vec<_> = all
            .map(|(i, k, question)| {
                let picture = &pictures[i];
                async move { (i, k, self.one(picture, question).await) }
            })
            .collect();
        let mut done = futures::stream::iter(requests).buffer_unordered(self.concurrency);
        while let Some((i, k, outcome)) = done.next().await {
            outcomes[i][k] = Some(outcome);
        }
        outcomes.into_iter().map(|answers| answers.into_iter().flatten().collect()).collect()
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let runtime = self.runtime.as_ref().ok_or_else(|| Error::Thread("the answerer was taken down".to_owned()))?;
        Ok(runtime.block_on(work))
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

    fn answer_many(&self, inquiries: &[Inquiry<'_>]) -> Vec<Result<Vec<Answer>>> {
        match self.wait(self.many(inquiries)) {
            Ok(outcomes) => outcomes,
            Err(error) => inquiries.iter().map(|_| Err(Error::Thread(error.to_string()))).collect(),
        }
    }
}

impl Drop for OpenAiAnswerer {
    fn drop(&mut self) {
        // A runtime may not be waited for where another one runs.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Pixels with their hash; their PNG is made when it is first sent.
struct Picture<'a> {
    image: &'a RgbImage,
    hash: [u8; 32],
    url: std::sync::OnceLock<Arc<str>>,
}

impl<'a> Picture<'a> {
    fn of(image: &'a RgbImage) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(image.width().to_le_bytes());
        hasher.update(image.height().to_le_bytes());
        hasher.update(image.as_raw());
        Self { image, hash: hasher.finalize().into(), url: std::sync::OnceLock::new() }
    }

    fn url(&self) -> Result<Arc<str>> {
        if let Some(url) = self.url.get() {
            return Ok(Arc::clone(url));
        }
        let mut png = std::io::Cursor::new(Vec::new());
        self.image.write_to(&mut png, image::ImageFormat::Png).map_err(|error| Error::Image(error.to_string()))?;
        let text = base64::engine::general_purpose::STANDARD.encode(png.into_inner());
        Ok(Arc::clone(self.url.get_or_init(|| format!("data:image/png;base64,{text}").into())))
    }
}

/// What is known of one question; filled once.
type Cell = Arc<OnceCell<Given>>;

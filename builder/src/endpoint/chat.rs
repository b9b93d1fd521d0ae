//! Chat completions about a picture, from any OpenAI-compatible vision endpoint (vLLM, llama.cpp, Ollama, hosted ones), asked
//! patiently ([`crate::endpoint`]). Replies are kept by (pixels, text, model, prompt version).

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Endpoint, Patience, Picture, key_of, shortened};
use crate::{Error, Result};

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
    /// What the endpoint costs, where that is known.
    pub prices: Option<Prices>,
    /// How much at once, how often.
    pub patience: Patience,
}

/// Money for a million tokens, in whatever currency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// Of those that are sent, a picture's included.
    pub prompt: f64,
    /// Of those that come back.
    pub completion: f64,
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
            prices: None,
            patience: Patience::default(),
        }
    }

    /// `OPENAI_BASE_URL`, `OPENAI_MODEL` and, where they are there, `OPENAI_API_KEY`, `OPENAI_PROMPT_PRICE` and
    /// `OPENAI_COMPLETION_PRICE` (of a million tokens). `scorer` is who needs them.
    ///
    /// # Errors
    /// One of the first two is not set, or a price is no number.
    pub fn from_environment(scorer: &str) -> Result<Self> {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let needed = |name: &str| {
            let message = || format!("`{scorer}`: the environment does not set {name}");
            read(name).ok_or_else(|| Error::invalid("/answerer", message()))
        };
        let price = |name: &str| -> Result<Option<f64>> {
            let Some(text) = read(name) else { return Ok(None) };
            let price = text.parse::<f64>().ok().filter(|price| price.is_finite() && *price >= 0.0);
            let message = || format!("`{scorer}`: {name} is {text:?}, which is no price");
            price.map(Some).ok_or_else(|| Error::invalid("/answerer", message()))
        };
        let mut settings = Self::new(needed("OPENAI_BASE_URL")?, needed("OPENAI_MODEL")?);
        settings.api_key = read("OPENAI_API_KEY");
        settings.prices = Prices::of(price("OPENAI_PROMPT_PRICE")?, price("OPENAI_COMPLETION_PRICE")?);
        Ok(settings)
    }

    /// As this, with replies kept in a file.
    #[must_use]
    pub fn with_cache(mut self, file: PathBuf) -> Self {
        self.patience.cache = Some(file);
        self
    }
}

impl Prices {
    /// Either alone leaves the other free of charge.
    pub fn of(prompt: Option<f64>, completion: Option<f64>) -> Option<Self> {
        let known = prompt.is_some() || completion.is_some();
        known.then(|| Self { prompt: prompt.unwrap_or_default(), completion: completion.unwrap_or_default() })
    }

    fn cost(self, prompt_tokens: u64, completion_tokens: u64) -> f64 {
        (self.prompt * prompt_tokens as f64 + self.completion * completion_tokens as f64) / 1e6
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

/// What was spent on an endpoint so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// Requests sent, tries included.
    pub requests: u64,
    /// Requests that had to be sent again.
    pub retries: u64,
    /// What was known already and not asked for.
    pub cached: u64,
    /// As the server counts them, of replies that could not be used too.
    pub prompt_tokens: u64,
    /// As the server counts them.
    pub completion_tokens: u64,
    /// In the currency of the prices; none without prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
}

impl Spent {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let cost = match (self.cost, other.cost) {
            (None, None) => None,
            (one, two) => Some(one.unwrap_or_default() + two.unwrap_or_default()),
        };
        Self {
            requests: self.requests + other.requests,
            retries: self.retries + other.retries,
            cached: self.cached + other.cached,
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            completion_tokens: self.completion_tokens + other.completion_tokens,
            cost,
        }
    }
}

impl std::fmt::Display for Spent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { requests, retries, cached, prompt_tokens, completion_tokens, cost } = self;
        write!(f, "{requests} requests, {retries} of them again; {cached} answers were known already")?;
        if prompt_tokens + completion_tokens > 0 {
            write!(f, "; {prompt_tokens} prompt and {completion_tokens} completion tokens")?;
        }
        cost.map_or(Ok(()), |cost| write!(f, "; cost {cost:.6}"))
    }
}

/// What is asked about a picture.
pub(crate) struct Prompt<'a> {
    /// Told to the model first; its version is the chat's.
    pub system: &'a str,
    /// What this request asks.
    pub text: &'a str,
    /// Tokens that a reply may have.
    pub max_tokens: u32,
}

/// One completion.
pub(crate) struct Completion<'v> {
    /// The first choice.
    pub choice: &'v Value,
    /// What the model said.
    pub content: &'v str,
}

/// What a completion was read as, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept<T> {
    #[serde(flatten)]
    said: T,
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    /// From asking to having it.
    #[serde(default)]
    seconds: Option<f32>,
}

/// A model at an endpoint whose replies are read as `T`.
pub(crate) struct Chat<T> {
    version: String,
    model: String,
    logprobs: bool,
    repetition: u32,
    prices: Option<Prices>,
    endpoint: Endpoint<Kept<T>>,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
}

impl<T: Clone + Serialize + DeserializeOwned> Chat<T> {
    /// Makes ready to ask; sends nothing yet. `prompt_version` changes whenever the words around what is asked do.
    ///
    /// # Errors
    /// The address is none, or the file of kept replies cannot be read.
    pub(crate) fn new(settings: OpenAiSettings, prompt_version: &str) -> Result<Self> {
        let OpenAiSettings { base_url, model, api_key, logprobs, repetition, prices, patience } = settings;
        let url = format!("{}/chat/completions", base_url.trim_end_matches('/'));
        Ok(Self {
            version: format!("{prompt_version}/{model}"),
            model,
            logprobs,
            repetition,
            prices,
            endpoint: Endpoint::new(&url, api_key, patience)?,
            prompt_tokens: AtomicU64::new(0),
            completion_tokens: AtomicU64::new(0),
        })
    }

    /// Of the prompt and the model.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// What was spent so far.
    pub(crate) fn spent(&self) -> Spent {
        let sent = self.endpoint.sent();
        let prompt_tokens = self.prompt_tokens.load(Ordering::Relaxed);
        let completion_tokens = self.completion_tokens.load(Ordering::Relaxed);
        let cost = self.prices.map(|prices| prices.cost(prompt_tokens, completion_tokens));
        Spent { prompt_tokens, completion_tokens, cost, ..Spent::from(sent) }
    }

    /// One reply, from what is kept or from the server, with the seconds that it took. What `read` does not take is asked
    /// again; what `keep` does not want may be asked again by the next run.
    pub(crate) async fn ask(
        &self,
        picture: &Picture<'_>,
        prompt: &Prompt<'_>,
        read: impl Fn(&Completion<'_>) -> Result<T, String>,
        keep: impl Fn(&T) -> bool,
    ) -> Result<(T, Option<f32>)> {
        let mut parts: Vec<&[u8]> = vec![&picture.hash, prompt.text.as_bytes(), self.version.as_bytes()];
        let repetition = self.repetition.to_le_bytes();
        if self.repetition > 1 {
            parts.push(&repetition);
        }
        let started = Instant::now();
        let read = |text: &[u8]| {
            let reply = parsed(text)?;
            let count = |key: &str| reply.pointer(&format!("/usage/{key}")).and_then(Value::as_u64).unwrap_or_default();
            let (prompt_tokens, completion_tokens) = (count("prompt_tokens"), count("completion_tokens"));
            self.prompt_tokens.fetch_add(prompt_tokens, Ordering::Relaxed);
            self.completion_tokens.fetch_add(completion_tokens, Ordering::Relaxed);
            let said = read(&completion(&reply, text)?)?;
            let seconds = Some(started.elapsed().as_secs_f32());
            Ok(Kept { said, prompt_tokens, completion_tokens, seconds })
        };
        let body = || Ok(self.body(prompt, &picture.url()?));
        let kept = self.endpoint.ask(key_of(&parts), body, read, |kept| keep(&kept.said)).await?;
        Ok((kept.said, kept.seconds))
    }

    /// Waits for many requests, as many at once as is allowed; outcomes in their order.
    pub(crate) fn wait_for_all<O>(&self, work: Vec<impl Future<Output = Result<O>>>) -> Vec<Result<O>> {
        self.endpoint.wait_for_all(work)
    }

    fn body(&self, prompt: &Prompt<'_>, image: &str) -> Value {
        let mut body = json!({
            "model": self.model,
            "temperature": 0,
            "max_tokens": prompt.max_tokens,
            "messages": [
                { "role": "system", "content": prompt.system },
                { "role": "user", "content": [
                    { "type": "image_url", "image_url": { "url": image } },
                    { "type": "text", "text": prompt.text },
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

fn parsed(text: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(text).map_err(|error| format!("the reply is no JSON: {error}: {}", shortened(text)))
}

/// A chat completion, strictly.
fn completion<'v>(reply: &'v Value, text: &[u8]) -> Result<Completion<'v>, String> {
    let choice = reply.pointer("/choices/0").ok_or_else(|| format!("the reply has no choice: {}", shortened(text)))?;
    let content = choice.pointer("/message/content").and_then(Value::as_str);
    let content = content.ok_or_else(|| format!("the reply has no message: {}", shortened(text)))?;
    Ok(Completion { choice, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_but_a_completion_is_an_error() {
        for broken in ["", "{", "[]", "{\"choices\": []}", "{\"choices\": [{\"message\": {\"content\": null}}]}"] {
            let read = parsed(broken.as_bytes()).and_then(|reply| {
                completion(&reply, broken.as_bytes()).map(|completion| completion.content.to_owned())
            });
            assert!(read.is_err(), "{broken}");
        }
        let reply = json!({"choices": [{"message": {"content": "yes"}}]});
        assert_eq!(completion(&reply, b"").unwrap().content, "yes");
    }

    #[test]
    fn costs_follow_from_tokens_and_prices() {
        assert_eq!(Prices::of(None, None), None);
        let prices = Prices::of(Some(2.0), Some(8.0)).unwrap();
        assert!((prices.cost(500_000, 250_000) - 3.0).abs() < 1e-12);
        let spent = Spent { requests: 2, cost: Some(1.5), ..Spent::default() };
        let both = spent.plus(Spent { requests: 1, cached: 4, ..Spent::default() });
        assert_eq!((both.requests, both.cached, both.cost), (3, 4, Some(1.5)));
        assert_eq!(Spent::default().plus(Spent::default()).cost, None);
    }

    #[test]
    fn what_older_versions_kept_is_read() {
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        struct Word {
            value: String,
            probability: f32,
        }
        let line =
            "{\"value\":\"yes\",\"probability\":0.25,\"prompt_tokens\":7,\"completion_tokens\":1,\"seconds\":null}";
        let kept: Kept<Word> = serde_json::from_str(line).unwrap();
        assert_eq!((kept.said, kept.prompt_tokens), (Word { value: "yes".to_owned(), probability: 0.25 }, 7));
    }
}

//! Options of the answerer `openai`, and what it cost.

use std::path::PathBuf;
use std::time::Duration;

use builder::answer::Answerer;
use builder::answer::openai::{OpenAiAnswerer, OpenAiSettings};
use builder::endpoint::Patience;
use clap::Args;

use super::super::super::{Usage, output};

/// Where and how to ask.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "--answerer openai: any OpenAI-compatible vision endpoint (key: OPENAI_API_KEY); how patiently also --detector-url is asked"
)]
pub(super) struct OpenAi {
    /// Address up to and with the version: http://127.0.0.1:8000/v1
    #[arg(long, env = "OPENAI_BASE_URL", value_name = "URL")]
    base_url: Option<String>,
    /// Name of the model there
    #[arg(long, env = "OPENAI_MODEL", value_name = "NAME")]
    vision_model: Option<String>,
    /// Requests under way at most
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// Seconds that one request may take
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    request_timeout: u64,
    /// Tries of one question
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    max_attempts: u32,
    /// Milliseconds before the second try; doubles with each
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    first_pause: u64,
    /// Ask for token probabilities (not every server has them)
    #[arg(long)]
    logprobs: bool,
    /// File that answers are kept in; what is in it is not asked again
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
}

impl OpenAi {
    /// As asked for, also for a detector's endpoint.
    pub(super) fn patience(&self) -> Patience {
        Patience {
            concurrency: usize::from(self.concurrency),
            timeout: Duration::from_secs(self.request_timeout),
            max_attempts: self.max_attempts,
            first_pause: Duration::from_millis(self.first_pause),
            cache: self.cache.clone(),
        }
    }

    /// Runs `work` with the answerer, and tells what was spent.
    pub(super) fn with<T>(&self, work: impl FnOnce(&dyn Answerer) -> T) -> anyhow::Result<T> {
        let (Some(base_url), Some(model)) = (&self.base_url, &self.vision_model) else {
            let message =
                "--answerer openai needs --base-url URL and --vision-model NAME (or OPENAI_BASE_URL, OPENAI_MODEL)";
            return Err(Usage(message.to_owned()).into());
        };
        let settings = OpenAiSettings {
            api_key: std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty()),
            logprobs: self.logprobs,
            patience: self.patience(),
            ..OpenAiSettings::new(base_url, model)
        };
        let answerer = OpenAiAnswerer::new(settings)?;
        let outcome = work(&answerer);
        let spent = answerer.spent();
        output::note(&format!(
            "openai: {} requests, {} of them again; {} answers were known already; {} prompt and {} completion tokens",
            spent.requests, spent.retries, spent.cached, spent.prompt_tokens, spent.completion_tokens
        ));
        Ok(outcome)
    }
}

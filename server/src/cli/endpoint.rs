//! Options of OpenAI-compatible vision endpoints, and what it cost to ask them.

use std::path::PathBuf;
use std::time::Duration;

use builder::endpoint::Patience;
use builder::endpoint::chat::{OpenAiSettings, Prices, Spent};
use clap::Args;

use super::{Usage, output};

/// Where and how to ask.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Any OpenAI-compatible vision endpoint (key: OPENAI_API_KEY); how patiently also a --detector-url is asked"
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
    /// What a million prompt tokens cost, for the cost that is told at the end
    #[arg(long, env = "OPENAI_PROMPT_PRICE", value_name = "MONEY", value_parser = price)]
    prompt_price: Option<f64>,
    /// What a million completion tokens cost
    #[arg(long, env = "OPENAI_COMPLETION_PRICE", value_name = "MONEY", value_parser = price)]
    completion_price: Option<f64>,
}

fn price(word: &str) -> Result<f64, String> {
    let price = word.parse::<f64>().ok().filter(|price| price.is_finite() && *price >= 0.0);
    price.ok_or_else(|| "is a number that is not negative".to_owned())
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

    /// The endpoint that is named; `what` needs it.
    ///
    /// # Errors
    /// Wrong usage where none is.
    pub(super) fn settings(&self, what: &str) -> anyhow::Result<OpenAiSettings> {
        let (Some(base_url), Some(model)) = (&self.base_url, &self.vision_model) else {
            let message =
                format!("{what} needs --base-url URL and --vision-model NAME (or OPENAI_BASE_URL, OPENAI_MODEL)");
            return Err(Usage(message).into());
        };
        Ok(OpenAiSettings {
            api_key: std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty()),
            logprobs: self.logprobs,
            prices: Prices::of(self.prompt_price, self.completion_price),
            patience: self.patience(),
            ..OpenAiSettings::new(base_url, model)
        })
    }
}

/// Tells what was spent on whoever was asked over the network.
pub(super) fn tell(who: &str, spent: Option<Spent>) {
    if let Some(spent) = spent {
        output::note(&format!("{who}: {spent}"));
    }
}

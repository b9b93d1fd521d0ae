//! Asks any OpenAI-compatible vision endpoint ([`crate::endpoint::chat`]) for the graph: one request a picture.
//!
//! Source of the question: mengcye/LAION-SG at a16f85b, `test/test_iou.py`, which names the words that may be used
//! ([`Vocabulary::OfGraph`]) and so gives away what is looked for.

use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::GraphExtractor;
use crate::endpoint::Picture;
use crate::endpoint::chat::{Chat, OpenAiSettings, Prompt, Spent};
use crate::metrics::scene_graph_iou::{Extraction, read_graph, triples_of};
use crate::scorer::Subject;
use crate::{Error, Result};

/// Changes whenever the words of the question do.
const PROMPT_VERSION: &str = "1";
const SYSTEM: &str = "You read scene graphs out of pictures. Reply with one JSON object and nothing else.";
const QUESTION: &str = "Extract the scene graph of the picture: what stands in which relation to what. Leave out the \
    background. Reply with {\"triples\": [[\"subject\", \"predicate\", \"object\"]], \"object_list\": [\"object\"], \
    \"predicate_list\": [\"predicate\"]}. Subjects and objects are nouns without attributes, predicates short phrases such \
    as \"on\", \"left of\", \"holding\".";
/// Tokens of a reply; a graph of some forty relations.
const MAX_TOKENS: u32 = 1024;
/// How often a picture is asked about whose replies are no graphs.
const MOST_READINGS: u32 = 3;

/// Which words the model may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// Its own.
    Open,
    /// Labels and predicates of the graph that the picture was made of, as published; figures come out high.
    OfGraph,
}

/// What was read, or that the reply was no graph.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Said {
    #[serde(flatten)]
    read: Option<Extraction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

/// The extractor.
pub struct OpenAiExtractor {
    chat: Chat<Said>,
    vocabulary: Vocabulary,
    version: String,
}

impl OpenAiExtractor {
    /// Makes ready to ask; sends nothing yet.
    ///
    /// # Errors
    /// The address is none, or the file of kept replies cannot be read.
    pub fn new(settings: OpenAiSettings, vocabulary: Vocabulary) -> Result<Self> {
        let chat: Chat<Said> = Chat::new(settings, &format!("graph-{PROMPT_VERSION}"))?;
        let version = match vocabulary {
            Vocabulary::Open => chat.version().to_owned(),
            Vocabulary::OfGraph => format!("{}/closed", chat.version()),
        };
        Ok(Self { chat, vocabulary, version })
    }

    async fn one(&self, picture: &Picture<'_>, subject: &Subject<'_>) -> Result<Extraction> {
        let question = self.question(subject);
        let prompt = Prompt { system: SYSTEM, text: &question, max_tokens: MAX_TOKENS };
        let readings = AtomicU32::new(1);
        // A model may do better a second time; one that does not is not asked for ever, and holds nobody up.
        let read = |said: &crate::endpoint::chat::Completion<'_>| match read_graph(said.content) {
            Ok(read) => Ok(Said { read: Some(read), fault: None }),
            Err(fault) if readings.fetch_add(1, Ordering::Relaxed) >= MOST_READINGS => {
                Ok(Said { read: None, fault: Some(fault) })
            }
            Err(fault) => Err(fault),
        };
        let (said, _) = self.chat.ask(picture, &prompt, read, |said| said.fault.is_none()).await?;
        match (said.read, said.fault) {
            (Some(read), None) => Ok(read),
            (_, fault) => {
                let fault = fault.unwrap_or_else(|| "the reply is no graph".to_owned());
                Err(Error::Answerer { message: format!("{fault} (after {MOST_READINGS} tries)"), passing: false })
            }
        }
    }

    fn question(&self, subject: &Subject<'_>) -> String {
        if self.vocabulary == Vocabulary::Open {
            return QUESTION.to_owned();
        }
        let triples = triples_of(subject.graph);
        let sorted = |mut words: Vec<&str>| {
            words.sort_unstable();
            words.dedup();
            json!(words).to_string()
        };
        let labels = sorted(triples.iter().flat_map(|[subject, _, object]| [subject.as_str(), object]).collect());
        let predicates = sorted(triples.iter().map(|[_, predicate, _]| predicate.as_str()).collect());
        format!(
            "{QUESTION} Subjects and objects are chosen from this list only: {labels}. Predicates are chosen from this \
             list only: {predicates}."
        )
    }
}

impl GraphExtractor for OpenAiExtractor {
    fn name(&self) -> &'static str {
        "openai-graph"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn spent(&self) -> Option<Spent> {
        Some(self.chat.spent())
    }

    /// All pictures are under way together.
    fn extract_many(&self, subjects: &[Subject<'_>]) -> Vec<Result<Extraction>> {
        let pictures: Vec<Picture<'_>> = subjects.iter().map(|subject| Picture::of(subject.image)).collect();
        let requests: Vec<_> =
            pictures.iter().zip(subjects).map(|(picture, subject)| self.one(picture, subject)).collect();
        self.chat.wait_for_all(requests)
    }
}

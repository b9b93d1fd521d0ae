//! Asks any OpenAI-compatible vision endpoint ([`crate::endpoint::chat`]): one request a question. Answers are kept by
//! (pixels, question, model, prompt version).

mod reply;

use image::RgbImage;

use super::{Answer, AnswerValue, Answerer, Asked, Inquiry};
use crate::Result;
use crate::endpoint::Picture;
use crate::endpoint::chat::{Chat, OpenAiSettings, Prompt, Spent};
use reply::{Word, read_word};

/// Changes whenever the words around a question do.
pub const PROMPT_VERSION: &str = "1";
/// Told to the model before each question.
const PROMPT: &str = "You judge whether a statement about the picture holds. Answer with exactly one word: yes or no.";

/// The answerer.
pub struct OpenAiAnswerer {
    chat: Chat<Word>,
}

impl OpenAiAnswerer {
    /// Makes ready to ask; sends nothing yet.
    ///
    /// # Errors
    /// The address is none, or the file of kept answers cannot be read.
    pub fn new(settings: OpenAiSettings) -> Result<Self> {
        Ok(Self { chat: Chat::new(settings, PROMPT_VERSION)? })
    }

    /// One question, from what is kept or from the server.
    async fn one(&self, picture: &Picture<'_>, question: &Asked<'_>) -> Result<Answer> {
        let prompt = Prompt { system: PROMPT, text: question.text, max_tokens: 4 };
        // A refusal is no answer: the next run may ask again.
        let keep = |word: &Word| word.value != AnswerValue::CannotAnswer;
        let (word, seconds) = self.chat.ask(picture, &prompt, |said| Ok(read_word(said)), keep).await?;
        Ok(Answer { question: question.id, value: word.value, probability: word.probability, seconds })
    }
}

impl Answerer for OpenAiAnswerer {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn version(&self) -> &str {
        self.chat.version()
    }

    fn spent(&self) -> Option<Spent> {
        Some(self.chat.spent())
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
        let mut outcomes = self.chat.wait_for_all(requests).into_iter();
        asked
            .iter()
            .map(|questions| outcomes.by_ref().take(questions.len()).collect::<Vec<_>>().into_iter().collect())
            .collect()
    }
}

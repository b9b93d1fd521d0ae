//! Who answers the questions about an image.

pub mod shapes;

use crate::question::QuestionDag;
use crate::scene_graph::SceneGraph;
use image::RgbImage;
use serde::{Deserialize, Serialize};

/// Yes, no, or an honest refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerValue {
    /// It is so.
    Yes,
    /// It is not.
    No,
    /// The answerer does not know what is asked; never counted as a no.
    CannotAnswer,
}

impl AnswerValue {
    /// The word used in the store and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::CannotAnswer => "cannot_answer",
        }
    }
}

/// An answer to one question.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Number of the question.
    pub question: u32,
    /// Yes, no, or a refusal.
    pub value: AnswerValue,
    /// Of a yes, 0 ..= 1; one half for a refusal.
    pub probability: f32,
}

impl Answer {
    /// An answer without doubt.
    pub fn certain(question: u32, yes: bool) -> Self {
        let (value, probability) = if yes { (AnswerValue::Yes, 1.0) } else { (AnswerValue::No, 0.0) };
        Self { question, value, probability }
    }

    /// No answer.
    pub fn refusal(question: u32) -> Self {
        Self { question, value: AnswerValue::CannotAnswer, probability: 0.5 }
    }
}

/// Something that looks at an image and answers.
pub trait Answerer: Send + Sync {
    /// Its name in the store, the API and on the command line.
    fn name(&self) -> &str;

    /// Changes whenever the same image might be answered otherwise.
    fn version(&self) -> &str;

    /// One answer a question, in the questions' order.
    ///
    /// # Errors
    /// The answerer itself failed; what it does not know is an answer ([`AnswerValue::CannotAnswer`]).
    fn answer(&self, image: &RgbImage, graph: &SceneGraph, questions: &QuestionDag) -> crate::Result<Vec<Answer>>;
}

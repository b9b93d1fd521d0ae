//! Who answers the questions about an image.

pub mod blip_vqa;
pub mod openai;
pub mod recorded;
pub mod shapes;

use crate::endpoint::chat::Spent;
use crate::question::QuestionDag;
use crate::scene_graph::SceneGraph;
use image::RgbImage;
use rayon::prelude::*;
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
    /// From asking to having it, where somebody looked at the clock; of the whole picture where its questions are answered
    /// together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f32>,
}

impl Answer {
    /// An answer without doubt.
    pub fn certain(question: u32, yes: bool) -> Self {
        let (value, probability) = if yes { (AnswerValue::Yes, 1.0) } else { (AnswerValue::No, 0.0) };
        Self { question, value, probability, seconds: None }
    }

    /// No answer.
    pub fn refusal(question: u32) -> Self {
        Self { question, value: AnswerValue::CannotAnswer, probability: 0.5, seconds: None }
    }
}

/// A question as it is put to one who has no graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Its number; comes back in the answer.
    pub id: u32,
    /// "Is the bus red?"
    pub text: &'a str,
}

/// One image and what is asked about it.
#[derive(Clone, Copy)]
pub struct Inquiry<'a> {
    /// The pixels.
    pub image: &'a RgbImage,
    /// The questions, in order.
    pub questions: &'a [Asked<'a>],
    /// Where the questions come from, if they come from a graph; their numbers are then those of `questions`.
    pub graph: Option<(&'a SceneGraph, &'a QuestionDag)>,
}

/// Something that looks at an image and answers.
pub trait Answerer: Send + Sync {
    /// Its name in the store, the API and on the command line.
    fn name(&self) -> &str;

    /// Changes whenever the same image might be answered otherwise.
    fn version(&self) -> &str;

    /// What was spent so far on whoever is asked over the network.
    fn spent(&self) -> Option<Spent> {
        None
    }

    /// One answer a question, in the questions' order. Who needs a graph for it refuses them all.
    ///
    /// # Errors
    /// The answerer itself failed; what it does not know is an answer ([`AnswerValue::CannotAnswer`]).
    fn ask(&self, image: &RgbImage, questions: &[Asked<'_>]) -> crate::Result<Vec<Answer>> {
        let _ = image;
        Ok(questions.iter().map(|question| Answer::refusal(question.id)).collect())
    }

    /// As [`Self::ask`], with the graph that the questions follow from.
    ///
    /// # Errors
    /// As [`Self::ask`].
    fn answer(&self, image: &RgbImage, graph: &SceneGraph, questions: &QuestionDag) -> crate::Result<Vec<Answer>> {
        let _ = graph;
        let asked: Vec<Asked<'_>> =
            questions.questions().map(|question| Asked { id: question.id, text: &question.text }).collect();
        self.ask(image, &asked)
    }

    /// Many images at once, each with its own outcome, in their order. One that waits for a network overrides it to keep
    /// more of them under way than there are threads.
    fn answer_many(&self, inquiries: &[Inquiry<'_>]) -> Vec<crate::Result<Vec<Answer>>> {
        let one = |inquiry: &Inquiry<'_>| match inquiry.graph {
            Some((graph, questions)) => timed(|| self.answer(inquiry.image, graph, questions)),
            None => timed(|| self.ask(inquiry.image, inquiry.questions)),
        };
        inquiries.par_iter().map(one).collect()
    }
}

/// Answers with the time that they took together.
fn timed(ask: impl FnOnce() -> crate::Result<Vec<Answer>>) -> crate::Result<Vec<Answer>> {
    let started = std::time::Instant::now();
    let mut answers = ask()?;
    let seconds = started.elapsed().as_secs_f32();
    answers.iter_mut().for_each(|answer| answer.seconds = Some(answer.seconds.unwrap_or(seconds)));
    Ok(answers)
}

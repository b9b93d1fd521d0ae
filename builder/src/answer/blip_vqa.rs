//! Answers by BLIP-VQA, from a folder of transformers' `BlipForQuestionAnswering` on disk; no graph, no network.

use std::path::Path;

use candle_core::Device;
use image::RgbImage;
use models::metric_network::{BlipVqa, Pixels};

use super::{Answer, AnswerValue, Answerer, Asked, Inquiry, timed};
use crate::Result;

/// Changes whenever pictures or questions are prepared otherwise.
const VERSION: &str = "1";

/// The answerer.
pub struct BlipVqaAnswerer {
    network: BlipVqa,
    version: String,
}

impl BlipVqaAnswerer {
    /// Opens a model's folder.
    ///
    /// # Errors
    /// A file is missing, damaged or of another network; the error names file and key or tensor.
    pub fn open(dir: &Path, device: &Device) -> Result<Self> {
        let network = BlipVqa::open(dir, device)?;
        let version = format!("{VERSION}/{}", &network.content_hash()[..16]);
        Ok(Self { network, version })
    }
}

impl Answerer for BlipVqaAnswerer {
    fn name(&self) -> &'static str {
        "blip-vqa"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn ask(&self, image: &RgbImage, questions: &[Asked<'_>]) -> Result<Vec<Answer>> {
        let picture = Pixels::new(image.width() as usize, image.height() as usize, image.as_raw().clone())?;
        let texts: Vec<&str> = questions.iter().map(|question| question.text).collect();
        let probabilities = self.network.ask(&picture, &texts)?;
        let answer = |(question, probability): (&Asked<'_>, f64)| Answer {
            question: question.id,
            value: if probability > 0.5 { AnswerValue::Yes } else { AnswerValue::No },
            probability: probability as f32,
            seconds: None,
        };
        Ok(questions.iter().zip(probabilities).map(answer).collect())
    }

    /// One picture after another: the network itself divides its work among the threads.
    fn answer_many(&self, inquiries: &[Inquiry<'_>]) -> Vec<Result<Vec<Answer>>> {
        let one = |inquiry: &Inquiry<'_>| match inquiry.graph.filter(|_| inquiry.questions.is_empty()) {
            Some((graph, questions)) => timed(|| self.answer(inquiry.image, graph, questions)),
            None => timed(|| self.ask(inquiry.image, inquiry.questions)),
        };
        inquiries.iter().map(one).collect()
    }
}

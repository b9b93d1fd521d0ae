//! CLIPScore, PickScore and the aesthetic predictor as scorers, from folders on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use models::metric_network::clip_model::{cosine, rows};
use models::metric_network::{AestheticHead, Center, ClipModel, Pixels};

use super::{ImageScorer, Subject, Verdicts};
use crate::score_card::MetricScore;
use crate::{Error, Result};

/// Changes whenever pictures or prompts are prepared otherwise.
const VERSION: &str = "1";
/// Pictures that a network looks at together.
const BATCH: usize = 32;
const NO_DIRECTION: &str = "its features have no direction (length zero, or not finite)";

/// Where a network lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFiles {
    /// Folder of the network.
    pub folder: PathBuf,
    /// Folder of the tokenizer and of the preparation of pictures, where it is another.
    pub processor: Option<PathBuf>,
    /// The aesthetic predictor's layers.
    pub head: Option<PathBuf>,
}

/// A CLIP and what is made of its features.
pub struct NetworkScorer {
    clip: ClipModel,
    kind: Kind,
    version: String,
    device: Device,
}

enum Kind {
    /// Cosine of picture and prompt, cut and centred as torchvision does.
    ClipScore,
    /// The same under the CLIP that was trained on people's choices.
    PickScore,
    /// Of the picture alone.
    Aesthetic(AestheticHead),
}

impl NetworkScorer {
    /// The scorers that are made of such a network.
    pub const NAMES: [&str; 3] = ["clip-score", "pick-score", "aesthetic"];

    /// Opens the files of the scorer `name`, one of [`Self::NAMES`].
    ///
    /// # Errors
    /// A file is missing, damaged or of another network; the error names file and key or tensor.
    pub fn open(name: &str, files: &NetworkFiles, device: &Device) -> Result<Self> {
        let processor = files.processor.as_deref().unwrap_or(&files.folder);
        let clip = ClipModel::open(&files.folder, processor, device)?;
        let mut version = format!("{VERSION}/{}", &clip.content_hash()[..16]);
        let kind = match (name, &files.head) {
            ("clip-score", _) => Kind::ClipScore,
            ("pick-score", _) => Kind::PickScore,
            ("aesthetic", Some(head)) => {
                let head = AestheticHead::open(head, device)?;
                version = format!("{version}/{}", &head.content_hash()[..16]);
                Kind::Aesthetic(head)
            }
            ("aesthetic", None) => return Err(Error::invalid("/head", "the aesthetic predictor needs its layers")),
            _ => return Err(Error::not_found("scorer", name)),
        };
        Ok(Self { clip, kind, version, device: device.clone() })
    }

    fn features(&self, subjects: &[Subject<'_>]) -> Result<Vec<Vec<f64>>> {
        // OpenAI's transform is torchvision's.
        let center = if matches!(self.kind, Kind::ClipScore) { Center::Torchvision } else { Center::Transformers };
        let pixels = |subject: &Subject<'_>| {
            let image = subject.image;
            Ok(Pixels::new(image.width() as usize, image.height() as usize, image.as_raw().clone())?)
        };
        let pictures = subjects.iter().map(pixels).collect::<Result<Vec<_>>>()?;
        Ok(rows(&self.clip.image_features(&pictures, center)?)?)
    }

    /// Scores, or why there is none.
    fn batch(&self, subjects: &[Subject<'_>]) -> Result<Vec<std::result::Result<f64, String>>> {
        let found = self.features(subjects)?;
        if let Kind::Aesthetic(head) = &self.kind {
            let width = found.first().map_or(0, Vec::len);
            let values: Vec<f32> = found.iter().flatten().map(|&value| value as f32).collect();
            let scores = head
                .scores(&Tensor::from_vec(values, (found.len(), width), &self.device).map_err(models::Error::from)?)?;
            return Ok(scores.into_iter().map(|score| score.ok_or_else(|| NO_DIRECTION.to_owned())).collect());
        }
        let prompts: Vec<String> = subjects.iter().map(Subject::prompt).collect();
        let mut places: BTreeMap<&str, usize> = prompts.iter().map(|prompt| (prompt.as_str(), 0)).collect();
        places.values_mut().zip(0..).for_each(|(place, i)| *place = i);
        let texts: Vec<&str> = places.keys().copied().collect();
        let texts = rows(&self.clip.text_features(&texts)?)?;
        let score = |(prompt, row): (&String, &Vec<f64>)| {
            cosine(&texts[places[prompt.as_str()]], row).ok_or_else(|| NO_DIRECTION.to_owned())
        };
        Ok(prompts.iter().zip(&found).map(score).collect())
    }

    fn verdict(&self, score: f64) -> Verdicts {
        let mut verdict = MetricScore { score: Some(score), ..MetricScore::default() };
        if matches!(self.kind, Kind::PickScore) {
            verdict.parts.insert("scaled_score".to_owned(), self.clip.scale() * score);
        }
        let scores = self.metrics().iter().map(|&metric| (metric, verdict.clone())).collect();
        Verdicts { scores, detections: None }
    }
}

impl ImageScorer for NetworkScorer {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::ClipScore => "clip-score",
            Kind::PickScore => "pick-score",
            Kind::Aesthetic(_) => "aesthetic",
        }
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn metrics(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::ClipScore => &["clip_score"],
            Kind::PickScore => &["pick_score"],
            Kind::Aesthetic(_) => &["aesthetic"],
        }
    }

    fn score_many(&self, subjects: &[Subject<'_>]) -> Vec<Result<Verdicts>> {
        let mut all = Vec::with_capacity(subjects.len());
        for batch in subjects.chunks(BATCH) {
            match self.batch(batch) {
                Ok(scores) => {
                    all.extend(scores.into_iter().map(|score| Ok(self.verdict(score.map_err(Error::Format)?))));
                }
                Err(error) => {
                    let text = crate::task::error_text(&error);
                    all.extend(batch.iter().map(|_| Err(Error::Format(text.clone()))));
                }
            }
        }
        all
    }
}

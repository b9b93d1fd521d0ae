//! Data on its way out: what is asked for, and how rows become files.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::error::Fault;
use crate::job::Fields;
use crate::store::export::ExportedCandidate;
use crate::store::state::Split;

pub mod archive;
pub mod card;
pub mod lines;
pub mod pick_a_pic;
pub mod sink;

pub use sink::Sink;

/// What an export is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// Parquet with the 19 columns of Pick-a-Pic v2; ties in a file of their own.
    PickAPic,
    /// A tar of pictures, captions and facts, one sample a pair.
    WebDataset,
    /// A tar of the folders `winner` and `loser`, as kohya's preference training reads them.
    Kohya,
    /// A line a pair, pictures by address and hash.
    Jsonl,
    /// Scene graphs as they came.
    LaionSg,
    /// A line a score card.
    Scores,
    /// A line an answer.
    Answers,
}

impl ExportFormat {
    pub const ALL: [Self; 7] =
        [Self::PickAPic, Self::WebDataset, Self::Kohya, Self::Jsonl, Self::LaionSg, Self::Scores, Self::Answers];

    /// The word used in the store and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PickAPic => "pick-a-pic",
            Self::WebDataset => "web-dataset",
            Self::Kohya => "kohya",
            Self::Jsonl => "jsonl",
            Self::LaionSg => "laion-sg",
            Self::Scores => "scores",
            Self::Answers => "answers",
        }
    }

    /// Whether it is of a frozen pairing.
    pub const fn is_of_pairs(self) -> bool {
        matches!(self, Self::PickAPic | Self::WebDataset | Self::Kohya | Self::Jsonl)
    }

    /// Name and media type of the file with the rows.
    pub const fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::PickAPic => ("train-00000-of-00001.parquet", PARQUET),
            Self::WebDataset => ("pairs-000000.tar", "application/x-tar"),
            Self::Kohya => ("kohya.tar", "application/x-tar"),
            Self::Jsonl => ("pairs.jsonl", LINES),
            Self::LaionSg => ("graphs.json", "application/json"),
            Self::Scores => ("scores.jsonl", LINES),
            Self::Answers => ("answers.jsonl", LINES),
        }
    }
}

const PARQUET: &str = "application/vnd.apache.parquet";
const LINES: &str = "application/x-ndjson";
/// Where Pick-a-Pic's ties go.
pub const TIES_FILE: (&str, &str) = ("ties-00000-of-00001.parquet", PARQUET);

/// What to export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportRequest {
    pub format: ExportFormat,
    /// The frozen pairs, of the formats that are of pairs.
    pub pairing_id: Option<Uuid>,
    /// Which graphs, of `laion-sg`.
    pub split: Option<Split>,
    pub collection_id: Option<Uuid>,
    /// SPDX name of the licence that the whole is given under.
    pub license: String,
}

impl ExportRequest {
    /// Reads a request, noting every fault.
    pub fn read(value: &Value, faults: &mut Vec<Fault>) -> Option<Self> {
        let mut fields = Fields::open(value, String::new(), faults)?;
        let words = ExportFormat::ALL.map(ExportFormat::as_str);
        let word = match value.get("format") {
            None | Some(Value::Null) => {
                faults.push(Fault::new("/format", format!("is one of {}", words.join(", "))));
                String::new()
            }
            Some(_) => fields.choice("format", "", &words, faults),
        };
        fields.take("format");
        let format = ExportFormat::ALL.into_iter().find(|one| one.as_str() == word);
        let uuid = |fields: &mut Fields<'_>, key: &str, faults: &mut Vec<Fault>| {
            let value = fields.take(key)?;
            let id = value.as_str().and_then(|text| Uuid::parse_str(text).ok());
            if id.is_none() {
                faults.push(Fault::new(fields.pointer(key), "is a UUID"));
            }
            id
        };
        let pairing_id = uuid(&mut fields, "pairing_id", faults);
        let collection_id = uuid(&mut fields, "collection_id", faults);
        let split = match fields.choice("split", "", &["train", "held_out"], faults).as_str() {
            "train" => Some(Split::Train),
            "held_out" => Some(Split::HeldOut),
            _ => None,
        };
        let license = fields.text("license", faults).unwrap_or_else(|| "other".to_owned());
        if !license.chars().all(|c| c.is_ascii_alphanumeric() || "-.+ ()".contains(c)) {
            faults.push(Fault::new("/license", "is an SPDX name, like CC-BY-4.0"));
        }
        if let Some(format) = format {
            let has_pairing = value.get("pairing_id").is_some_and(|id| !id.is_null());
            if format.is_of_pairs() && !has_pairing {
                faults.push(Fault::new("/pairing_id", "says which pairs"));
            }
            if !format.is_of_pairs() && has_pairing {
                faults.push(Fault::new("/pairing_id", format!("does not go with {word}")));
            }
            for (key, there) in [("split", split.is_some()), ("collection_id", collection_id.is_some())] {
                if there && format != ExportFormat::LaionSg {
                    faults.push(Fault::new(format!("/{key}"), format!("does not go with {word}")));
                }
            }
        }
        fields.finish(faults);
        Some(Self { format: format?, pairing_id, split, collection_id, license })
    }
}

/// One side of an exported pair.
#[derive(Clone, Debug)]
pub struct Side {
    pub candidate: ExportedCandidate,
    /// The picture's file.
    pub image: bytes::Bytes,
    pub score: f64,
}

/// An exported pair; of a tie the two scores are the same.
#[derive(Clone, Debug)]
pub struct PairRow {
    /// Place in the pairing; of a tie, among the ties.
    pub position: i32,
    pub graph_id: Uuid,
    pub img_id: String,
    pub caption: String,
    pub winner: Side,
    pub loser: Side,
    pub margin: f64,
    /// Pairs of the same graph.
    pub pairs_of_graph: i64,
    /// When the pairing was frozen, in microseconds since 1970.
    pub created_at: i64,
}

/// Writes pairs into a [`Sink`].
pub trait PairWriter: Send {
    /// # Errors
    /// `Format` where the row cannot be written in this form.
    fn write(&mut self, row: &PairRow) -> crate::Result<()>;

    /// Writes what comes last.
    fn finish(self: Box<Self>) -> crate::Result<()>;
}

/// The writer of a format of pairs.
pub fn pair_writer(format: ExportFormat, sink: Sink, facts: &[(String, String)]) -> crate::Result<Box<dyn PairWriter>> {
    Ok(match format {
        ExportFormat::WebDataset => Box::new(archive::WebDataset::new(sink)),
        ExportFormat::Kohya => Box::new(archive::Kohya::new(sink)),
        ExportFormat::Jsonl => Box::new(lines::Pairs::new(sink)),
        _ => Box::new(pick_a_pic::Writer::new(sink, facts)?),
    })
}

//! Metrics that need neither graphs in a store nor a network: pure functions of what others have measured.

pub mod agreement;
pub mod calibration;
pub mod frechet;
pub mod numeracy;
pub mod scene_graph_iou;
pub mod spatial;
pub mod three_in_one;

use std::fmt;
use std::str::FromStr;

/// Which of a metric's two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// As the published script computes it, its known faults included: comparable with papers.
    Reference,
    /// The faults mended.
    Corrected,
}

impl Mode {
    /// The word used in the API, on the command line and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Corrected => "corrected",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "reference" => Ok(Self::Reference),
            "corrected" => Ok(Self::Corrected),
            _ => Err("is `reference` or `corrected`".to_owned()),
        }
    }
}

//! Who reads a scene graph out of a picture, for the overlaps of [`crate::metrics::scene_graph_iou`].

mod openai;
pub(crate) mod recorded;

pub use openai::{OpenAiExtractor, Vocabulary};
pub use recorded::{RecordedExtractor, write_line};

use crate::endpoint::chat::Spent;
use crate::metrics::scene_graph_iou::Extraction;
use crate::scorer::Subject;

/// Something that looks at a picture and says what stands in which relation to what.
pub trait GraphExtractor: Send + Sync {
    /// Its name among scorers.
    fn name(&self) -> &str;

    /// Changes whenever another graph might be read out of the same picture.
    fn version(&self) -> &str;

    /// What was spent so far on whoever is asked over the network.
    fn spent(&self) -> Option<Spent> {
        None
    }

    /// The graph of each picture; each with its own outcome, in their order.
    fn extract_many(&self, subjects: &[Subject<'_>]) -> Vec<crate::Result<Extraction>>;
}

//! What the text encoders say about scene graphs: of each distinct text once, and as numbers that can be kept.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};

use super::{GraphTokens, SEQUENCE_LENGTH};
use crate::{Error, Result};

/// What the text encoders say about some graphs; it does not depend on the graph network and can be kept.
#[derive(Clone, Debug)]
pub struct GraphFeatures {
    /// `[b, 77, d]`: the sentences, the end token's vector repeated. As it is: the caption alone, without the graph.
    pub sentences: Tensor,
    /// `[b, p]`: pooled features of the sentences, which the graph does not change.
    pub pooled: Tensor,
    /// `[rows, d]`: tokens of all distinct phrases, without begin and end.
    pub(super) phrases: Tensor,
    /// First row of each phrase of each graph.
    pub(super) first_rows: Vec<Vec<usize>>,
}

/// Where the features of each distinct text stand in one table of all their tokens; texts of one length are side by side,
/// the shortest first.
struct TextTable<'a> {
    by_length: BTreeMap<usize, Vec<&'a [u32]>>,
    /// Length of a text, and which one of that length it is.
    places: HashMap<&'a [u32], (usize, usize)>,
    /// First row, and number of the first text, of each length.
    starts: HashMap<usize, (usize, usize)>,
    num_rows: usize,
}

impl<'a> TextTable<'a> {
    fn of(graphs: &'a [GraphTokens]) -> Self {
        let mut by_length: BTreeMap<usize, Vec<&[u32]>> = BTreeMap::new();
        let mut places: HashMap<&[u32], (usize, usize)> = HashMap::new();
        for ids in graphs.iter().flat_map(|graph| graph.phrases.iter().chain([&graph.sentence])) {
            places.entry(ids).or_insert_with(|| {
                let texts = by_length.entry(ids.len()).or_default();
                texts.push(ids);
                (ids.len(), texts.len() - 1)
            });
        }
        let mut starts = HashMap::new();
        let (mut num_rows, mut num_texts) = (0, 0);
        for (&length, texts) in &by_length {
            starts.insert(length, (num_rows, num_texts));
            num_rows += length * texts.len();
            num_texts += texts.len();
        }
        Self { by_length, places, starts, num_rows }
    }

    /// First row of a text, and its number.
    fn place(&self, ids: &[u32]) -> (usize, usize) {
        let (length, index) = self.places[ids];
        let (first_row, first_text) = self.starts[&length];
        (first_row + index * length, first_text + index)
    }
}

impl GraphFeatures {
    /// Encodes the sentences and phrases of graphs, each distinct text once, with few calls of `encode`.
    ///
    /// `encode` gets sequences of one length and gives their features `[sequences, n, d]` and pooled features
    /// `[sequences, p]`. Since lengths are never mixed, nothing is padded, and the features of a graph do not depend
    /// on the graphs beside it, to the last bit, if those of a sequence do not.
    ///
    /// # Errors
    /// No graph at all, or those of `encode`.
    pub fn encode(
        graphs: &[GraphTokens],
        mut encode: impl FnMut(&[Vec<u32>]) -> Result<(Tensor, Tensor)>,
    ) -> Result<Self> {
        let table = TextTable::of(graphs);
        let mut states = Vec::new();
        let mut pooled = Vec::new();
        for texts in table.by_length.values() {
            // Enough for the matrix products to be large, few enough for the memory of real text encoders.
            for chunk in texts.chunks(64) {
                let chunk: Vec<Vec<u32>> = chunk.iter().map(|ids| ids.to_vec()).collect();
                let (hidden_states, pooled_of_chunk) = encode(&chunk)?;
                states.push(hidden_states.flatten(0, 1)?);
                pooled.push(pooled_of_chunk);
            }
        }
        if states.is_empty() {
            return Err(Error::Graph("there is no graph to encode".to_owned()));
        }
        let states = Tensor::cat(&states, 0)?;
        let sentences: Vec<u32> = graphs.iter().map(|graph| table.place(&graph.sentence).1 as u32).collect();
        let sentences = Tensor::from_vec(sentences, graphs.len(), states.device())?;
        Self::of_table(graphs, &table, states, Tensor::cat(&pooled, 0)?.index_select(&sentences, 0)?)
    }

    /// `states [rows, d]` are those of `table`, `pooled [b, p]` those of the sentences.
    fn of_table(graphs: &[GraphTokens], table: &TextTable, states: Tensor, pooled: Tensor) -> Result<Self> {
        let mut rows = Vec::with_capacity(graphs.len() * SEQUENCE_LENGTH);
        let mut first_rows = Vec::with_capacity(graphs.len());
        for graph in graphs {
            let (row, _) = table.place(&graph.sentence);
            let last = graph.sentence.len() - 1;
            rows.extend((0..SEQUENCE_LENGTH).map(|position| (row + position.min(last)) as u32));
            first_rows.push(graph.phrases.iter().map(|ids| table.place(ids).0).collect());
        }
        let (b, d) = (graphs.len(), states.dim(1)?);
        let rows = Tensor::from_vec(rows, b * SEQUENCE_LENGTH, states.device())?;
        Ok(Self {
            sentences: states.index_select(&rows, 0)?.reshape((b, SEQUENCE_LENGTH, d))?,
            pooled,
            phrases: states,
            first_rows,
        })
    }

    /// How many numbers [`Self::to_values`] gives for a graph, where features are `d` wide and pooled ones `p`.
    pub fn num_values(graph: &GraphTokens, d: usize, p: usize) -> usize {
        TextTable::of(std::slice::from_ref(graph)).num_rows * d + p
    }

    /// All that is known of one graph, as numbers to keep.
    ///
    /// # Errors
    /// Candle's.
    pub fn to_values(&self) -> Result<Vec<f32>> {
        let of = |tensor: &Tensor| tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>();
        Ok([of(&self.phrases)?, of(&self.pooled)?].concat())
    }

    /// What [`Self::to_values`] gave for `graph`, on `device` in `dtype`; pooled features are `p` wide.
    ///
    /// # Errors
    /// Another number of values than these tokens have.
    pub fn from_values(
        graph: &GraphTokens,
        values: &[f32],
        p: usize,
        (dtype, device): (DType, &Device),
    ) -> Result<Self> {
        let graph = std::slice::from_ref(graph);
        let table = TextTable::of(graph);
        let wrong =
            || Error::Graph(format!("{} values are not the features of {} tokens", values.len(), table.num_rows));
        let (states, pooled) = values.split_at_checked(values.len().saturating_sub(p)).ok_or_else(wrong)?;
        let d = states.len() / table.num_rows;
        if pooled.len() != p || d * table.num_rows != states.len() {
            return Err(wrong());
        }
        let states = Tensor::from_slice(states, (table.num_rows, d), device)?.to_dtype(dtype)?;
        let pooled = Tensor::from_slice(pooled, (1, p), device)?.to_dtype(dtype)?;
        Self::of_table(graph, &table, states, pooled)
    }
}

//! The text encoders of a model together: sequences of tokens to features, as SDXL-SG wants them.
//!
//! Source: LAION-SG `sgEncoderTraining` (sequences are not padded; the end token's vector is repeated up to the full
//! length); Podell et al. 2023 (penultimate states side by side, pooled projection of the second encoder).
//! b batch · n longest sequence · d width of both encoders together · p width of the projection

use crate::Result;
use crate::clip::{ClipTextModel, ClipTextModelWithProjection};
use candle_core::{Device, Tensor};

/// Length that conditioning is brought to, in tokens.
pub const CONDITIONING_LENGTH: usize = 77;

/// Both encoders.
#[derive(Clone, Debug)]
pub struct TextEncoders {
    /// Gives the first part of the features.
    pub first: ClipTextModel,
    /// Gives the second part and the pooled embedding.
    pub second: ClipTextModelWithProjection,
}

/// Features of a batch of sequences.
#[derive(Clone, Debug)]
pub struct TextFeatures {
    /// Penultimate states, `[b, n, d]`; rows beyond a sequence's length are without meaning.
    pub hidden_states: Tensor,
    /// Projected pooled embedding, `[b, p]`.
    pub pooled: Tensor,
    /// Length of each sequence, start and end token included.
    pub lengths: Vec<usize>,
}

impl TextEncoders {
    /// Encodes sequences that begin with the start and end with the end token.
    ///
    /// Shorter ones are filled up with end tokens; the encoders are causal, so what comes later changes nothing before.
    pub fn encode(&self, sequences: &[Vec<u32>], device: &Device) -> Result<TextFeatures> {
        let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
        let ids = filled_up(sequences, device)?;
        let first = self.first.forward(&ids)?;
        let second = self.second.forward(&ids)?;
        let hidden_states = Tensor::cat(&[first.penultimate, second.penultimate], 2)?;
        Ok(TextFeatures { hidden_states, pooled: second.pooled, lengths })
    }
}

/// The text encoders of a folder: SDXL's two, or SD1.5's one, whose features SD1.5-SG uses in the same way.
#[derive(Clone, Debug)]
pub enum TextStack {
    /// SD1.5; the pooled output is that of the encoder itself.
    One(ClipTextModel),
    /// SDXL.
    Two(TextEncoders),
}

impl TextStack {
    /// As [`TextEncoders::encode`].
    ///
    /// # Errors
    /// A sequence is longer than the encoders take.
    pub fn encode(&self, sequences: &[Vec<u32>], device: &Device) -> Result<TextFeatures> {
        match self {
            Self::Two(both) => both.encode(sequences, device),
            Self::One(encoder) => {
                let output = encoder.forward(&filled_up(sequences, device)?)?;
                let lengths = sequences.iter().map(Vec::len).collect();
                Ok(TextFeatures { hidden_states: output.penultimate, pooled: output.pooled, lengths })
            }
        }
    }
}

impl TextStack {
    /// States `[b, n, d]` and pooled `[b, p]` as diffusers' pipelines condition on them: of SD1.5 the final states, of SDXL
    /// the penultimate ones of both encoders side by side. `second` are the ids for the second encoder, where it pads
    /// otherwise than the first.
    ///
    /// # Errors
    /// More ids than positions, or an id beyond the vocabulary.
    pub fn encode_padded(&self, first: &Tensor, second: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        match self {
            Self::One(encoder) => {
                let output = encoder.forward(first)?;
                Ok((output.last_hidden_state, output.pooled))
            }
            Self::Two(both) => {
                let second = both.second.forward(second.unwrap_or(first))?;
                let first = both.first.forward(first)?;
                Ok((Tensor::cat(&[first.penultimate, second.penultimate], 2)?, second.pooled))
            }
        }
    }
}

/// Sequences as one tensor `[b, n]`, the shorter ones filled up with their end tokens.
fn filled_up(sequences: &[Vec<u32>], device: &Device) -> Result<Tensor> {
    let longest = sequences.iter().map(Vec::len).max().unwrap_or(0);
    let ids: Vec<u32> = sequences
        .iter()
        .flat_map(|sequence| {
            let end = sequence.last().copied().unwrap_or_default();
            sequence.iter().copied().chain(std::iter::repeat(end)).take(longest)
        })
        .collect();
    Ok(Tensor::from_vec(ids, (sequences.len(), longest), device)?)
}

impl TextFeatures {
    /// The end token's vector repeated (and the rest cut) so that each sequence is 77 long: `[b, 77, d]`.
    pub fn extended(&self) -> Result<Tensor> {
        let (b, n, d) = self.hidden_states.dims3()?;
        let rows: Vec<u32> = self
            .lengths
            .iter()
            .enumerate()
            .flat_map(|(i, &length)| {
                (0..CONDITIONING_LENGTH).map(move |position| (i * n + position.min(length.saturating_sub(1))) as u32)
            })
            .collect();
        let rows = Tensor::from_vec(rows, b * CONDITIONING_LENGTH, self.hidden_states.device())?;
        let all = self.hidden_states.reshape((b * n, d))?;
        Ok(all.index_select(&rows, 0)?.reshape((b, CONDITIONING_LENGTH, d))?)
    }
}

//! What can go wrong with networks, weights and their training.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every failure of this crate; each names the file, key, tensor or setting at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor operation failed: shapes that do not fit, a device that is out of memory.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A file could not be read or written; the source names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A JSON file does not hold what it should.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
        source: serde_json::Error,
    },
    /// A configuration holds a value that is not implemented or makes no sense.
    #[error("{}: `{key}`: {message}", path.display())]
    Config {
        /// The file, or the name of the network where the configuration did not come from a file.
        path: PathBuf,
        /// The key at fault.
        key: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A weights file lacks a tensor, has one too many, or one of the wrong shape or with values that are not finite.
    #[error("{}: tensor `{tensor}`: {message}", path.display())]
    Tensor {
        /// The file or folder.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What is wrong.
        message: String,
    },
    /// A tokenizer could not be loaded or failed on a text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A scene graph that the encoder cannot take.
    #[error("scene graph: {0}")]
    Graph(String),
    /// Settings or inputs that make no sense; the message says which and why.
    #[error("{0}")]
    Invalid(String),
    /// Training cannot move or went astray; the message gives the reason and the remedies.
    #[error("{0}")]
    Training(String),
    /// The caller asked to stop.
    #[error("stopped on request")]
    Stopped,
}

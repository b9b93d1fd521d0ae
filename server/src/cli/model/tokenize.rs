//! `diptych model tokenize`: a text as a text encoder sees it.

use std::path::PathBuf;

use clap::Args;
use models::model_folder::{ModelFolder, Which};

use super::super::output;

/// Print the token ids of a text, begin, end and padding included
///
/// One JSON array a text. With `-` texts are read from the standard input, one a line.
#[derive(Debug, Args)]
#[command(after_help = "Example:  diptych model tokenize --model models/tiny 'a red circle left of a blue square'")]
pub(crate) struct Tokenize {
    /// A folder in diffusers' layout
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// With the second tokenizer, SDXL's
    #[arg(long)]
    second: bool,
    /// The text; `-` reads lines
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    text: String,
}

impl Tokenize {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let which = if self.second { Which::Second } else { Which::First };
        let tokenizer = ModelFolder::open(&self.model)?.tokenizer(which)?;
        if self.text != "-" {
            return output::json(&tokenizer.encode_padded(&self.text)?);
        }
        for line in std::io::stdin().lines() {
            output::json(&tokenizer.encode_padded(&line?)?)?;
        }
        Ok(())
    }
}

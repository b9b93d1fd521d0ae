//! Pairs as JSON lines.

use std::io::Write;

use super::{PairRow, PairWriter, Sink, archive};
use crate::Result;

/// One line a pair; a picture is an address and its content's SHA-256.
pub struct Pairs(Sink);

impl Pairs {
    pub fn new(sink: Sink) -> Self {
        Self(sink)
    }
}

impl PairWriter for Pairs {
    fn write(&mut self, row: &PairRow) -> Result<()> {
        Ok(writeln!(self.0, "{}", archive::facts(row))?)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

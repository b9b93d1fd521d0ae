//! Pick-a-Pic v2: one parquet row a pair, 19 columns.
//!
//! Columns and types are those of `yuvalkirstain/pickapic_v2` on the Hugging Face hub. Which side is image 0 alternates, so
//! that a model cannot learn the place; a tie has both labels at 0.5 and `best_image_uid` "tie". The picture's bytes are
//! those of the store (PNG, losslessly), under the column's usual name.

use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::{PairRow, PairWriter, Sink};
use crate::{Error, Result};

/// Rows a group: what a reader holds in memory at a time, and what is fetched to see one row.
pub const ROWS_A_GROUP: usize = 64;

/// Name and parquet type of every column, in order.
const COLUMNS: [(&str, &str); 19] = [
    ("are_different", "boolean"),
    ("best_image_uid", "string"),
    ("caption", "string"),
    ("created_at", "timestamp"),
    ("has_label", "boolean"),
    ("image_0_uid", "string"),
    ("image_0_url", "string"),
    ("image_1_uid", "string"),
    ("image_1_url", "string"),
    ("jpg_0", "binary"),
    ("jpg_1", "binary"),
    ("label_0", "double"),
    ("label_1", "double"),
    ("model_0", "string"),
    ("model_1", "string"),
    ("ranking_id", "int64"),
    ("user_id", "int64"),
    ("num_example_per_prompt", "int64"),
    ("__index_level_0__", "int64"),
];

/// Names of the columns, for the description of a file.
pub fn columns() -> impl Iterator<Item = (&'static str, &'static str)> {
    COLUMNS.into_iter()
}

/// Writes rows in groups of [`ROWS_A_GROUP`].
pub struct Writer {
    file: SerializedFileWriter<Sink>,
    rows: Vec<PairRow>,
}

impl Writer {
    /// `facts` become the file's own key-value metadata.
    pub fn new(sink: Sink, facts: &[(String, String)]) -> Result<Self> {
        let fields: Vec<String> = COLUMNS
            .iter()
            .map(|(name, kind)| match *kind {
                "string" => format!("required binary {name} (STRING);"),
                "timestamp" => format!("required int64 {name} (TIMESTAMP(MICROS,true));"),
                other => format!("required {other} {name};"),
            })
            .collect();
        let schema = parse_message_type(&format!("message pick_a_pic {{ {} }}", fields.join(" "))).map_err(failed)?;
        let facts = facts.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
            .set_key_value_metadata(Some(facts))
            .set_created_by(format!("diptych {}", env!("CARGO_PKG_VERSION")))
            .build();
        let file = SerializedFileWriter::new(sink, Arc::new(schema), Arc::new(properties)).map_err(failed)?;
        Ok(Self { file, rows: Vec::with_capacity(ROWS_A_GROUP) })
    }

    fn write_group(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let mut group = self.file.next_row_group().map_err(failed)?;
        let mut place = 0;
        while let Some(mut column) = group.next_column().map_err(failed)? {
            let name = COLUMNS.get(place).map_or("", |(name, _)| *name);
            match column.untyped() {
                ColumnWriter::BoolColumnWriter(writer) => {
                    let values: Vec<bool> = rows.iter().map(|row| boolean(row, name)).collect();
                    writer.write_batch(&values, None, None).map_err(failed)?;
                }
                ColumnWriter::Int64ColumnWriter(writer) => {
                    let values: Vec<i64> = rows.iter().map(|row| integer(row, name)).collect();
                    writer.write_batch(&values, None, None).map_err(failed)?;
                }
                ColumnWriter::DoubleColumnWriter(writer) => {
                    let values: Vec<f64> = rows.iter().map(|row| label(row, name == "label_0")).collect();
                    writer.write_batch(&values, None, None).map_err(failed)?;
                }
                ColumnWriter::ByteArrayColumnWriter(writer) => {
                    let values: Vec<ByteArray> = rows.iter().map(|row| bytes(row, name)).collect();
                    writer.write_batch(&values, None, None).map_err(failed)?;
                }
                _ => return Err(Error::Format(format!("column {name} has a type that is not written"))),
            }
            column.close().map_err(failed)?;
            place += 1;
        }
        group.close().map_err(failed)?;
        Ok(())
    }
}

impl PairWriter for Writer {
    fn write(&mut self, row: &PairRow) -> Result<()> {
        self.rows.push(row.clone());
        if self.rows.len() == ROWS_A_GROUP { self.write_group() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.write_group()?;
        self.file.close().map_err(failed)?;
        Ok(())
    }
}

fn is_tie(row: &PairRow) -> bool {
    row.margin == 0.0
}

/// The side that is image 0 or 1.
fn side(row: &PairRow, zero: bool) -> &super::Side {
    let winner_is_zero = row.position % 2 == 0;
    if winner_is_zero == zero { &row.winner } else { &row.loser }
}

fn label(row: &PairRow, zero: bool) -> f64 {
    let winner_is_zero = row.position % 2 == 0;
    match is_tie(row) {
        true => 0.5,
        false if winner_is_zero == zero => 1.0,
        false => 0.0,
    }
}

fn boolean(row: &PairRow, name: &str) -> bool {
    name != "are_different" || row.winner.candidate.image_blob != row.loser.candidate.image_blob
}

fn integer(row: &PairRow, name: &str) -> i64 {
    match name {
        "created_at" => row.created_at,
        "num_example_per_prompt" => row.pairs_of_graph,
        "user_id" => 0,
        _ => i64::from(row.position),
    }
}

fn bytes(row: &PairRow, name: &str) -> ByteArray {
    let one = side(row, name.contains("_0"));
    match name {
        "best_image_uid" if is_tie(row) => "tie".into(),
        "best_image_uid" => row.winner.candidate.id.to_string().as_str().into(),
        "caption" => row.caption.as_str().into(),
        "jpg_0" | "jpg_1" => one.image.clone().into(),
        "model_0" | "model_1" => one.candidate.model_name.as_str().into(),
        "image_0_url" | "image_1_url" => format!("/api/v1/candidates/{}/image", one.candidate.id).as_str().into(),
        _ => one.candidate.id.to_string().as_str().into(),
    }
}

fn failed(error: parquet::errors::ParquetError) -> Error {
    Error::Format(format!("writing parquet: {error}"))
}

//! Pick-a-Pic parquet: two pictures of a caption, and which of them is better.
//!
//! A candidate keeps the id that its file gives it, where that is a UUID: pairs that were exported here come back as the
//! same pairs of the same candidates. A tie makes no pair; its pictures are taken in all the same.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Import, checked};
use crate::pairing as hashes;
use crate::policy::Policy;
use crate::store::candidate::{self, NewCandidate};
use crate::store::pairing::{self, Pair};
use crate::task::on_thread;
use crate::{Error, Result};

/// Rows in memory at a time.
const BATCH: usize = 16;
/// Largest row group: a reader unpacks a column of one at a time.
const MOST_GROUP_BYTES: i64 = 1 << 30;
const COLUMNS: [&str; 9] =
    ["caption", "image_0_uid", "image_1_uid", "jpg_0", "jpg_1", "label_0", "label_1", "model_0", "model_1"];
/// What a file must have.
const NEEDED: [&str; 5] = ["caption", "jpg_0", "jpg_1", "label_0", "label_1"];
/// The metric that pairs of people's choices stand under.
const METRIC: &str = "label";

/// A row as it was read.
struct PairRow {
    caption: String,
    sides: [SideRow; 2],
    labels: [f64; 2],
}

struct SideRow {
    uid: String,
    model: String,
    /// A PNG.
    image: Vec<u8>,
}

/// A row, or where it is wrong and why.
type Read = std::result::Result<PairRow, (&'static str, &'static str, String)>;

/// Takes in the pictures and freezes the pairs; the pairing, where there is a pair.
pub(super) async fn run(import: &mut Import<'_>, path: &Path) -> Result<Option<Uuid>> {
    let (sender, mut rows) = mpsc::channel(1);
    let path = path.to_owned();
    let reading = tokio::spawn(on_thread(move || read(&path, &sender)));
    let (mut pairs, mut known) = (Vec::new(), HashSet::new());
    while let Some(batch) = rows.recv().await {
        for row in batch {
            let record = import.counts.read;
            import.counts.read += 1;
            import.write_many_rejects().await?;
            match row {
                Err((pointer, code, message)) => import.reject(record, pointer, code, message),
                Ok(row) => match take(import, record, row).await? {
                    Some(pair) if known.insert((pair.winner_id, pair.loser_id)) => {
                        import.counts.accepted += 1;
                        pairs.push(pair);
                    }
                    Some(_) => import.counts.unchanged += 1,
                    None => {}
                },
            }
        }
    }
    match reading.await.map_err(|error| Error::Thread(error.to_string()))? {
        Ok(()) => {}
        // A reader that meets what it holds to be impossible: the file is at fault, not this process.
        Err(Error::Thread(message)) => return Err(Error::Format(format!("the parquet file is damaged: {message}"))),
        Err(error) => return Err(error),
    }
    if pairs.is_empty() {
        return Ok(None);
    }
    let policy = serde_json::to_value(Policy::best_worst(METRIC))
        .map_err(|source| Error::Json { context: "writing the policy".to_owned(), source })?;
    pairs.sort_unstable_by_key(|pair| (pair.graph_id, pair.winner_id, pair.loser_id));
    let hash = hashes::hash_rows(&policy, &pairs);
    let mut conn = import.context.pool.acquire().await?;
    let (frozen, is_new) = pairing::insert(&mut conn, import.file, &policy, &hash, &pairs).await?;
    if !is_new {
        import.counts.unchanged += import.counts.accepted;
        import.counts.accepted = 0;
    }
    Ok(Some(frozen.id))
}

/// The pair that a row is; `None` for a tie.
async fn take(import: &mut Import<'_>, record: i64, row: PairRow) -> Result<Option<Pair>> {
    let mut blobs = Vec::with_capacity(2);
    for side in &row.sides {
        blobs.push(import.context.blobs.put(side.image.clone()).await?);
    }
    let mut tx = import.context.pool.begin().await?;
    let uids: Vec<Option<Uuid>> = row.sides.iter().map(|side| Uuid::parse_str(&side.uid).ok()).collect();
    let asked: Vec<Uuid> = uids.iter().flatten().copied().collect();
    let found = candidate::load_many(&mut tx, &asked).await?;
    let there = |place: usize| found.iter().find(|one| Some(one.id) == uids[place] && one.image_blob == blobs[place]);
    // A picture that is here says which graph it is of, and the caption need not be read again.
    let graph_id = match there(0).or_else(|| there(1)).map(|one| one.graph_id) {
        Some(id) => id,
        None => match import.graph_of(&mut tx, &row.caption, record).await? {
            Ok(id) => id,
            Err(message) => {
                import.reject(record, "/caption", "E_CAPTION", message);
                return Ok(None);
            }
        },
    };
    let mut ids = Vec::with_capacity(2);
    for (place, side) in row.sides.iter().enumerate() {
        if let Some(one) = there(place) {
            if one.graph_id != graph_id {
                import.reject(
                    record,
                    "/image_1_uid",
                    "E_OTHER_GRAPH",
                    "the two pictures belong to different graphs here",
                );
                return Ok(None);
            }
            ids.push(one.id);
            continue;
        }
        // An id that is here under another picture is not this one's.
        let taken = |id: &Uuid| found.iter().any(|one| one.id == *id) || ids.contains(id);
        let id = uids[place].filter(|id| !taken(id)).unwrap_or_default();
        let (generation_id, index) = import.place(&mut tx, &side.model, graph_id).await?;
        let image_blob = blobs[place].clone();
        let new = NewCandidate { id, generation_id, graph_id, index, seed: 0, image_blob, latent_blob: None };
        candidate::insert_many(&mut tx, &[new]).await?;
        ids.push(id);
    }
    tx.commit().await?;
    let winner = match row.labels[0].total_cmp(&row.labels[1]) {
        std::cmp::Ordering::Greater => 0,
        std::cmp::Ordering::Less => 1,
        std::cmp::Ordering::Equal => {
            import.counts.unchanged += 1;
            return Ok(None);
        }
    };
    Ok(Some(Pair {
        graph_id,
        winner_id: ids[winner],
        loser_id: ids[1 - winner],
        winner_score: row.labels[winner],
        loser_score: row.labels[1 - winner],
        margin: row.labels[winner] - row.labels[1 - winner],
    }))
}

/// Until the file ends or nobody listens.
fn read(path: &Path, sender: &mpsc::Sender<Vec<Read>>) -> Result<()> {
    let wrong = |error: parquet::errors::ParquetError| Error::Format(format!("the parquet file: {error}"));
    let reader = SerializedFileReader::new(fs_err::File::open(path)?.into_parts().0).map_err(wrong)?;
    if let Some(large) = reader.metadata().row_groups().iter().find(|group| group.total_byte_size() > MOST_GROUP_BYTES)
    {
        let message = format!("a row group has {} MiB; write it in smaller ones", large.total_byte_size() >> 20);
        return Err(Error::Format(message));
    }
    let schema = reader.metadata().file_metadata().schema();
    let fields: Vec<_> = schema.get_fields().iter().filter(|field| COLUMNS.contains(&field.name())).cloned().collect();
    let missing: Vec<&str> =
        NEEDED.into_iter().filter(|name| !fields.iter().any(|field| field.name() == *name)).collect();
    if !missing.is_empty() {
        return Err(Error::Format(format!("the parquet file has no column {}", missing.join(", "))));
    }
    let projection = Type::group_type_builder(schema.name()).with_fields(fields).build().map_err(wrong)?;
    let rows = reader.get_row_iter(Some(projection)).map_err(wrong)?.with_batch_size(BATCH);
    let mut batch = Vec::with_capacity(BATCH);
    for row in rows {
        batch.push(pair_row(&row.map_err(wrong)?));
        if batch.len() == BATCH && sender.blocking_send(std::mem::take(&mut batch)).is_err() {
            return Ok(());
        }
    }
    let _ = sender.blocking_send(batch);
    Ok(())
}

fn pair_row(row: &Row) -> Read {
    let fields: BTreeMap<&str, &Field> = row.get_column_iter().map(|(name, field)| (name.as_str(), field)).collect();
    let text = |name: &str| match fields.get(name) {
        Some(Field::Str(text)) => Some(text.clone()),
        Some(Field::Bytes(bytes)) => Some(String::from_utf8_lossy(bytes.data()).into_owned()),
        _ => None,
    };
    let number = |name: &str| match fields.get(name) {
        Some(Field::Double(number)) => Some(*number),
        Some(Field::Float(number)) => Some(f64::from(*number)),
        Some(Field::Long(number)) => Some(*number as f64),
        Some(Field::Int(number)) => Some(f64::from(*number)),
        _ => None,
    };
    let label = |name: &str, pointer: &'static str| {
        number(name).filter(|number| (0.0..=1.0).contains(number)).ok_or((
            pointer,
            "E_WRONG_TYPE",
            format!("{name} is a number from 0 to 1"),
        ))
    };
    let side = |uid: &str, model: &str, jpg: &str, pointer: &'static str| {
        let bytes = match fields.get(jpg) {
            Some(Field::Bytes(bytes)) => bytes.data().to_vec(),
            Some(Field::Str(text)) => text.clone().into_bytes(),
            _ => return Err((pointer, "E_MISSING_FIELD", format!("{jpg} is a picture"))),
        };
        let image = checked(&bytes).map_err(|error| (pointer, "E_IMAGE", error.to_string()))?;
        let model = text(model).unwrap_or_default().replace('\0', "");
        Ok(SideRow { uid: text(uid).unwrap_or_default(), model, image })
    };
    Ok(PairRow {
        caption: text("caption").ok_or(("/caption", "E_MISSING_FIELD", "caption is a text".to_owned()))?,
        labels: [label("label_0", "/label_0")?, label("label_1", "/label_1")?],
        sides: [side("image_0_uid", "model_0", "jpg_0", "/jpg_0")?, side("image_1_uid", "model_1", "jpg_1", "/jpg_1")?],
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::export::{ExportFormat, PairRow as Written, Side, Sink, pair_writer};
    use crate::store::export::ExportedCandidate;

    fn side() -> impl Strategy<Value = Side> {
        (any::<u128>(), "\\PC{0,12}", any::<[u8; 12]>(), 0.0..1.0f64).prop_map(|(id, model_name, pixels, score)| {
            let mut file = Cursor::new(Vec::new());
            let picture = image::RgbImage::from_raw(2, 2, pixels.to_vec()).unwrap();
            picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
            let candidate = ExportedCandidate {
                id: Uuid::from_u128(id),
                graph_id: Uuid::nil(),
                image_blob: hex::encode(pixels),
                seed: 0,
                model_hash: String::new(),
                model_name,
                num_inference_steps: 1,
                guidance_scale: 1.0,
                sampler: "ddim".to_owned(),
            };
            Side { candidate, image: file.into_inner().into(), score }
        })
    }

    fn row() -> impl Strategy<Value = Written> {
        (side(), side(), "\\PC{0,40}", any::<bool>()).prop_map(|(winner, loser, caption, tie)| Written {
            position: 0,
            graph_id: Uuid::nil(),
            img_id: "1".to_owned(),
            caption,
            margin: if tie { 0.0 } else { 0.5 },
            winner,
            loser,
            pairs_of_graph: 1,
            created_at: 0,
        })
    }

    fn read_again(file: &[u8]) -> Vec<Read> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.parquet");
        fs_err::write(&path, file).unwrap();
        let (sender, mut batches) = mpsc::channel(1);
        let reading = std::thread::spawn(move || read(&path, &sender));
        let mut rows = Vec::new();
        while let Some(batch) = batches.blocking_recv() {
            rows.extend(batch);
        }
        reading.join().unwrap().unwrap();
        rows
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Captions, pictures, ids, models and who won: as they were written, in their order, over row groups.
        #[test]
        fn exported_rows_are_read_as_the_same_rows(rows in prop::collection::vec(row(), 0..150)) {
            let sink = Sink::default();
            let mut writer = pair_writer(ExportFormat::PickAPic, sink.clone(), &[]).unwrap();
            for (position, row) in rows.iter().enumerate() {
                writer.write(&Written { position: position as i32, ..row.clone() }).unwrap();
            }
            writer.finish().unwrap();
            let again = read_again(&sink.take());
            prop_assert_eq!(again.len(), rows.len());
            for (position, (read, written)) in again.into_iter().zip(&rows).enumerate() {
                let read = read.map_err(|fault| TestCaseError::fail(format!("{fault:?}")))?;
                prop_assert_eq!(&read.caption, &written.caption);
                let mut sides = [&written.winner, &written.loser];
                let mut labels = if written.margin == 0.0 { [0.5, 0.5] } else { [1.0, 0.0] };
                if position % 2 == 1 {
                    sides.reverse();
                    labels.reverse();
                }
                prop_assert_eq!(read.labels, labels);
                for (read, written) in read.sides.iter().zip(sides) {
                    prop_assert_eq!(&read.uid, &written.candidate.id.to_string());
                    prop_assert_eq!(&read.model, &written.candidate.model_name);
                    prop_assert_eq!(&read.image, &written.image.to_vec());
                }
            }
        }
    }
}

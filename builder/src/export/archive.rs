//! Pairs as tar files: WebDataset's samples, kohya's two folders.

use serde_json::{Value, json};
use tar::{Builder, Header};

use super::{PairRow, PairWriter, Side, Sink};
use crate::Result;

/// One sample a pair: `000000.winner.png`, `000000.loser.png`, `000000.txt` (the caption), `000000.json` (the rest).
pub struct WebDataset(Builder<Sink>);

impl WebDataset {
    pub fn new(sink: Sink) -> Self {
        Self(Builder::new(sink))
    }
}

impl PairWriter for WebDataset {
    fn write(&mut self, row: &PairRow) -> Result<()> {
        let key = format!("{:06}", row.position);
        append(&mut self.0, &format!("{key}.winner.png"), &row.winner.image)?;
        append(&mut self.0, &format!("{key}.loser.png"), &row.loser.image)?;
        append(&mut self.0, &format!("{key}.txt"), row.caption.as_bytes())?;
        append(&mut self.0, &format!("{key}.json"), facts(row).to_string().as_bytes())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        Ok(self.0.finish()?)
    }
}

/// `winner/000000.png` beside `winner/000000.txt`, and the same under `loser`.
pub struct Kohya(Builder<Sink>);

impl Kohya {
    pub fn new(sink: Sink) -> Self {
        Self(Builder::new(sink))
    }
}

impl PairWriter for Kohya {
    fn write(&mut self, row: &PairRow) -> Result<()> {
        for (folder, side) in [("winner", &row.winner), ("loser", &row.loser)] {
            append(&mut self.0, &format!("{folder}/{:06}.png", row.position), &side.image)?;
            append(&mut self.0, &format!("{folder}/{:06}.txt", row.position), row.caption.as_bytes())?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        Ok(self.0.finish()?)
    }
}

/// Everything about a pair but its pictures.
pub(super) fn facts(row: &PairRow) -> Value {
    let side = |side: &Side| {
        json!({ "id": side.candidate.id, "image_sha256": side.candidate.image_blob, "score": side.score,
            "image_url": format!("/api/v1/candidates/{}/image", side.candidate.id), "seed": side.candidate.seed,
            "model": side.candidate.model_name, "model_hash": side.candidate.model_hash,
            "num_inference_steps": side.candidate.num_inference_steps,
            "guidance_scale": side.candidate.guidance_scale, "sampler": side.candidate.sampler })
    };
    json!({ "position": row.position, "graph_id": row.graph_id, "img_id": row.img_id, "caption": row.caption,
        "margin": row.margin, "winner": side(&row.winner), "loser": side(&row.loser) })
}

/// A plain file with nothing of the machine in its header: the same pairs are the same archive.
fn append(builder: &mut Builder<Sink>, name: &str, content: &[u8]) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    Ok(builder.append_data(&mut header, name, content)?)
}

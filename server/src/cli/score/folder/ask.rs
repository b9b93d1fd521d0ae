//! Puts the questions of a folder's pictures to an answerer.

use std::collections::HashMap;
use std::path::Path;

use builder::answer::recorded::{RecordedAnswer, RecordedAnswers};
use builder::answer::{Answer, AnswerValue, Answerer, Asked, Inquiry};
use builder::dpg_bench::question_file::{Item, QuestionFile};
use builder::dpg_bench::run::find_item;
use builder::question::{QuestionDag, derive};
use builder::scene_graph::SceneGraph;
use image::RgbImage;
use rayon::prelude::*;

use super::super::super::output;

/// Pictures held in memory at a time.
const CHUNK: usize = 256;

/// One picture's crops with what is asked about each.
struct Prepared<'q> {
    image: String,
    item: &'q Item,
    /// Of the item's graph, if it has one.
    graph: Option<&'q (SceneGraph, QuestionDag)>,
    crops: Vec<RgbImage>,
    asked: Vec<Asked<'q>>,
}

/// Asks about every picture that has questions. By picture, why there are no answers: it cannot be read, or its answerer
/// failed.
pub(super) fn everything(
    folder: &Path,
    images: &[String],
    questions: &QuestionFile,
    graphs: Option<&[SceneGraph]>,
    answerer: &dyn Answerer,
    num_crops: u32,
    resolution: Option<u32>,
) -> (RecordedAnswers, HashMap<String, String>) {
    let mut answers = RecordedAnswers::default();
    let mut failures = HashMap::new();
    let derived: Vec<(SceneGraph, QuestionDag)> =
        graphs.unwrap_or_default().iter().map(|graph| (graph.clone(), derive(graph))).collect();
    let derived: HashMap<&str, &(SceneGraph, QuestionDag)> =
        derived.iter().rev().map(|one| (one.0.img_id.as_str(), one)).collect();
    let bar = output::bar(images.len() as u64, "asking");
    for chunk in images.chunks(CHUNK) {
        let prepared: Vec<Result<Prepared<'_>, String>> = chunk
            .par_iter()
            .map(|image| {
                let item = find_item(image, questions, &RecordedAnswers::default())?;
                let graph = derived.get(item.item_id.as_str()).copied();
                let crops = crops(&folder.join(image), num_crops, resolution)?;
                let asked = item.questions.iter().zip(1..).map(|(question, id)| Asked { id, text: &question.text });
                Ok(Prepared { image: image.clone(), item, graph, crops, asked: asked.collect() })
            })
            .collect();
        let mut ready = Vec::new();
        for (image, one) in chunk.iter().zip(prepared) {
            match one {
                Ok(one) => ready.push(one),
                Err(reason) => drop(failures.insert(image.clone(), reason)),
            }
        }
        let inquiries: Vec<Inquiry<'_>> = ready
            .iter()
            .flat_map(|one| {
                let graph = one.graph.map(|(graph, dag)| (graph, dag));
                one.crops.iter().map(move |image| Inquiry { image, questions: &one.asked, graph })
            })
            .collect();
        let places = ready.iter().flat_map(|one| (1..).take(one.crops.len()).map(move |crop| (one, crop)));
        for ((one, crop), outcome) in places.zip(answerer.answer_many(&inquiries)) {
            match outcome {
                Ok(given) => record(&mut answers, one, crop, num_crops, &given),
                Err(error) => drop(failures.insert(one.image.clone(), builder::task::error_text(&error))),
            }
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    (answers, failures)
}

fn record(answers: &mut RecordedAnswers, one: &Prepared<'_>, crop: u32, num_crops: u32, given: &[Answer]) {
    for answer in given {
        let Some(question) = (answer.question as usize).checked_sub(1).and_then(|i| one.item.questions.get(i)) else {
            continue;
        };
        let refused = answer.value == AnswerValue::CannotAnswer;
        answers.insert(RecordedAnswer {
            image: one.image.clone(),
            item_id: Some(one.item.item_id.clone()),
            proposition_id: question.proposition_id,
            answer: Some(answer.value.as_str().to_owned()),
            probability: (!refused).then(|| f64::from(answer.probability)),
            crop: (num_crops > 1).then_some(crop),
        });
    }
}

/// The picture, or the quarters of a grid: top left, top right, bottom left, bottom right.
fn crops(path: &Path, num_crops: u32, resolution: Option<u32>) -> Result<Vec<RgbImage>, String> {
    let bytes = fs_err::read(path).map_err(|error| error.to_string())?;
    let image = image::load_from_memory(&bytes).map_err(|error| format!("cannot be read: {error}"))?.to_rgb8();
    if num_crops == 1 && resolution.is_none() {
        return Ok(vec![image]);
    }
    let side = resolution.unwrap_or(image.width() / 2);
    // The published script pads with black what lies outside; black cannot be what somebody wanted to have judged.
    let enough = if num_crops == 1 { (side, side) } else { (2 * side, if num_crops > 2 { 2 * side } else { side }) };
    if image.width() < enough.0 || image.height() < enough.1 || side == 0 {
        let (width, height) = image.dimensions();
        return Err(format!("is {width} × {height}: too small for {num_crops} crops of {side} × {side}"));
    }
    let corners = [(0, 0), (side, 0), (0, side), (side, side)];
    let cut = |&(x, y): &(u32, u32)| image::imageops::crop_imm(&image, x, y, side, side).to_image();
    Ok(corners.iter().take(num_crops as usize).map(cut).collect())
}

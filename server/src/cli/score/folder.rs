//! A folder of pictures, questions and answers in; one line a picture and a summary out. No database.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use builder::answer::Answerer;
use builder::answer::blip_vqa::BlipVqaAnswerer;
use builder::answer::openai::OpenAiAnswerer;
use builder::answer::recorded::RecordedAnswers;
use builder::dpg_bench::question_file::QuestionFile;
use builder::dpg_bench::run::{self, CategoryScore, ImageScore, Outcome, Settings};
use builder::dpg_bench::{Mode, masking_of};
use builder::laion_sg::Record;
use builder::question::TEMPLATE_VERSION;
use builder::scene_graph::SceneGraph;
use builder::score::attribute_binding;
use builder::score::detections;
use builder::score::dpg::Masking;
use builder::score::recorded;
use clap::Args;
use serde_json::{Map, Value, json};

use super::super::endpoint::{self, OpenAi};
use super::super::{Global, Told, Usage, lint, output, session};

mod ask;
mod boxes;

pub(in super::super) use boxes::of_graph;

/// What is a picture, by the end of its name.
const PICTURES: [&str; 11] = ["bmp", "gif", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp", "avif"];

/// Options of scoring without a store.
#[derive(Debug, Args)]
#[command(next_help_heading = "A folder of pictures, without a database")]
pub(crate) struct Folder {
    /// The pictures; a picture's item is its name up to the first dot
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// Scene graphs (LAION-SG) whose questions are asked; an item is named by its `img_id`
    #[arg(long, value_name = "FILE", requires = "images", conflicts_with = "questions")]
    graphs: Option<PathBuf>,
    /// Questions in DPG-Bench's CSV form
    #[arg(long, value_name = "FILE", requires = "images")]
    questions: Option<PathBuf>,
    /// Answers (JSON lines of image, item_id, proposition_id, answer, probability, crop) instead of an answerer
    #[arg(long, value_name = "FILE", requires = "images")]
    answers: Option<PathBuf>,
    /// dpg; with --graphs also attribute, spatial, three_in_one, attribute_binding (T2I-CompBench's, one question an item),
    /// and from boxes t2i_spatial, t2i_spatial_3d, numeracy
    #[arg(long, value_name = "NAME", default_value = "dpg", value_parser = metric)]
    metric: String,
    /// `reference`: the published script's figure, its known faults included; `corrected`: without them
    #[arg(long, value_name = "MODE", default_value = "corrected")]
    mode: Mode,
    /// How a no masks the questions that depend on it: in-place, one-step or fixpoint [default: the mode's]
    #[arg(long, value_name = "RULE", value_parser = masking)]
    masking: Option<Masking>,
    /// Crops of a 2 × 2 grid that are used [default: as many as the answers name]
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u32).range(1..=4))]
    pic_num: Option<u32>,
    /// Side of one crop in pixels; needed where an answerer looks at grids
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=16384))]
    resolution: Option<u32>,
    /// Write the answers down, in the form that --answers reads
    #[arg(long, value_name = "FILE", requires = "images")]
    record: Option<PathBuf>,
    /// Write the questions down in DPG-Bench's CSV form, so that others can answer them, and stop
    #[arg(long, value_name = "FILE", requires = "images")]
    write_questions: Option<PathBuf>,
    /// Boxes (JSON lines of image and detections: label, box, confidence, depth) for the metrics from boxes
    #[arg(long, value_name = "FILE", requires = "images", conflicts_with = "detector_url")]
    boxes: Option<PathBuf>,
    /// Detector to ask for boxes instead; its key is read from DETECTOR_API_KEY. Neither: that of the synthetic world
    #[arg(long, env = "DETECTOR_URL", value_name = "URL")]
    detector_url: Option<String>,
    /// Which of the detector's models
    #[arg(long, env = "DETECTOR_MODEL", value_name = "NAME", default_value = "")]
    detector_model: String,
    /// For --answerer blip-vqa: a folder of transformers' BlipForQuestionAnswering
    #[arg(long, value_name = "DIR", requires = "images")]
    model: Option<PathBuf>,
    #[command(flatten)]
    openai: OpenAi,
}

/// One question a noun phrase; the other metrics share the graph's questions.
const BINDING: &str = "attribute_binding";

fn metric(word: &str) -> Result<String, String> {
    let known = || recorded::METRICS.into_iter().chain([BINDING]).chain(detections::METRICS);
    if known().any(|name| name == word) {
        return Ok(word.to_owned());
    }
    Err(format!("is one of {}", known().collect::<Vec<_>>().join(", ")))
}

fn masking(word: &str) -> Result<Masking, String> {
    match word {
        "in-place" => Ok(Masking::InPlace),
        "one-step" => Ok(Masking::OneStep),
        "fixpoint" => Ok(Masking::Fixpoint),
        _ => Err("is `in-place`, `one-step` or `fixpoint`".to_owned()),
    }
}

impl Folder {
    pub(crate) fn run(&self, folder: &Path, answerer: &str, global: &Global) -> anyhow::Result<()> {
        let graphs = self.graphs.as_deref().map(read_graphs).transpose()?;
        let questions = match (&graphs, &self.questions) {
            (Some(graphs), _) if self.metric == BINDING => QuestionFile::of_phrases(graphs),
            (Some(graphs), _) => QuestionFile::of_graphs(graphs),
            (None, Some(path)) => read_questions(path, self.mode)?,
            (None, None) => {
                return Err(Usage("name the questions: --graphs FILE or --questions FILE.csv".to_owned()).into());
            }
        };
        if self.metric != "dpg" && graphs.is_none() {
            return Err(Usage(format!(
                "--metric {} needs --graphs: a CSV file does not say what belongs together",
                self.metric
            ))
            .into());
        }
        if let Some(path) = &self.write_questions {
            return write_questions(path, &questions, graphs.as_deref().unwrap_or_default());
        }
        let images = list_pictures(folder)?;
        if let (true, Some(graphs)) = (detections::METRICS.contains(&self.metric.as_str()), &graphs) {
            let outcome = self.score_boxes(folder, &images, &questions, graphs)?;
            self.print(&outcome, None, 1, global.json)?;
            return if outcome.score.is_none() { Err(Told.into()) } else { Ok(()) };
        }
        let (answers, failures) = match &self.answers {
            Some(path) => (read_answers(path)?, HashMap::new()),
            None => {
                // Phrases are no questions of a graph: who answers gets the words alone.
                let graphs = graphs.as_deref().filter(|_| self.metric != BINDING);
                self.ask(folder, &images, &questions, graphs, answerer, global)?
            }
        };
        if let Some(path) = &self.record {
            write_answers(path, &answers)?;
        }
        let num_crops = self.pic_num.unwrap_or_else(|| answers.max_crop());
        let mut outcome = self.score(&images, &questions, graphs.as_deref(), &answers, num_crops);
        for image in &mut outcome.images {
            // Who failed to answer knows better why there is no answer.
            let reason = image.image.as_ref().and_then(|name| failures.get(name));
            if let (Err(message), Some(reason)) = (&mut image.score, reason) {
                message.clone_from(reason);
            }
        }
        // A file's questions have the file's words; nobody but us words those of graphs.
        let wording = questions.of_graphs.then_some(TEMPLATE_VERSION);
        self.print(&outcome, wording, num_crops, global.json)?;
        if outcome.score.is_none() { Err(Told.into()) } else { Ok(()) }
    }

    /// Answers of an answerer, and by picture why there is none.
    fn ask(
        &self,
        folder: &Path,
        images: &[String],
        questions: &QuestionFile,
        graphs: Option<&[SceneGraph]>,
        name: &str,
        global: &Global,
    ) -> anyhow::Result<(RecordedAnswers, HashMap<String, String>)> {
        let num_crops = self.pic_num.unwrap_or(1);
        let all = |answerer: &dyn Answerer| {
            ask::everything(folder, images, questions, graphs, answerer, num_crops, self.resolution)
        };
        match name {
            "openai" => {
                let answerer = OpenAiAnswerer::new(self.openai.settings("--answerer openai")?)?;
                let found = all(&answerer);
                endpoint::tell("openai", answerer.spent());
                Ok(found)
            }
            "blip-vqa" => {
                let Some(model) = &self.model else {
                    return Err(Usage("--answerer blip-vqa needs --model DIR".to_owned()).into());
                };
                let answerer = BlipVqaAnswerer::open(model, &session::device(global)?)?;
                output::note(&format!("blip-vqa {}", answerer.version()));
                Ok(all(&answerer))
            }
            "shapes" if graphs.is_none() => {
                Err(Usage("`shapes` reads graphs only: give --graphs (and no attribute_binding), --answers FILE or another --answerer".to_owned())
                    .into())
            }
            _ => Ok(all(&*builder::task::score::answerer(name)?)),
        }
    }

    fn score(
        &self,
        images: &[String],
        questions: &QuestionFile,
        graphs: Option<&[SceneGraph]>,
        answers: &RecordedAnswers,
        num_crops: u32,
    ) -> Outcome {
        if self.metric == "dpg" {
            let masking = self.masking.unwrap_or(masking_of(self.mode));
            return run::score(images, questions, answers, Settings { mode: self.mode, num_crops, masking });
        }
        if self.metric == BINDING {
            return Outcome::of_images(attribute_binding::score(images, questions, answers, num_crops, self.mode));
        }
        let images = recorded::score(images, graphs.unwrap_or_default(), questions, answers, num_crops, &self.metric);
        Outcome::of_images(images)
    }

    fn print(&self, outcome: &Outcome, wording: Option<&str>, num_crops: u32, json: bool) -> anyhow::Result<()> {
        let metric = &self.metric;
        let line = |image| if json { image_line(image, metric).to_string() } else { describe(image) };
        output::lines(outcome.images.iter().map(line))?;
        if outcome.nearly_yes > 0 {
            let count = outcome.nearly_yes;
            output::note(&format!(
                "warning: {count} answers are a yes in other letters (\"Yes\", \" yes\"); only \"yes\" counts as one"
            ));
        }
        if outcome.missing > 0 {
            let count = outcome.missing;
            output::note(&format!(
                "warning: {count} items have no image and are scored 0; --mode reference leaves them out"
            ));
        }
        let scored = outcome.images.len() - outcome.failed;
        if json {
            let mode = self.mode.as_str();
            return output::json(&json!({ "summary": {
                "metric": metric, "score": outcome.score, "images": outcome.images.len(), "failed": outcome.failed,
                "by_category": flat(outcome), "mode": mode, "scored": scored, "missing": outcome.missing,
                "crops": num_crops, "template_version": wording, "categories": { "l1": detailed(&outcome.by_l1), "l2": detailed(&outcome.by_l2) },
            }}));
        }
        for (name, category) in flat(outcome) {
            output::line(&format!("  {name}: {:.2}", category.as_f64().unwrap_or_default()))?;
        }
        let score = outcome.score.map_or_else(|| "no score".to_owned(), |score| format!("{score:.2}"));
        let failed = outcome.failed;
        Ok(output::line(&format!(
            "{metric} ({}): {score} over {scored} images; {failed} could not be scored",
            self.mode
        ))?)
    }
}

/// 100 × by category, both levels together; a name of both levels is the first level's.
fn flat(outcome: &Outcome) -> Map<String, Value> {
    let both: BTreeMap<&String, &CategoryScore> = outcome.by_l2.iter().chain(&outcome.by_l1).collect();
    both.into_iter().map(|(name, category)| (name.clone(), json!(category.score()))).collect()
}

fn detailed(categories: &BTreeMap<String, CategoryScore>) -> Map<String, Value> {
    let one =
        |category: &CategoryScore| json!({ "n": category.n, "score": category.score(), "masked": category.masked() });
    categories.iter().map(|(name, category)| (name.clone(), one(category))).collect()
}

fn image_line(image: &ImageScore, metric: &str) -> Value {
    let ImageScore { image, item_id, score, parts } = image;
    let mut line = json!({
        "image": image, "metric": metric, "score": score.as_ref().ok(), "parts": parts, "item_id": item_id,
    });
    if let Err(reason) = score {
        line["error"] = json!(reason);
    }
    if image.is_none() {
        line["missing"] = json!(true);
    }
    line
}

fn describe(image: &ImageScore) -> String {
    let name = image.image.as_deref().or(image.item_id.as_deref()).unwrap_or_default();
    match (&image.score, &image.image) {
        (Ok(score), Some(_)) => format!("{name}: {score:.4}"),
        (Ok(score), None) => format!("{name}: {score:.4} (there is no image of it)"),
        (Err(reason), _) => format!("{name}: not scored: {reason}"),
    }
}

/// The graphs of a file; rejected records are told.
pub(in super::super) fn read_graphs(path: &Path) -> anyhow::Result<Vec<SceneGraph>> {
    let mut graphs = Vec::new();
    for record in lint::open(path)? {
        match record {
            Record::Graph { graph, .. } => graphs.push(*graph),
            Record::Rejected { findings, .. } => {
                for finding in &findings {
                    output::note(&lint::describe(finding));
                }
            }
        }
    }
    if graphs.is_empty() {
        anyhow::bail!("{}: there is no graph in it", path.display());
    }
    Ok(graphs)
}

fn read_questions(path: &Path, mode: Mode) -> anyhow::Result<QuestionFile> {
    let questions = QuestionFile::open(path, mode)?;
    for fault in &questions.faults {
        let kind = if fault.fatal { "error" } else { "warning" };
        let (line, field, message, item) = (fault.line, fault.field, &fault.message, &fault.item_id);
        output::note(&format!("{}:{line}: {field}: {kind}: {message} (item {item})", path.display()));
    }
    if questions.items.is_empty() {
        anyhow::bail!("{}: there is no question in it", path.display());
    }
    Ok(questions)
}

fn read_answers(path: &Path) -> anyhow::Result<RecordedAnswers> {
    let answers = RecordedAnswers::open(path)?;
    for fault in &answers.faults {
        let field = if fault.field.is_empty() { String::new() } else { format!("{}: ", fault.field) };
        output::note(&format!("{}:{}: {field}{}", path.display(), fault.line, fault.message));
    }
    if answers.is_empty() {
        anyhow::bail!("{}: there is no answer in it", path.display());
    }
    Ok(answers)
}

/// Names of the pictures in a folder, sorted; sub-folders are not looked into.
pub(in super::super) fn list_pictures(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        // A link may lead to a folder; asking about each file would take longer than reading the list.
        let is_folder =
            entry.file_type().is_ok_and(|kind| kind.is_dir() || (kind.is_symlink() && entry.path().is_dir()));
        let path = entry.path();
        let extension =
            path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
        if is_folder || !PICTURES.contains(&extension.as_str()) {
            continue;
        }
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) => names.push(name.to_owned()),
            None => output::note(&format!("warning: {} is left out: its name is not UTF-8", path.display())),
        }
    }
    if names.is_empty() {
        anyhow::bail!("{}: there is no picture in it ({})", folder.display(), PICTURES.join(", "));
    }
    names.sort_unstable();
    Ok(names)
}

fn write_questions(path: &Path, questions: &QuestionFile, graphs: &[SceneGraph]) -> anyhow::Result<()> {
    let captions: BTreeMap<&str, &str> =
        graphs.iter().map(|graph| (graph.img_id.as_str(), graph.caption.as_str())).collect();
    let out = BufWriter::new(fs_err::File::create(path)?);
    questions.write(out, |item| captions.get(item).map(|&caption| caption.to_owned()).unwrap_or_default())?;
    output::note(&format!("{} questions written to {}", questions.num_questions(), path.display()));
    Ok(())
}

fn write_answers(path: &Path, answers: &RecordedAnswers) -> anyhow::Result<()> {
    let mut out = BufWriter::new(fs_err::File::create(path)?);
    for answer in answers.sorted() {
        builder::answer::recorded::write_line(&mut out, answer)?;
    }
    Ok(out.flush()?)
}

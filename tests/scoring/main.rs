//! How fast pictures are scored: `make scoring` prints the table that docs/metrics.md holds.
//!
//! The paper's set in size: 2,785 graphs of the shapes world × 4 pictures (one as told, three with a fact changed), as PNG
//! files. The binary scores the folder by the exact answerer, then again from the answers that it wrote down; and the
//! step from answers in memory to score cards is measured by itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use builder::answer::shapes::ShapesAnswerer;
use builder::answer::{Answer, Answerer, Inquiry};
use builder::question::{QuestionDag, derive};
use builder::scene_graph::SceneGraph;
use builder::score::score_card;
use builder::shapes::{Scene, generate, render};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::Value;

const GRAPHS: usize = 2785;
const CANDIDATES: usize = 4;
/// Threads that compute.
const THREADS: usize = 2;
/// Seconds that the whole set may take.
const MOST_SECONDS: f64 = 60.0;
/// Candidates a second, from answers to score cards.
const LEAST_CARDS: f64 = 50_000.0;

fn main() -> anyhow::Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global()?;
    let folder = tempfile::tempdir()?;
    let scenes = pictures(folder.path())?;
    let pictures = GRAPHS * CANDIDATES;

    let asked = run(folder.path(), &["--answerer", "shapes", "--record", "answers.jsonl"])?;
    let again = run(folder.path(), &["--answers", "answers.jsonl"])?;
    ensure!(asked.summary == again.summary, "{} is not {}", again.summary, asked.summary);
    let (alone, together) = cards(&scenes)?;

    println!("| what | figure | reach | met |\n| --- | --- | --- | --- |");
    let mut met = true;
    let mut row = |what: &str, figure: String, reach: String, holds: bool| {
        met &= holds;
        println!("| {what} | {figure} | {reach} | {} |", if holds { "yes" } else { "no" });
    };
    let word = format!("{pictures} pictures by `shapes`, {THREADS} threads");
    row(&word, format!("{:.1} s", asked.seconds), format!("< {MOST_SECONDS:.0} s"), asked.seconds < MOST_SECONDS);
    let rate = pictures as f64 / again.seconds;
    let word = format!("{pictures} pictures from a file of answers, file and all: pictures/s");
    // Mostly reading and writing; the reach is for what comes between.
    row(&word, format!("{rate:.0}"), "–".to_owned(), true);
    for (threads, rate) in [(1, alone), (THREADS, together)] {
        let word = format!("answers in memory → score cards, {threads} threads: candidates/s");
        row(&word, format!("{rate:.0}"), format!("≥ {LEAST_CARDS:.0}"), rate >= LEAST_CARDS);
    }
    ensure!(met, "a line of the table is not met");
    Ok(())
}

/// Graphs and pictures in `folder`; the scenes, in order.
fn pictures(folder: &Path) -> anyhow::Result<Vec<Scene>> {
    let scenes = generate(1, GRAPHS);
    let name = |i: usize| format!("scene-{i:05}");
    let records: Vec<Value> = scenes.iter().enumerate().map(|(i, scene)| scene.to_laion_sg(&name(i))).collect();
    fs_err::write(folder.join("graphs.json"), serde_json::to_vec(&records)?)?;
    fs_err::create_dir(folder.join("pictures"))?;
    scenes.par_iter().enumerate().try_for_each(|(i, scene)| {
        let mut rng = ChaCha8Rng::seed_from_u64(i as u64);
        let mut scene = scene.clone();
        for k in 0..CANDIDATES {
            render(&scene.layout).save(folder.join(format!("pictures/{}_{k}.png", name(i))))?;
            scene = scene.corrupted(&mut rng);
        }
        anyhow::Ok(())
    })?;
    Ok(scenes)
}

struct Run {
    seconds: f64,
    summary: Value,
}

/// `diptych score` of the folder.
fn run(folder: &Path, more: &[&str]) -> anyhow::Result<Run> {
    let binary = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/diptych"));
    let started = Instant::now();
    let output = Command::new(binary)
        .current_dir(folder)
        .args(["score", "--json", "--images", "pictures", "--graphs", "graphs.json", "--threads", &THREADS.to_string()])
        .args(more)
        .output()
        .context("target/release/diptych; `make build` makes it")?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let last = output.stdout.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).context("no summary")?;
    Ok(Run { seconds, summary: serde_json::from_slice(last)? })
}

/// Candidates a second from answers to score cards, on one thread and on all; the best of five.
fn cards(scenes: &[Scene]) -> anyhow::Result<(f64, f64)> {
    let answerer = ShapesAnswerer::default();
    let asked: Vec<(QuestionDag, Vec<Answer>)> = scenes
        .par_iter()
        .enumerate()
        .map(|(i, scene)| {
            let graph = SceneGraph::from_laion_sg(&scene.to_laion_sg(&i.to_string()))?;
            let questions = derive(&graph);
            let image = render(&scene.layout);
            let answers = answerer
                .answer_many(&[Inquiry { image: &image, questions: &[], graph: Some((&graph, &questions)) }])
                .remove(0)?;
            anyhow::Ok((questions, answers))
        })
        .collect::<anyhow::Result<_>>()?;
    let count = asked.len() * CANDIDATES;
    let best = |work: &dyn Fn() -> usize| -> f64 {
        let fastest = (0..5).map(|_| {
            let started = Instant::now();
            assert_eq!(work(), count, "every card has a score");
            started.elapsed().as_secs_f64()
        });
        count as f64 / fastest.fold(f64::INFINITY, f64::min)
    };
    let one = |(questions, answers): &(QuestionDag, Vec<Answer>)| {
        (0..CANDIDATES).filter(|_| score_card(questions, answers).dpg.score.is_some()).count()
    };
    Ok((best(&|| asked.iter().map(one).sum()), best(&|| asked.par_iter().map(one).sum())))
}

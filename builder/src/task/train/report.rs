//! The final report of a job, out of what is stored: one JSON document, the same in words, and its plots.

use image::RgbImage;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use uuid::Uuid;

use crate::Result;
use crate::plot::{self, Curve, Point};
use crate::store::job_metric::JobMetric;
use crate::store::state::EvaluationRole;

/// Half the width of a 95 % interval, in standard errors.
const Z95: f64 = 1.96;
/// Points of a curve in a plot.
const POINTS: usize = 400;

/// An image of the final comparison.
pub(super) struct Picture {
    pub graph: Uuid,
    pub role: EvaluationRole,
    pub image: RgbImage,
}

/// How much the pictures of one graph differ from each other, before and after: the root mean square difference of pixels
/// in 0..1, the mean over all two pictures of a graph and then over graphs. A model that collapses loses it. None with
/// fewer than two pictures a graph.
pub(super) fn diversity(pictures: &[Picture]) -> Option<Value> {
    let of = |role: EvaluationRole| {
        let mut by_graph: BTreeMap<Uuid, Vec<&RgbImage>> = BTreeMap::new();
        for picture in pictures.iter().filter(|picture| picture.role == role) {
            by_graph.entry(picture.graph).or_default().push(&picture.image);
        }
        let means: Vec<f64> = by_graph.values().filter_map(|images| mean_distance(images)).collect();
        (!means.is_empty()).then(|| (means.iter().sum::<f64>() / means.len() as f64, means.len()))
    };
    let ((base, graphs), (trained, _)) = (of(EvaluationRole::Base)?, of(EvaluationRole::Trained)?);
    Some(json!({ "base": base, "trained": trained, "graphs": graphs }))
}

fn mean_distance(images: &[&RgbImage]) -> Option<f64> {
    let mut distances = Vec::new();
    for (place, one) in images.iter().enumerate() {
        for other in &images[place + 1..] {
            let squares = one.as_raw().iter().zip(other.as_raw()).map(|(a, b)| {
                let difference = (f64::from(*a) - f64::from(*b)) / 255.0;
                difference * difference
            });
            distances.push((squares.sum::<f64>() / one.as_raw().len().max(1) as f64).sqrt());
        }
    }
    (!distances.is_empty()).then(|| distances.iter().sum::<f64>() / distances.len() as f64)
}

/// The plots of a report by file name: what there is to plot.
pub(super) fn plots(report: &Value, metrics: &[JobMetric]) -> Result<Vec<(&'static str, String)>> {
    let mut plots = Vec::new();
    let mut add = |name, plot: Option<String>| plots.extend(plot.map(|plot| (name, plot)));
    add(
        "selection.svg",
        plot::curves(
            "Held-out score while training, less that of the reference (95 %)",
            "step",
            "Δ score",
            &[Curve { name: "selection graphs".to_owned(), points: selection_points(report) }],
        )?,
    );
    for (file, field, title) in [
        ("loss.svg", "loss", "Loss"),
        ("accuracy.svg", "pair_accuracy", "Share of pairs whose winner is preferred"),
        ("drift.svg", "drift", "Drift: root mean square of ε_θ − ε_ref"),
    ] {
        add(file, plot::curves(title, "step", field, &[metric_curve(field, metrics)])?);
    }
    let kinds = report["evaluation"]["by_kind"].as_object();
    let all = [("all".to_owned(), &report["evaluation"])];
    let kinds = all.into_iter().chain(kinds.into_iter().flatten().map(|(kind, value)| (kind.clone(), value)));
    let bars: Vec<(String, Point)> = kinds.map(|(kind, value)| (kind, delta(value))).collect();
    add("kinds.svg", plot::bars("Trained less reference on held-out graphs (95 %)", "Δ score", &bars)?);
    Ok(plots)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn delta(difference: &Value) -> Point {
    let interval = &difference["delta_ci95"];
    let interval = interval[0].as_f64().zip(interval[1].as_f64());
    Point { x: 0.0, y: number(&difference["delta"]), interval }
}

fn selection_points(report: &Value) -> Vec<Point> {
    let scores = report["selection"]["scores"].as_array();
    scores
        .into_iter()
        .flatten()
        .map(|one| {
            let (delta, se) = (number(&one["delta"]), one["delta_se"].as_f64());
            let interval = se.map(|se| (delta - Z95 * se, delta + Z95 * se));
            Point { x: number(&one["step"]), y: delta, interval }
        })
        .collect()
}

/// Means over as many steps as keep the curve readable.
fn metric_curve(field: &str, metrics: &[JobMetric]) -> Curve {
    let values: Vec<(f64, f64)> =
        metrics.iter().filter_map(|one| Some((f64::from(one.step), one.metrics[field].as_f64()?))).collect();
    let mean = |part: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| part.iter().map(of).sum::<f64>() / part.len() as f64;
    let points = values.chunks(values.len().div_ceil(POINTS).max(1)).map(|part| Point {
        x: mean(part, |one| one.0),
        y: mean(part, |one| one.1),
        interval: None,
    });
    Curve { name: field.to_owned(), points: points.collect() }
}

/// The report in words.
pub(super) fn markdown(report: &Value, plots: &[(&str, String)]) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut out = format!("# {}\n\n", text(&report["spec"]["name"]));
    let _ = writeln!(
        out,
        "`{}`, {} steps in {:.0} s; the weights of step {} are kept.\n",
        text(&report["objective"]),
        report["training_steps"],
        number(&report["training_seconds"]),
        report["chosen_step"],
    );
    out.push_str(&scores(report));
    for (file, _) in plots {
        let _ = writeln!(out, "![{}]({file})\n", file.trim_end_matches(".svg"));
    }
    let lineage = &report["lineage"];
    let _ = writeln!(out, "## From what\n\n| | |\n| --- | --- |");
    for (name, key) in
        [("reference", "model_hash"), ("pairing", "pairing_hash"), ("pairs", "pairs"), ("weights", "weights_sha256")]
    {
        let _ = writeln!(out, "| {name} | `{}` |", text(&lineage[key]));
    }
    let spec = serde_json::to_string_pretty(&report["spec"]).unwrap_or_default();
    let _ = writeln!(out, "\n## Settings\n\n```json\n{spec}\n```");
    out
}

/// The comparison on held-out graphs as a table; a sentence where there was none.
pub(super) fn scores(report: &Value) -> String {
    let result = &report["evaluation"];
    if !result["delta"].is_number() {
        return "No comparison on held-out graphs was made.\n\n".to_owned();
    }
    let mut out = format!(
        "On {} held-out graphs, {} images a model, with the same noises:\n\n| questions | reference | trained | Δ | standard \
         error | 95 % | graphs won |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        result["evaluated_graphs"], result["evaluated_images"],
    );
    let kinds = result["by_kind"].as_object();
    let rows = [("all", result)].into_iter().chain(kinds.into_iter().flatten().map(|(kind, one)| (kind.as_str(), one)));
    for (kind, one) in rows {
        let interval = &one["delta_ci95"];
        let _ = writeln!(
            out,
            "| {kind} | {:.4} | {:.4} | {:+.4} | {} | {} | {:.1} % |",
            number(&one["base_score"]),
            number(&one["trained_score"]),
            number(&one["delta"]),
            one["delta_se"].as_f64().map_or_else(|| "–".to_owned(), |se| format!("{se:.4}")),
            interval[0]
                .as_f64()
                .zip(interval[1].as_f64())
                .map_or_else(|| "–".to_owned(), |(low, high)| format!("{low:+.4} … {high:+.4}")),
            100.0 * number(&one["win_rate"]),
        );
    }
    out.push('\n');
    if let (Some(base), Some(trained)) = (report["diversity"]["base"].as_f64(), report["diversity"]["trained"].as_f64())
    {
        let _ = writeln!(
            out,
            "Diversity (root mean square difference of two pictures of a graph, {} graphs): reference {base:.4}, trained \
             {trained:.4}.\n",
            report["diversity"]["graphs"],
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(graph: u128, role: EvaluationRole, value: u8) -> Picture {
        let image = RgbImage::from_pixel(2, 2, image::Rgb([value; 3]));
        Picture { graph: Uuid::from_u128(graph), role, image }
    }

    #[test]
    fn diversity_is_the_mean_distance_within_graphs() {
        use EvaluationRole::{Base, Trained};
        let pictures = [
            picture(1, Base, 0),
            picture(1, Base, 255),
            picture(2, Base, 51),
            picture(2, Base, 51),
            picture(1, Trained, 0),
            picture(1, Trained, 51),
            picture(2, Trained, 0),
            picture(2, Trained, 0),
        ];
        let found = diversity(&pictures).unwrap();
        assert!((found["base"].as_f64().unwrap() - 0.5).abs() < 1e-9, "{found}");
        assert!((found["trained"].as_f64().unwrap() - 0.1).abs() < 1e-9, "{found}");
        assert_eq!(found["graphs"], 2);
        assert_eq!(diversity(&[picture(1, Base, 0), picture(1, Trained, 0)]), None);
    }

    #[test]
    fn a_report_tells_scores_and_lineage_and_shows_its_plots() {
        let difference = json!({"base_score": 0.7, "trained_score": 0.75, "delta": 0.05, "delta_se": 0.01,
            "delta_ci95": [0.03, 0.07], "win_rate": 0.6, "evaluated_graphs": 30, "evaluated_images": 60});
        let mut result = difference.clone();
        result["by_kind"] = json!({ "relation": difference });
        let report = json!({
            "objective": "inversion-dpo", "training_steps": 100, "training_seconds": 12.3, "chosen_step": 50,
            "selection": {"scores": [{"step": 50, "score": 0.7, "delta": 0.02, "delta_se": 0.01},
                {"step": 100, "score": 0.7, "delta": 0.01, "delta_se": 0.01}]},
            "evaluation": result, "diversity": {"base": 0.2, "trained": 0.19, "graphs": 24},
            "lineage": {"model_hash": "abc", "pairing_hash": "def", "pairs": 10, "weights_sha256": "ghi"},
            "spec": {"name": "a test"},
        });
        let metric = |step: i32| JobMetric { step, metrics: json!({ "loss": 0.69, "drift": 0.01 }) };
        let plots = plots(&report, &[metric(1), metric(2)]).unwrap();
        let names: Vec<&str> = plots.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["selection.svg", "loss.svg", "drift.svg", "kinds.svg"]);
        let text = markdown(&report, &plots);
        for part in
            ["# a test", "+0.0500", "+0.0300 … +0.0700", "60.0 %", "| relation |", "`def`", "](loss.svg)", "0.19"]
        {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(scores(&json!({})).contains("No comparison"));
    }
}

//! The results of an experiment as a table in Markdown, and as plots.
//!
//! Δ of a run is the mean over its seeds of the difference from the reference on the held-out graphs. Its standard error has
//! two parts: the graphs, the same for every seed, so that more seeds do not shrink it; and the seeds, s.d./√n.

use serde_json::{Value, json};
use std::fmt::Write as _;

use crate::Result;
use crate::plot::{self, Curve, Point};

/// Half the width of a 95 % interval, in standard errors.
const Z95: f64 = 1.96;

/// Mean and spread of a quantity over the seeds of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Mean over seeds.
    pub mean: f64,
    /// Of the mean: graphs and seeds together; none where neither is known.
    pub se: Option<f64>,
    /// Standard deviation between seeds; none with a single one.
    pub between_seeds: Option<f64>,
}

impl Estimate {
    /// Of values with their standard errors by graph; none without values.
    pub fn of(values: &[(f64, Option<f64>)]) -> Option<Self> {
        let count = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().map(|(value, _)| value).sum::<f64>() / count;
        let squares: Option<Vec<f64>> = values.iter().map(|(_, se)| se.map(|se| se * se)).collect();
        let by_graph = squares.map(|squares| squares.iter().sum::<f64>() / count);
        let between = (values.len() > 1)
            .then(|| values.iter().map(|(value, _)| (value - mean).powi(2)).sum::<f64>() / (count - 1.0));
        let se = match (by_graph, between) {
            (None, None) => None,
            (graphs, seeds) => Some((graphs.unwrap_or(0.0) + seeds.unwrap_or(0.0) / count).sqrt()),
        };
        Some(Self { mean, se, between_seeds: between.map(f64::sqrt) })
    }

    fn point(self, x: f64) -> Point {
        Point { x, y: self.mean, interval: self.se.map(|se| (self.mean - Z95 * se, self.mean + Z95 * se)) }
    }

    /// `+.0312 (.0061)`
    fn text(self) -> String {
        let se = self.se.map_or_else(String::new, |se| format!(" ({se:.4})"));
        format!("{:+.4}{se}", self.mean)
    }
}

/// Adds to each run of `results` what its trials come to: `delta`, `win_rate`, `by_kind`, `curve`.
pub fn summarize(results: &mut Value) {
    let Some(runs) = results["runs"].as_array_mut() else { return };
    for run in runs {
        let trials: Vec<Value> = trials(run).cloned().collect();
        let of = |path: &str| Estimate::of(&values(&trials, path));
        let summary = json!({
            "seeds": trials.len(),
            "delta": of("/evaluation").map(estimate_json),
            "win_rate": mean(&trials, "/evaluation/win_rate"),
            "base_score": mean(&trials, "/evaluation/base_score"),
            "trained_score": mean(&trials, "/evaluation/trained_score"),
            "training_seconds": mean(&trials, "/training_seconds"),
            "training_steps": mean(&trials, "/training_steps"),
            "chosen_step": mean(&trials, "/chosen_step"),
            "diversity": mean(&trials, "/diversity/trained"),
            "base_diversity": mean(&trials, "/diversity/base"),
            "image_forwards": mean(&trials, "/training_steps").zip(mean(&trials, "/image_forwards_per_step"))
                .map(|(steps, each)| steps * each),
            "image_forwards_before": mean(&trials, "/image_forwards_before"),
            "by_kind": kinds(&trials).into_iter()
                .filter_map(|kind| Some((kind.clone(), estimate_json(of(&format!("/evaluation/by_kind/{kind}"))?))))
                .collect::<serde_json::Map<String, Value>>(),
            "curve": curve(&trials).into_iter()
                .map(|(step, found)| {
                    let mut point = estimate_json(found);
                    point["step"] = json!(step);
                    point
                })
                .collect::<Vec<Value>>(),
        });
        run["summary"] = summary;
    }
}

fn estimate_json(one: Estimate) -> Value {
    json!({ "mean": one.mean, "se": one.se, "between_seeds": one.between_seeds })
}

/// The trials of a run that came to an end.
fn trials(run: &Value) -> impl Iterator<Item = &Value> {
    run["trials"].as_array().into_iter().flatten().filter(|trial| trial["evaluation"]["delta"].is_number())
}

/// `delta` and `delta_se` of what lies at `path` in each trial.
fn values(trials: &[Value], path: &str) -> Vec<(f64, Option<f64>)> {
    let found = trials.iter().filter_map(|trial| trial.pointer(path));
    found.filter_map(|one| Some((one["delta"].as_f64()?, one["delta_se"].as_f64()))).collect()
}

fn mean(trials: &[Value], path: &str) -> Option<f64> {
    let values: Vec<f64> = trials.iter().filter_map(|trial| trial.pointer(path)?.as_f64()).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn kinds(trials: &[Value]) -> Vec<String> {
    let of = |trial: &Value| trial["evaluation"]["by_kind"].as_object().map(|kinds| kinds.keys().cloned().collect());
    let mut kinds: Vec<String> = trials.iter().filter_map(of).flat_map(|kinds: Vec<String>| kinds).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// The difference on the selection graphs by step, over the seeds that got there.
fn curve(trials: &[Value]) -> Vec<(i64, Estimate)> {
    let scores = |trial: &Value| trial["selection"]["scores"].as_array().cloned().unwrap_or_default();
    let all: Vec<Vec<Value>> = trials.iter().map(scores).collect();
    let mut steps: Vec<i64> = all.iter().flatten().filter_map(|one| one["step"].as_i64()).collect();
    steps.sort_unstable();
    steps.dedup();
    let at = |step: i64| {
        let found = all.iter().filter_map(|scores| scores.iter().find(|one| one["step"] == step));
        let values: Vec<_> = found.filter_map(|one| Some((one["delta"].as_f64()?, one["delta_se"].as_f64()))).collect();
        Some((step, Estimate::of(&values)?))
    };
    steps.into_iter().filter_map(at).collect()
}

fn estimate(value: &Value) -> Option<Estimate> {
    Some(Estimate {
        mean: value["mean"].as_f64()?,
        se: value["se"].as_f64(),
        between_seeds: value["between_seeds"].as_f64(),
    })
}

fn runs(results: &Value) -> impl Iterator<Item = &Value> {
    results["runs"].as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// The table of summarized results, with the curves by step and the figures of the inversions below it.
pub fn markdown(results: &Value) -> String {
    let data = &results["data"];
    let mut out = format!("## {}\n\n", text(&results["title"]));
    if !text(&results["about"]).is_empty() {
        let _ = writeln!(out, "{}\n", text(&results["about"]).trim());
    }
    let _ = writeln!(
        out,
        "{} candidates a graph (seed {}, DDIM {} steps, guidance {}); compared on {} held-out graphs × {} noises. Δ: trained \
         less reference, in brackets its standard error over graphs and seeds.\n",
        data["num_candidates"],
        data["seed"],
        data["num_inference_steps"],
        data["guidance_scale"],
        data["evaluation_graphs"],
        data["num_noises"],
    );
    let mut kinds: Vec<&String> =
        runs(results).filter_map(|run| run["summary"]["by_kind"].as_object()).flat_map(|kinds| kinds.keys()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    out.push_str(
        "| run | graphs | pairs | seeds | steps | image-forwards | seconds | base | trained | Δ | s.d. of seeds |",
    );
    kinds.iter().for_each(|kind| out.push_str(&format!(" Δ {kind} |")));
    out.push_str(" graphs won | diversity |\n| --- |");
    out.push_str(&" ---: |".repeat(12 + kinds.len()));
    out.push('\n');
    for run in runs(results) {
        let summary = &run["summary"];
        let number = |key: &str, digits: usize| {
            summary[key].as_f64().map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
        };
        let found = estimate(&summary["delta"]);
        let _ = write!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            text(&run["name"]),
            run["graphs"],
            run["pairs"],
            summary["seeds"],
            number("training_steps", 0),
            number("image_forwards", 0),
            number("training_seconds", 0),
            number("base_score", 4),
            number("trained_score", 4),
            found.map_or_else(|| "–".to_owned(), Estimate::text),
            found.and_then(|one| one.between_seeds).map_or_else(|| "–".to_owned(), |one| format!("{one:.4}")),
        );
        for kind in &kinds {
            let found = estimate(&summary["by_kind"][kind.as_str()]);
            let _ = write!(out, " {} |", found.map_or_else(|| "–".to_owned(), Estimate::text));
        }
        let won = summary["win_rate"].as_f64().map_or_else(|| "–".to_owned(), |won| format!("{:.1} %", 100.0 * won));
        let _ = writeln!(out, " {won} | {} |", number("diversity", 4));
    }
    out.push('\n');
    out.push_str(&failures(results));
    out.push_str(&curves_table(results));
    out.push_str(&inversions_table(results));
    out
}

/// Trainings that came to no result, and why.
fn failures(results: &Value) -> String {
    let mut out = String::new();
    for run in runs(results) {
        let failed = run["trials"].as_array().into_iter().flatten().filter(|trial| trial["state"] != "succeeded");
        for trial in failed {
            let _ = writeln!(
                out,
                "- `{}`, seed {}: {} ({})",
                text(&run["name"]),
                trial["seed"],
                text(&trial["state"]),
                trial["error"].as_str().unwrap_or("no reason given"),
            );
        }
    }
    if out.is_empty() { out } else { format!("Without a result:\n\n{out}\n") }
}

/// Δ on the selection graphs by step: a run a row.
fn curves_table(results: &Value) -> String {
    let curves = curves(results);
    let mut steps: Vec<i64> = curves.iter().flat_map(|curve| &curve.points).map(|point| point.x as i64).collect();
    steps.sort_unstable();
    steps.dedup();
    if steps.len() < 2 {
        return String::new();
    }
    let mut out = "Δ on the selection graphs after so many steps:\n\n| run |".to_owned();
    steps.iter().for_each(|step| out.push_str(&format!(" {step} |")));
    out.push_str("\n| --- |");
    out.push_str(&" ---: |".repeat(steps.len()));
    out.push('\n');
    for curve in &curves {
        let _ = write!(out, "| {} |", curve.name);
        for step in &steps {
            let found = curve.points.iter().find(|point| point.x as i64 == *step);
            let found = found.map_or_else(
                || "–".to_owned(),
                |point| {
                    let se = point
                        .interval
                        .map_or_else(String::new, |(low, high)| format!(" ({:.4})", (high - low) / (2.0 * Z95)));
                    format!("{:+.4}{se}", point.y)
                },
            );
            let _ = write!(out, " {found} |");
        }
        out.push('\n');
    }
    out.push('\n');
    out
}

fn inversions_table(results: &Value) -> String {
    let rows: Vec<&Value> = runs(results).filter(|run| run["inversion"].is_object()).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut out = "The paths (terminal noise: deviation 1 and correlation 0 are ideal; reconstruction: mean square):\n\n| run | \
                   terminal deviation | neighbour correlation | reconstruction error | variance of latents |\n| --- | ---: \
                   | ---: | ---: | ---: |\n"
        .to_owned();
    for run in rows {
        let number = |key: &str| run["inversion"][key].as_f64().unwrap_or(f64::NAN);
        let _ = writeln!(
            out,
            "| {} | {:.3} | {:+.3} | {:.4} | {:.3} |",
            text(&run["name"]),
            number("terminal_std"),
            number("terminal_autocorrelation"),
            number("reconstruction_error"),
            number("latent_variance"),
        );
    }
    out.push('\n');
    out
}

fn curves(results: &Value) -> Vec<Curve> {
    let point = |one: &Value| Some(estimate(one)?.point(one["step"].as_f64()?));
    runs(results)
        .map(|run| Curve {
            name: text(&run["name"]).to_owned(),
            points: run["summary"]["curve"].as_array().into_iter().flatten().filter_map(point).collect(),
        })
        .filter(|curve| !curve.points.is_empty())
        .collect()
}

/// The plots of summarized results by file name.
///
/// # Errors
/// One cannot be drawn.
pub fn plots(results: &Value) -> Result<Vec<(String, String)>> {
    let name = text(&results["name"]);
    let title = text(&results["title"]);
    let bars: Vec<(String, Point)> = runs(results)
        .filter_map(|run| Some((text(&run["name"]).to_owned(), estimate(&run["summary"]["delta"])?.point(0.0))))
        .collect();
    let bars = plot::bars(title, "Δ held-out score (95 %)", &bars)?;
    let curves = plot::curves(title, "step", "Δ on selection graphs (95 %)", &curves(results))?;
    let found = [(format!("{name}-delta.svg"), bars), (format!("{name}-curves.svg"), curves)];
    Ok(found.into_iter().filter_map(|(name, plot)| Some((name, plot?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_graphs_do_not_shrink_with_seeds() {
        let one = Estimate::of(&[(0.03, Some(0.006))]).unwrap();
        assert_eq!((one.mean, one.se, one.between_seeds), (0.03, Some(0.006), None));
        let three = Estimate::of(&[(0.02, Some(0.006)), (0.03, Some(0.006)), (0.04, Some(0.006))]).unwrap();
        let expected = (0.006f64.powi(2) + 0.01f64.powi(2) / 3.0).sqrt();
        assert!((three.mean - 0.03).abs() < 1e-12 && (three.se.unwrap() - expected).abs() < 1e-12, "{three:?}");
        assert_eq!(Estimate::of(&[]), None);
    }

    fn trial(seed: u64, delta: f64) -> Value {
        json!({
            "seed": seed, "state": "succeeded", "training_steps": 100, "image_forwards_per_step": 64,
            "evaluation": {"delta": delta, "delta_se": 0.006, "win_rate": 0.6, "base_score": 0.7, "trained_score": 0.7 + delta,
                "by_kind": {"relation": {"delta": delta, "delta_se": 0.01}}},
            "selection": {"scores": [{"step": 50, "delta": delta / 2.0, "delta_se": 0.01}, {"step": 100, "delta": delta,
                "delta_se": 0.01}]},
        })
    }

    #[test]
    fn a_table_has_a_line_a_run_and_tells_failures() {
        let mut results = json!({
            "name": "test", "title": "A test", "data": {"num_candidates": 4},
            "runs": [
                {"name": "good", "graphs": 10, "pairs": 9, "trials": [trial(0, 0.02), trial(1, 0.04)],
                    "inversion": {"terminal_std": 0.99, "terminal_autocorrelation": 0.1, "reconstruction_error": 0.1,
                        "latent_variance": 0.43}},
                {"name": "stuck", "graphs": 10, "pairs": 9,
                    "trials": [{"seed": 0, "state": "failed", "error": "the gradient is zero"}]},
            ],
        });
        summarize(&mut results);
        let text = markdown(&results);
        for part in [
            "| good | 10 | 9 | 2 | 100 | 6400 |",
            "+0.0300 (0.0117)",
            "| stuck | 10 | 9 | 0 |",
            "the gradient is zero",
            "| good | +0.0150",
            "| good | 0.990 | +0.100 |",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        let names: Vec<String> = plots(&results).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["test-delta.svg", "test-curves.svg"]);
    }
}

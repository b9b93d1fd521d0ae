//! Base against trained on the same graphs and noises: the paired difference, and how sure it is.
//!
//! Images of one graph resemble each other, so graphs, not images, are what is drawn: the standard error is clustered by
//! graph, and the bootstrap draws graphs with replacement.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2_000;

/// The same graph and noise, drawn by both models.
#[derive(Clone, Debug)]
pub struct ImagePair {
    /// The graph.
    pub graph: Uuid,
    /// The base model's score.
    pub base: f64,
    /// The trained model's score.
    pub trained: f64,
    /// The base model's score by kind of question; kinds that the graph has.
    pub base_by_kind: BTreeMap<String, f64>,
    /// The trained model's.
    pub trained_by_kind: BTreeMap<String, f64>,
}

/// A paired comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Everything together.
    #[serde(flatten)]
    pub overall: Difference,
    /// By kind of question, over the images that have it.
    pub by_kind: BTreeMap<String, Difference>,
    /// Images of which a score was missing or no number; they are in nothing above.
    pub failed_images: usize,
}

/// Two means over the same images, and their difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Mean over the images of the base model.
    pub base_score: f64,
    /// Mean over the images of the trained model.
    pub trained_score: f64,
    /// Trained less base.
    pub delta: f64,
    /// Standard error of `delta`, clustered by graph; none with a single graph.
    pub delta_se: Option<f64>,
    /// 95 % interval of `delta`: percentiles of 2,000 bootstrap resamples of the graphs; none with a single graph.
    pub delta_ci95: Option<[f64; 2]>,
    /// Share of graphs on which the trained model is better; a tie counts one half.
    pub win_rate: f64,
    /// Graphs with at least one image.
    pub evaluated_graphs: usize,
    /// Pairs of images.
    pub evaluated_images: usize,
}

/// Compares; `seed` is the bootstrap's. None if no pair of images has two scores.
pub fn compare(images: &[ImagePair], seed: u64) -> Option<Comparison> {
    let good: Vec<&ImagePair> =
        images.iter().filter(|image| image.base.is_finite() && image.trained.is_finite()).collect();
    let overall = difference(good.iter().map(|image| (image.graph, image.base, image.trained)), seed)?;
    let mut kinds: Vec<&String> = good.iter().flat_map(|image| image.base_by_kind.keys()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let by_kind = kinds
        .into_iter()
        .filter_map(|kind| {
            let of_kind = good.iter().filter_map(|image| {
                let (base, trained) = (*image.base_by_kind.get(kind)?, *image.trained_by_kind.get(kind)?);
                (base.is_finite() && trained.is_finite()).then_some((image.graph, base, trained))
            });
            Some((kind.clone(), difference(of_kind, seed)?))
        })
        .collect();
    Some(Comparison { overall, by_kind, failed_images: images.len() - good.len() })
}

/// One graph's images.
#[derive(Clone, Copy, Default)]
struct Cluster {
    base: f64,
    trained: f64,
    count: f64,
}

fn difference(images: impl Iterator<Item = (Uuid, f64, f64)>, seed: u64) -> Option<Difference> {
    let mut by_graph: BTreeMap<Uuid, Cluster> = BTreeMap::new();
    for (graph, base, trained) in images {
        let cluster = by_graph.entry(graph).or_default();
        cluster.base += base;
        cluster.trained += trained;
        cluster.count += 1.0;
    }
    let clusters: Vec<Cluster> = by_graph.into_values().collect();
    let sum = |f: fn(&Cluster) -> f64| clusters.iter().map(f).sum::<f64>();
    let (num_graphs, num_images) = (clusters.len() as f64, sum(|cluster| cluster.count));
    if clusters.is_empty() {
        return None;
    }
    let (base_score, trained_score) =
        (sum(|cluster| cluster.base) / num_images, sum(|cluster| cluster.trained) / num_images);
    let delta = trained_score - base_score;
    let wins = clusters.iter().map(|cluster| match cluster.trained.total_cmp(&cluster.base) {
        _ if cluster.trained == cluster.base => 0.5,
        std::cmp::Ordering::Greater => 1.0,
        _ => 0.0,
    });
    let several = clusters.len() > 1;
    Some(Difference {
        base_score,
        trained_score,
        delta,
        delta_se: several.then(|| {
            let squares =
                clusters.iter().map(|cluster| (cluster.trained - cluster.base - delta * cluster.count).powi(2));
            (squares.sum::<f64>() * num_graphs / (num_graphs - 1.0)).sqrt() / num_images
        }),
        delta_ci95: several.then(|| bootstrap(&clusters, seed)),
        win_rate: wins.sum::<f64>() / num_graphs,
        evaluated_graphs: clusters.len(),
        evaluated_images: num_images as usize,
    })
}

fn bootstrap(clusters: &[Cluster], seed: u64) -> [f64; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut deltas: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let (mut sum, mut count) = (0.0, 0.0);
            for _ in 0..clusters.len() {
                let cluster = clusters[rng.random_range(0..clusters.len())];
                sum += cluster.trained - cluster.base;
                count += cluster.count;
            }
            sum / count
        })
        .collect();
    deltas.sort_unstable_by(f64::total_cmp);
    [0.025, 0.975].map(|share| percentile(&deltas, share))
}

/// Linear between the two nearest values, as numpy does.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, rest) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(graph: u128, base: f64, trained: f64) -> ImagePair {
        let kinds = |score: f64| {
            if graph.is_multiple_of(2) { BTreeMap::from([("relation".to_owned(), score)]) } else { BTreeMap::new() }
        };
        ImagePair {
            graph: Uuid::from_u128(graph),
            base,
            trained,
            base_by_kind: kinds(base),
            trained_by_kind: kinds(trained),
        }
    }

    #[test]
    fn known_numbers() {
        // Deltas by graph: 0.2 (twice), 0.0, -0.1.
        let images = [image(1, 0.5, 0.7), image(1, 0.3, 0.5), image(2, 0.5, 0.5), image(3, 0.6, 0.5)];
        let found = compare(&images, 0).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(found.overall.base_score, 0.475);
        close(found.overall.delta, 0.075);
        // Sums less their share: 0.4 - 0.15, 0 - 0.075, -0.1 - 0.075.
        close(
            found.overall.delta_se.unwrap(),
            ((0.25_f64.powi(2) + 0.075_f64.powi(2) + 0.175_f64.powi(2)) * 1.5).sqrt() / 4.0,
        );
        assert_eq!(found.overall.win_rate, 0.5);
        assert_eq!((found.overall.evaluated_graphs, found.overall.evaluated_images), (3, 4));
        assert_eq!(found.by_kind["relation"].evaluated_graphs, 1);
        assert_eq!(found.by_kind["relation"].delta_se, None);
        assert_eq!(compare(&images, 0), Some(found));
    }

    #[test]
    fn what_is_no_number_is_counted_apart() {
        let found = compare(&[image(1, f64::NAN, 0.5), image(2, 0.5, 0.75)], 0).unwrap();
        assert_eq!((found.failed_images, found.overall.delta), (1, 0.25));
        assert_eq!(compare(&[image(1, f64::NAN, 0.5)], 0), None);
    }

    #[test]
    fn interval_and_standard_error_agree() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let images: Vec<ImagePair> = (0..900).map(|i| image(i / 3, rng.random(), rng.random::<f64>() + 0.05)).collect();
        let overall = compare(&images, 7).unwrap().overall;
        let [low, high] = overall.delta_ci95.unwrap();
        let width = (high - low) / (2.0 * 1.96 * overall.delta_se.unwrap());
        assert!((0.9..1.1).contains(&width), "{width}");
        assert!(low < overall.delta && overall.delta < high);
    }
}

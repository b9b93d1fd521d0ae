//! How far two scorers agree about the same images: rank correlation within graphs, and where they disagree.
//!
//! Only images of one graph are compared with each other: an easy graph is no merit of a scorer.

use std::collections::BTreeMap;

/// One image under both scorers.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Images are compared within it.
    pub graph: String,
    /// Name of the image.
    pub image: String,
    /// The first scorer's score.
    pub a: f64,
    /// The second scorer's score.
    pub b: f64,
}

/// Two images that the scorers order differently.
#[derive(Clone, Debug, PartialEq)]
pub struct Disagreement {
    /// Their graph.
    pub graph: String,
    /// The one that the first scorer prefers.
    pub preferred_by_a: String,
    /// The one that the second scorer prefers.
    pub preferred_by_b: String,
    /// How sure the first is: difference of its scores, above 0.
    pub margin_a: f64,
    /// How sure the second is.
    pub margin_b: f64,
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// Images compared.
    pub images: usize,
    /// Graphs with at least two images.
    pub graphs: usize,
    /// Mean over the graphs of Spearman's ρ (ties share their mean rank); none where no graph has two different scores
    /// under both. Graphs where a scorer ties all images say nothing and are left out.
    pub spearman: Option<f64>,
    /// Mean over the same graphs of Kendall's τ-b.
    pub kendall: Option<f64>,
    /// Graphs that the two means are over.
    pub ranked_graphs: usize,
    /// Pairs of images within graphs that both scorers order, in the same way.
    pub concordant: usize,
    /// Pairs ordered differently; the surest first.
    pub disagreements: Vec<Disagreement>,
    /// Pairs that a scorer ties.
    pub ties: usize,
}

/// Compares two scorers. Scores must be numbers: whoever has none is left out by the caller, and said so.
pub fn agreement(scored: &[Scored]) -> Agreement {
    let mut graphs: BTreeMap<&str, Vec<&Scored>> = BTreeMap::new();
    for one in scored {
        graphs.entry(&one.graph).or_default().push(one);
    }
    let mut result = Agreement {
        images: scored.len(),
        graphs: graphs.values().filter(|images| images.len() > 1).count(),
        spearman: None,
        kendall: None,
        ranked_graphs: 0,
        concordant: 0,
        disagreements: Vec::new(),
        ties: 0,
    };
    let (mut spearman, mut kendall) = (0.0, 0.0);
    for images in graphs.values() {
        let (a, b): (Vec<f64>, Vec<f64>) = images.iter().map(|one| (one.a, one.b)).unzip();
        if let Some((rho, tau)) = correlation(&ranks(&a), &ranks(&b)).zip(tau_b(&a, &b)) {
            spearman += rho;
            kendall += tau;
            result.ranked_graphs += 1;
        }
        for (i, one) in images.iter().enumerate() {
            for other in &images[i + 1..] {
                result.compare(one, other);
            }
        }
    }
    if result.ranked_graphs > 0 {
        result.spearman = Some(spearman / result.ranked_graphs as f64);
        result.kendall = Some(kendall / result.ranked_graphs as f64);
    }
    // Each in units of its scorer's spread: a scale of 1 to 10 is no surer than one of 0 to 1.
    let spread_a = spread(scored.iter().map(|one| one.a));
    let spread_b = spread(scored.iter().map(|one| one.b));
    let sureness = |one: &Disagreement| (one.margin_a / spread_a).min(one.margin_b / spread_b);
    result.disagreements.sort_by(|one, other| {
        let names = |one: &Disagreement| (one.graph.clone(), one.preferred_by_a.clone(), one.preferred_by_b.clone());
        sureness(other).total_cmp(&sureness(one)).then_with(|| names(one).cmp(&names(other)))
    });
    result
}

impl Agreement {
    fn compare(&mut self, one: &Scored, other: &Scored) {
        let (by_a, by_b) = (one.a - other.a, one.b - other.b);
        if by_a == 0.0 || by_b == 0.0 {
            self.ties += 1;
        } else if (by_a > 0.0) == (by_b > 0.0) {
            self.concordant += 1;
        } else {
            let (first, second) = if by_a > 0.0 { (one, other) } else { (other, one) };
            self.disagreements.push(Disagreement {
                graph: one.graph.clone(),
                preferred_by_a: first.image.clone(),
                preferred_by_b: second.image.clone(),
                margin_a: by_a.abs(),
                margin_b: by_b.abs(),
            });
        }
    }
}

/// Standard deviation; 1 where nothing varies.
fn spread(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / n;
    let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / n;
    if variance > 0.0 { variance.sqrt() } else { 1.0 }
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count() as f64;
        let equal = values.iter().filter(|other| *other == value).count() as f64;
        below + f64::midpoint(equal, 1.0)
    };
    values.iter().map(rank).collect()
}

/// Pearson's r; none where one of the two does not vary.
pub fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(x, y)| f(x - mean_a, y - mean_b)).sum::<f64>();
    let (both, of_a, of_b) = (sum(&|x, y| x * y), sum(&|x, _| x * x), sum(&|_, y| y * y));
    (of_a > 0.0 && of_b > 0.0).then(|| both / (of_a.sqrt() * of_b.sqrt()))
}

/// Kendall's τ-b; none where one of the two does not vary.
fn tau_b(a: &[f64], b: &[f64]) -> Option<f64> {
    let (mut balance, mut of_a, mut of_b) = (0_i64, 0_i64, 0_i64);
    for i in 0..a.len() {
        for j in i + 1..a.len() {
            let order = |values: &[f64]| i64::from(values[i] > values[j]) - i64::from(values[i] < values[j]);
            balance += order(a) * order(b);
            of_a += order(a).abs();
            of_b += order(b).abs();
        }
    }
    (of_a > 0 && of_b > 0).then(|| balance as f64 / ((of_a as f64).sqrt() * (of_b as f64).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(graph: &str, rows: &[(f64, f64)]) -> Vec<Scored> {
        let one =
            |(i, &(a, b)): (usize, &(f64, f64))| Scored { graph: graph.to_owned(), image: format!("{graph}{i}"), a, b };
        rows.iter().enumerate().map(one).collect()
    }

    #[test]
    fn the_same_order_and_the_opposite() {
        let same = agreement(&scored("g", &[(0.1, 1.0), (0.2, 2.0), (0.4, 9.0)]));
        assert_eq!((same.concordant, same.ties, same.disagreements.len()), (3, 0, 0));
        assert!((same.spearman.unwrap() - 1.0).abs() < 1e-12 && (same.kendall.unwrap() - 1.0).abs() < 1e-12);
        let opposite = agreement(&scored("g", &[(0.1, 2.0), (0.5, 1.5), (0.7, 1.0)]));
        assert!((opposite.spearman.unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(opposite.disagreements.len(), 3);
        let surest = &opposite.disagreements[0];
        assert_eq!((surest.preferred_by_a.as_str(), surest.preferred_by_b.as_str()), ("g2", "g0"));
    }

    #[test]
    fn ties_and_flat_graphs() {
        // scipy.stats: spearmanr([1,2,2,4], [1,3,2,2]) = 0.4999…, kendalltau = 0.4
        let mut all = scored("g", &[(1.0, 1.0), (2.0, 3.0), (2.0, 2.0), (4.0, 2.0)]);
        all.extend(scored("flat", &[(1.0, 1.0), (1.0, 2.0)]));
        all.extend(scored("alone", &[(1.0, 1.0)]));
        let found = agreement(&all);
        assert_eq!((found.graphs, found.ranked_graphs, found.images), (2, 1, 7));
        assert!((found.spearman.unwrap() - 0.5).abs() < 1e-12, "{found:?}");
        assert!((found.kendall.unwrap() - 0.4).abs() < 1e-12, "{found:?}");
        assert_eq!(agreement(&[]).spearman, None);
    }
}

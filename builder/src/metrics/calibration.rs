//! What a difference of scores says of people's choice: P(the higher one is chosen) = σ(slope · difference), fitted to votes.
//!
//! Bradley and Terry (1952), *Rank analysis of incomplete block designs*, with the scorer's own scores as strengths. A scorer
//! is calibrated as far as the fitted probabilities are the shares that were seen.

/// Bins of the reliability table.
const BINS: usize = 5;
/// Newton's steps; the function is concave in one variable.
const STEPS: usize = 60;
/// Standard deviation of the slope before any vote, in units of one over the usual difference: it keeps the slope finite
/// where a scorer is never wrong.
const PRIOR: f64 = 10.0;

/// How differences of a scorer's scores go with votes.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Votes that the scorer does not tie.
    pub votes: usize,
    /// Of the log-odds, by difference of scores; below 0 where people choose what the scorer scores lower.
    pub slope: f64,
    /// Mean negative log-likelihood of the votes; ln 2 is that of a coin.
    pub log_loss: f64,
    /// Mean squared error of the probabilities; a coin has 0.25.
    pub brier: f64,
    /// Mean distance of predicted from seen over the bins, weighted by their votes.
    pub expected_calibration_error: f64,
    /// Votes by the size of the difference, the smallest first; about as many in each.
    pub bins: Vec<ReliabilityBin>,
}

/// Votes on pairs of about the same difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReliabilityBin {
    /// Smallest difference in it.
    pub from: f64,
    /// Largest difference in it.
    pub to: f64,
    /// Votes.
    pub votes: usize,
    /// Mean fitted probability that the one that the scorer prefers is chosen.
    pub predicted: f64,
    /// How often it was.
    pub observed: f64,
}

/// Fits the slope to `differences`: score of the chosen one less that of the other. None without one that is not 0.
pub fn calibrate(differences: &[f64]) -> Option<Calibration> {
    let mut known: Vec<f64> =
        differences.iter().copied().filter(|difference| *difference != 0.0 && difference.is_finite()).collect();
    if known.is_empty() {
        return None;
    }
    known.sort_by(|a, b| a.abs().total_cmp(&b.abs()).then_with(|| a.total_cmp(b)));
    let n = known.len() as f64;
    let unit = (known.iter().map(|difference| difference * difference).sum::<f64>() / n).sqrt();
    let slope = fit(&known.iter().map(|difference| difference / unit).collect::<Vec<_>>()) / unit;
    let probability = |difference: f64| sigmoid(slope * difference);
    // Votes of one difference stay together.
    let size = known.len().div_ceil(BINS);
    let place = |difference: f64| known.partition_point(|other| other.abs() < difference.abs()) / size;
    let bins: Vec<ReliabilityBin> = known
        .chunk_by(|one, other| place(*one) == place(*other))
        .map(|members| {
            let count = members.len() as f64;
            ReliabilityBin {
                from: members[0].abs(),
                to: members[members.len() - 1].abs(),
                votes: members.len(),
                predicted: members.iter().map(|difference| probability(difference.abs())).sum::<f64>() / count,
                observed: members.iter().filter(|difference| **difference > 0.0).count() as f64 / count,
            }
        })
        .collect();
    let error = |bin: &ReliabilityBin| bin.votes as f64 * (bin.predicted - bin.observed).abs();
    Some(Calibration {
        votes: known.len(),
        slope,
        log_loss: known.iter().map(|difference| -probability(*difference).max(f64::MIN_POSITIVE).ln()).sum::<f64>() / n,
        brier: known.iter().map(|difference| (1.0 - probability(*difference)).powi(2)).sum::<f64>() / n,
        expected_calibration_error: bins.iter().map(error).sum::<f64>() / n,
        bins,
    })
}

/// The slope of greatest posterior density, differences in units of their root mean square.
fn fit(differences: &[f64]) -> f64 {
    let mut slope = 0.0;
    for _ in 0..STEPS {
        let (mut gradient, mut curvature) = (-slope / PRIOR.powi(2), -1.0 / PRIOR.powi(2));
        for difference in differences {
            let p = sigmoid(slope * difference);
            gradient += (1.0 - p) * difference;
            curvature -= p * (1.0 - p) * difference * difference;
        }
        // Half a prior's width at a time: far out the curve is flat, and a whole step would overshoot.
        let step: f64 = (gradient / curvature).clamp(-PRIOR / 2.0, PRIOR / 2.0);
        slope -= step;
        if step.abs() < 1e-12 {
            break;
        }
    }
    slope
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many votes for and against a difference.
    fn votes(rows: &[(f64, usize, usize)]) -> Vec<f64> {
        let row = |&(difference, agreed, disagreed): &(f64, usize, usize)| {
            std::iter::repeat_n(difference, agreed).chain(std::iter::repeat_n(-difference, disagreed))
        };
        rows.iter().flat_map(row).collect()
    }

    #[test]
    fn the_slope_is_that_of_the_votes() {
        // σ(2 · 0.5) = 0.7311, σ(2 · 1) = 0.8808 of 10,000 votes each.
        let found = calibrate(&votes(&[(0.5, 7311, 2689), (1.0, 8808, 1192)])).unwrap();
        assert!((found.slope - 2.0).abs() < 0.01, "{found:?}");
        assert!(found.expected_calibration_error < 0.01 && found.brier < 0.25, "{found:?}");
        assert_eq!(found.bins.iter().map(|bin| bin.votes).sum::<usize>(), 20_000);
        let turned = calibrate(&votes(&[(0.5, 2689, 7311), (1.0, 1192, 8808)])).unwrap();
        assert!((turned.slope + 2.0).abs() < 0.01, "{turned:?}");
    }

    #[test]
    fn a_coin_a_perfect_scorer_and_nothing() {
        let coin = calibrate(&votes(&[(0.3, 50, 50)])).unwrap();
        assert!(
            coin.slope.abs() < 1e-9 && (coin.log_loss - 2.0_f64.ln()).abs() < 1e-9 && (coin.brier - 0.25).abs() < 1e-9
        );
        let perfect = calibrate(&[0.1, 0.2, 0.4]).unwrap();
        assert!(perfect.slope.is_finite() && perfect.slope > 5.0 && perfect.log_loss < 0.4, "{perfect:?}");
        assert_eq!(perfect.bins.len(), 3);
        assert_eq!((calibrate(&[0.0]), calibrate(&[])), (None, None));
    }
}

//! Fits the cost model: least squares of relative errors, no coefficient below zero. With four coefficients, every choice of those
//! that are not zero can be tried, so the answer is exact.

use host_core::{cost::CostModel, model::Work, units::Millis};

use super::TIME_MIN_MS;
use crate::error::Error;

const COEFFICIENTS: usize = 4;

/// One measured model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) work: Work,
    pub(super) time: Millis,
}

type Row = [f64; COEFFICIENTS];

/// The best non-negative coefficients. Refuses samples that fit none.
pub(super) fn fit(samples: &[Sample]) -> Result<CostModel, Error> {
    let row = |sample: &Sample| -> Row {
        let time = sample.time.0.max(TIME_MIN_MS);
        [sample.work.flops / 1e9 / time, sample.work.weights.megabytes() / time, sample.work.activations.megabytes() / time, 1.0 / time]
    };
    let rows: Vec<Row> = samples.iter().map(row).collect();
    let candidates = (1u32..1 << COEFFICIENTS).filter_map(|chosen| {
        let solution = solve(&rows, chosen)?;
        let sound = solution.iter().all(|value| value.is_finite() && *value >= 0.0);
        sound.then(|| (residual(&rows, &solution), solution))
    });
    let best = candidates.min_by(|a, b| a.0.total_cmp(&b.0));
    let Some((_, [gflop_ms, weight_mb_ms, activation_mb_ms, fixed_ms])) = best else {
        return Err(Error::unsupported(format!("{} measured times fit no cost model", samples.len())));
    };
    Ok(CostModel { gflop_ms, weight_mb_ms, activation_mb_ms, fixed_ms })
}

/// Every row should come to 1.
fn residual(rows: &[Row], solution: &Row) -> f64 {
    rows.iter().map(|row| (row.iter().zip(solution).map(|(a, x)| a * x).sum::<f64>() - 1.0).powi(2)).sum()
}

/// Least squares over the chosen coefficients, the others zero: normal equations by elimination with pivots.
fn solve(rows: &[Row], chosen: u32) -> Option<Row> {
    let places: Vec<usize> = (0..COEFFICIENTS).filter(|place| chosen & (1 << place) != 0).collect();
    let size = places.len();
    let mut matrix: Vec<Vec<f64>> = vec![vec![0.0; size + 1]; size];
    for row in rows {
        for (i, &a) in places.iter().enumerate() {
            places.iter().enumerate().for_each(|(j, &b)| matrix[i][j] += row[a] * row[b]);
            matrix[i][size] += row[a];
        }
    }
    for column in 0..size {
        let pivot = (column..size).max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()))?;
        matrix.swap(column, pivot);
        let lead = matrix[column].clone();
        if lead[column].abs() < 1e-18 {
            return None;
        }
        for (_, row) in matrix.iter_mut().enumerate().filter(|(place, _)| *place != column) {
            let factor = row[column] / lead[column];
            row.iter_mut().zip(&lead).for_each(|(value, lead)| *value -= factor * lead);
        }
    }
    let mut solution = [0.0; COEFFICIENTS];
    places.iter().enumerate().for_each(|(place, &coefficient)| solution[coefficient] = matrix[place][size] / matrix[place][place]);
    Some(solution)
}

#[cfg(test)]
mod tests {
    use host_core::units::Bytes;

    use super::*;

    fn works() -> Vec<Work> {
        let work = |flops: f64, weights: u64, activations: u64| Work { flops, weights: Bytes(weights), activations: Bytes(activations) };
        vec![work(3e7, 40_000, 200_000), work(8e6, 300_000, 100_000), work(4e6, 8_000_000, 12_000), work(1e6, 0, 9_000_000), work(64.0, 0, 128)]
    }

    #[test]
    fn times_made_by_a_cost_model_give_that_model_back() {
        let truth = CostModel { gflop_ms: 20.0, weight_mb_ms: 0.08, activation_mb_ms: 0.2, fixed_ms: 0.01 };
        let samples: Vec<Sample> = works().into_iter().map(|work| Sample { work, time: truth.predict(work) }).collect();
        let fitted = fit(&samples).expect("a perfect fit");
        for ((name, found), (_, expected)) in fitted.coefficients().into_iter().zip(truth.coefficients()) {
            assert!((found - expected).abs() < 1e-6 * expected, "{name}: {found} is not {expected}");
        }
    }

    #[test]
    fn no_times_give_coefficients_below_zero() {
        proptest::proptest!(|(times in proptest::collection::vec(1e-4f64..1e4, 5))| {
            let samples: Vec<Sample> = works().into_iter().zip(times).map(|(work, time)| Sample { work, time: Millis(time) }).collect();
            let fitted = fit(&samples).expect("times above zero fit something");
            assert!(fitted.coefficients().iter().all(|(_, value)| value.is_finite() && *value >= 0.0), "{fitted:?}");
        });
    }
}

//! What several passes over the same things say together. While a machine is measured its speed changes, and now and then something
//! else takes a moment of it; what the things take beside one another does not change.

use host_core::cost::refined::median;

/// What each thing takes, of times above zero that were measured in passes over all of them. Beside one another they stand as in the
/// median of the passes, each against its own mean; so a pass on a slow machine counts like any other, and one time that was disturbed
/// counts for nothing. What they take together is the (geometric) mean of the passes.
pub(crate) fn together(passes: &[Vec<f64>]) -> Vec<f64> {
    let levels: Vec<f64> = passes.iter().map(|pass| geometric_mean(pass)).collect();
    let level = geometric_mean(&levels);
    let things = passes.iter().map(Vec::len).min().unwrap_or(0);
    let share = |thing: usize| median(passes.iter().zip(&levels).map(|(pass, own)| pass[thing] / own).collect());
    (0..things).filter_map(share).map(|share| level * share).collect()
}

fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len().max(1) as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: [f64; 4] = [0.3, 0.5, 2.0, 0.01];

    fn passes(speeds: &[f64]) -> Vec<Vec<f64>> {
        speeds.iter().map(|speed| TIMES.iter().map(|time| time / speed).collect()).collect()
    }

    fn near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(a, b)| (a / b - 1.0).abs() < 1e-9), "{found:?} are not {expected:?}");
    }

    #[test]
    fn a_machine_that_changes_its_speed_changes_all_times_alike() {
        near(&together(&passes(&[1.0, 2.0, 0.5, 1.0, 1.0])), &TIMES);
        near(&together(&passes(&[4.0, 1.0, 1.0, 4.0])), &TIMES.map(|time| time / 2.0));
    }

    #[test]
    fn one_time_that_was_disturbed_does_not_change_how_the_others_stand() {
        let mut passes = passes(&[1.0; 5]);
        passes[2][1] *= 10.0;
        let found = together(&passes);
        let level = 10f64.powf(1.0 / (4.0 * 5.0));
        near(&found, &TIMES.map(|time| time * level));
    }

    #[test]
    fn of_no_pass_there_is_nothing() {
        assert!(together(&[]).is_empty());
    }
}

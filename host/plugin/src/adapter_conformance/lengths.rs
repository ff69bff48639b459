//! An open dimension: one below each bucket, just at it, one above it, and one above the largest, which must be refused by name. Where the
//! adapter has no buckets, every length must be computed.

use std::{collections::BTreeSet, sync::Arc};

use host_engine::{Lengths, Shard, Specimen};

use super::{Bench, Check, Driving, Subject, Verdict, driving};
use crate::{
    adapter::Fit,
    world::{ShardAdapter, Warm},
};

/// The open dimension.
const SYMBOL: &str = "sequence";
/// Lengths that it is converted for where that is needed.
const BUCKETS: [usize; 2] = [4, 16];
/// The attribute of a fit that names the buckets: `batch = 1, sequence = 4; batch = 1, sequence = 16`.
const BUCKETS_ATTRIBUTE: &str = "buckets";

pub(super) fn checks(bench: &Bench<'_>, specimen: &Specimen) -> Vec<Check> {
    let check = |name: String, verdict| Check { subject: Subject::Length, name, is_required: false, verdict };
    match Open::load(bench, specimen) {
        Ok(mut open) => {
            let lengths: Vec<(String, Wanted)> = wanted(&open.buckets);
            lengths.into_iter().map(|(name, wanted)| check(name, open.verdict(wanted))).collect()
        }
        Err(verdict) => vec![check(SYMBOL.to_owned(), verdict)],
    }
}

/// A length, and what the adapter must do with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    Computes(usize),
    /// It is above the largest bucket, which is this one.
    Refuses(usize, usize),
}

/// The lengths to try, with names that say why.
fn wanted(buckets: &BTreeSet<usize>) -> Vec<(String, Wanted)> {
    let Some(&largest) = buckets.last() else {
        let around = BUCKETS.into_iter().flat_map(|length| [length - 1, length, length + 1]);
        return std::iter::once(1).chain(around).map(|length| (format!("{SYMBOL} {length}"), Wanted::Computes(length))).collect();
    };
    let mut lengths = Vec::new();
    for &bucket in buckets {
        if bucket > 1 && !buckets.contains(&(bucket - 1)) {
            lengths.push((format!("{SYMBOL} {}, below bucket {bucket}", bucket - 1), Wanted::Computes(bucket - 1)));
        }
        lengths.push((format!("{SYMBOL} {bucket}, a bucket"), Wanted::Computes(bucket)));
        if bucket < largest && !buckets.contains(&(bucket + 1)) {
            lengths.push((format!("{SYMBOL} {}, above bucket {bucket}", bucket + 1), Wanted::Computes(bucket + 1)));
        }
    }
    lengths.push((format!("{SYMBOL} {}, above all buckets", largest + 1), Wanted::Refuses(largest + 1, largest)));
    lengths.dedup_by(|one, other| one.1 == other.1);
    lengths
}

/// The specimen, loaded.
struct Open<'a> {
    bench: &'a Bench<'a>,
    specimen: &'a Specimen,
    shard: Arc<Shard>,
    warm: Warm<ShardAdapter>,
    buckets: BTreeSet<usize>,
}

impl<'a> Open<'a> {
    fn load(bench: &'a Bench<'a>, specimen: &'a Specimen) -> Result<Self, Verdict> {
        let shard = Arc::new(bench.prepared(specimen, &BUCKETS.map(of_length))?);
        let (warm, fit) = bench.driving.load(&shard)?;
        Ok(Self { bench, specimen, shard, warm, buckets: buckets_of(&fit) })
    }

    fn verdict(&mut self, wanted: Wanted) -> Verdict {
        match wanted {
            Wanted::Computes(length) => self.run(length).map_or_else(|verdict| verdict, Verdict::near),
            Wanted::Refuses(length, largest) => self.refused(length, largest),
        }
    }

    fn run(&mut self, length: usize) -> Result<f64, Verdict> {
        let golden = self.bench.golden(self.specimen, &of_length(length), driving::SEEDS[0])?;
        if self.warm.failed() {
            self.warm = self.bench.driving.load(&self.shard)?.0;
        }
        Driving::run(&mut self.warm, &self.shard, &golden)
    }

    fn refused(&mut self, length: usize, largest: usize) -> Verdict {
        match self.run(length) {
            Ok(_) => Verdict::Wrong(format!("it computes {length}, and its largest bucket has {largest}")),
            Err(Verdict::Refused(reason)) => {
                let words = [SYMBOL.to_owned(), length.to_string(), largest.to_string()];
                match words.iter().find(|word| !reason.contains(word.as_str())) {
                    Some(word) => Verdict::Wrong(format!("its refusal does not name {word}: {reason}")),
                    None => Verdict::Holds(format!("refused as it must be: {reason}")),
                }
            }
            Err(verdict) => verdict,
        }
    }
}

fn of_length(length: usize) -> Lengths {
    Lengths::from([(SYMBOL.to_owned(), length)])
}

/// The lengths of the dimension in the buckets of what was loaded; none where it is open.
fn buckets_of(fit: &Fit) -> BTreeSet<usize> {
    let text = fit.attributes.iter().find(|(name, _)| name == BUCKETS_ATTRIBUTE).map_or("", |(_, text)| text.as_str());
    let lengths = text.split("; ").flat_map(|bucket| bucket.split(", ")).filter_map(|part| part.split_once(" = "));
    lengths.filter(|(name, _)| *name == SYMBOL).filter_map(|(_, length)| length.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(text: &str) -> Fit {
        Fit { attributes: vec![(BUCKETS_ATTRIBUTE.to_owned(), text.to_owned())], ..Fit::default() }
    }

    #[test]
    fn each_edge_of_each_bucket_is_tried_once() {
        let lengths = |text: &str| wanted(&buckets_of(&fit(text))).into_iter().map(|(_, wanted)| wanted).collect::<Vec<_>>();
        let computes = |lengths: &[usize]| lengths.iter().map(|&length| Wanted::Computes(length)).collect::<Vec<_>>();
        let two = [computes(&[3, 4, 5, 15, 16]), vec![Wanted::Refuses(17, 16)]].concat();
        assert_eq!(lengths("batch = 1, sequence = 16; batch = 1, sequence = 4"), two);
        assert_eq!(lengths("sequence = 1; sequence = 2"), [computes(&[1, 2]), vec![Wanted::Refuses(3, 2)]].concat());
        // One that is above one bucket and below the next is one length.
        assert_eq!(lengths("sequence = 4; sequence = 6"), [computes(&[3, 4, 5, 6]), vec![Wanted::Refuses(7, 6)]].concat());
        for open in ["", "batch = 1", "tokens = 4"] {
            assert_eq!(lengths(open), computes(&[1, 3, 4, 5, 15, 16, 17]), "{open}");
        }
    }
}

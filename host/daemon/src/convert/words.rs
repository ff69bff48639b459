//! Ranges and buckets, as people write them.

use std::collections::{BTreeMap, BTreeSet};

use host_core::shard::BlockRange;

use super::fault::ConversionFault;

/// Lengths by the name of the open dimension.
pub(super) type Bucket = BTreeMap<String, usize>;

/// Reads `0..3,3..7`. Each range must lie within a model of so many blocks.
pub(super) fn ranges(text: &str, blocks: u32) -> Result<BTreeSet<BlockRange>, ConversionFault> {
    let wrong = |word: &str, expected: String| ConversionFault::Words { what: "range", text: word.to_owned(), expected };
    let read = |word: &str| {
        let (start, end) = word.split_once("..").ok_or_else(|| wrong(word, "it must be like 0..3".to_owned()))?;
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong(word, "it must be like 0..3".to_owned()));
        let range = BlockRange::new(number(start)?, number(end)?).map_err(|error| wrong(word, error.to_string()))?;
        if range.end() > blocks { Err(wrong(word, format!("the model has {blocks} blocks"))) } else { Ok(range) }
    };
    text.split(',').map(|word| read(word.trim())).collect()
}

/// Reads `batch=1,sequence=64,128`: a length without a name goes to the one before. Every combination is a bucket; without words there
/// is one that says nothing. `open` are the names that a model has, and `max` is the most buckets.
pub(super) fn buckets(text: Option<&str>, open: &BTreeSet<String>, max: usize) -> Result<Vec<Bucket>, ConversionFault> {
    let wrong = |word: &str, expected: String| ConversionFault::Words { what: "bucket", text: word.to_owned(), expected };
    let mut lengths: Vec<(String, Vec<usize>)> = Vec::new();
    for word in text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let (name, length) = word.split_once('=').map_or((None, word), |(name, length)| (Some(name.trim()), length.trim()));
        let length = length.parse::<usize>().ok().filter(|length| *length > 0).ok_or_else(|| wrong(word, "a length is a whole number above 0".to_owned()))?;
        match name {
            Some(name) if !open.contains(name) => return Err(wrong(word, named(open))),
            Some(name) if lengths.iter().any(|(known, _)| known == name) => return Err(wrong(word, "its name is there twice".to_owned())),
            Some(name) => lengths.push((name.to_owned(), vec![length])),
            None => match lengths.last_mut() {
                Some((_, lengths)) => lengths.push(length),
                None => return Err(wrong(word, "the first length needs a name, such as sequence=64,128".to_owned())),
            },
        }
    }
    let count = lengths.iter().fold(1usize, |count, (_, lengths)| count.saturating_mul(lengths.len()));
    if count > max {
        return Err(wrong(text.unwrap_or_default(), format!("it makes {count} combinations, at most {max} are taken; raise conversion.buckets_max")));
    }
    let mut buckets = vec![Bucket::new()];
    for (name, lengths) in &lengths {
        let with = |bucket: &Bucket, length: usize| Bucket::from_iter(bucket.clone().into_iter().chain([(name.clone(), length)]));
        buckets = buckets.iter().flat_map(|bucket| lengths.iter().map(move |&length| with(bucket, length))).collect();
    }
    Ok(buckets)
}

fn named(open: &BTreeSet<String>) -> String {
    let names: Vec<&str> = open.iter().map(String::as_str).collect();
    if names.is_empty() { "the model has no open dimensions".to_owned() } else { format!("the open dimensions are {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> BTreeSet<String> {
        ["batch", "sequence"].map(str::to_owned).into()
    }

    #[test]
    fn every_combination_of_lengths_is_a_bucket() {
        let read = |text| buckets(text, &open(), 4);
        assert_eq!(read(None), Ok(vec![Bucket::new()]));
        let shown: Vec<String> = read(Some("batch=1, sequence=64,128")).expect("sound").iter().map(|bucket| format!("{bucket:?}")).collect();
        assert_eq!(shown, [r#"{"batch": 1, "sequence": 64}"#, r#"{"batch": 1, "sequence": 128}"#]);
        for (text, part) in [
            ("64", "needs a name"),
            ("sequence=0", "whole number above 0"),
            ("length=3", "the open dimensions are batch, sequence"),
            ("batch=1,batch=2", "twice"),
            ("sequence=1,2,3,4,5", "5 combinations, at most 4"),
        ] {
            let error = read(Some(text)).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn ranges_lie_within_the_model() {
        let read = |text| ranges(text, 7).map(|ranges| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(read("0..3, 3..7"), Ok("[0..3) [3..7)".to_owned()));
        for (text, part) in [("", "like 0..3"), ("3", "like 0..3"), ("3..3", "3"), ("0..8", "the model has 7 blocks"), ("a..b", "like 0..3")] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}

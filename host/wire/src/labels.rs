//! Labels of devices as people and programs write them: `KEY=VALUE` gives one, `KEY-` takes one away.

use std::collections::BTreeMap;

use crate::error::{Error, Fault};

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 64;
/// Longest value, in bytes.
const VALUE_BYTES_MAX: usize = 256;

/// What is to become of labels: each is given a value, or taken away.
pub type Edits = BTreeMap<String, Option<String>>;

/// Reads one word.
pub fn read(word: &str) -> Result<(String, Option<String>), Error> {
    let (key, value) = match word.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (word.strip_suffix('-').ok_or_else(|| fault(word, "KEY=VALUE, or KEY- to take it away"))?, None),
    };
    check_one(key, value)?;
    Ok((key.to_owned(), value.map(str::to_owned)))
}

/// Puts what was read together. A key that is there twice is refused: it would not be known which one is meant.
pub fn together(read: Vec<(String, Option<String>)>) -> Result<Edits, Error> {
    let mut edits = Edits::new();
    for (key, value) in read {
        if edits.contains_key(&key) {
            return Err(Fault::Twice { what: "label", name: key }.into());
        }
        edits.insert(key, value);
    }
    Ok(edits)
}

/// Checks edits that did not come through `read`.
pub fn check(edits: &Edits) -> Result<(), Error> {
    edits.iter().try_for_each(|(key, value)| check_one(key, value.as_deref()))
}

fn check_one(key: &str, value: Option<&str>) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let starts_well = key.starts_with(|c: char| c.is_ascii_alphanumeric());
    if key.len() > KEY_BYTES_MAX || !starts_well || !key.chars().all(allowed) {
        return Err(fault(key, "letters, digits, `-`, `_`, `.` and `/`, at most 64 of them, the first a letter or digit"));
    }
    let is_sound = |value: &str| value.len() <= VALUE_BYTES_MAX && !value.chars().any(char::is_control);
    if value.is_some_and(|value| !is_sound(value)) {
        return Err(fault(key, "a name for at most 256 bytes without control characters"));
    }
    Ok(())
}

fn fault(text: &str, expected: &'static str) -> Error {
    Fault::Label { text: text.chars().take(KEY_BYTES_MAX).collect(), expected }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_a_label_or_takes_it_away() {
        let longest = "x".repeat(64);
        let cases: [(&str, (&str, Option<&str>)); 7] = [
            ("room=attic", ("room", Some("attic"))),
            ("room=", ("room", Some(""))),
            ("room=a=b c", ("room", Some("a=b c"))),
            ("room-", ("room", None)),
            ("a.b/c_d-e-", ("a.b/c_d-e", None)),
            ("a-=b", ("a-", Some("b"))),
            (&format!("{longest}=é"), (longest.as_str(), Some("é"))),
        ];
        for (word, (key, value)) in cases {
            assert_eq!(read(word), Ok((key.to_owned(), value.map(str::to_owned))), "{word}");
        }
    }

    #[test]
    fn what_is_no_label_is_named() {
        let (key, value) = ("x".repeat(65), "x".repeat(257));
        let cases: [(&str, &str); 9] = [
            ("room", "label `room` must be KEY=VALUE, or KEY- to take it away"),
            ("", "label `` must be KEY=VALUE, or KEY- to take it away"),
            ("=attic", "label `` must be letters"),
            ("-", "label `` must be letters"),
            ("-a=b", "label `-a` must be letters"),
            ("a b=c", "label `a b` must be letters"),
            (&format!("{key}-"), "must be letters"),
            ("room=a\nb", "label `room` must be a name for at most 256 bytes without control characters"),
            (&format!("room={value}"), "label `room` must be a name for at most 256 bytes"),
        ];
        for (word, expected) in cases {
            let said = read(word).expect_err(word).to_string();
            assert!(said.contains(expected), "{word}: {said}");
        }
    }

    #[test]
    fn a_label_that_is_named_twice_is_refused() {
        let words = |words: &[&str]| words.iter().map(|word| read(word).expect(word)).collect::<Vec<_>>();
        let edits = together(words(&["room=attic", "rack-"])).expect("two labels");
        assert_eq!(edits, Edits::from([("room".to_owned(), Some("attic".to_owned())), ("rack".to_owned(), None)]));
        assert_eq!(check(&edits), Ok(()));
        assert_eq!(together(words(&["room=attic", "room-"])).expect_err("twice").to_string(), "label `room` is there twice");
        assert!(check(&Edits::from([("a b".to_owned(), None)])).is_err());
    }
}

//! Reads tables of TOML files that people write, such as profiles and fleets, key by key. Everything that is wrong is noted with
//! file, key, value and what it must be, and reading goes on, so that one try shows all faults.

use std::ops::RangeInclusive;

use host_core::ids::NAME_BYTES_MAX;
use toml::{Table, Value};

use super::resolve::shown;

/// A table of the file, of which the keys that are read are taken out.
pub struct Section<'a> {
    file: &'a str,
    prefix: String,
    table: Table,
    known: Vec<&'static str>,
    faults: &'a mut Vec<String>,
}

impl<'a> Section<'a> {
    /// The whole of a file. What is wrong with it goes to `faults`.
    pub fn whole_file(file: &'a str, text: &str, faults: &'a mut Vec<String>) -> Option<Self> {
        match text.parse::<Table>() {
            Ok(table) => Some(Self { file, prefix: String::new(), table, known: Vec::new(), faults }),
            Err(error) => {
                let line = error.span().map_or(1, |span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
                faults.push(format!("{file}: line {line}: {}", error.message()));
                None
            }
        }
    }

    /// Takes a value out, whatever it is.
    pub fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// Notes that a value is not what it must be.
    pub fn fault(&mut self, key: &str, value: &dyn std::fmt::Display, expected: &str) {
        self.faults.push(format!("{}: {}{key} is {}, {expected}", self.file, self.prefix, shown(&value.to_string())));
    }

    /// A number within a range.
    pub fn number(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let value = self.take(key)?;
        let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64)).filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(key, &value, &format!("it must be a number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A whole number within a range.
    pub fn whole(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(key)?;
        let number = value.as_integer().and_then(|whole| u64::try_from(whole).ok()).filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(key, &value, &format!("it must be a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A number without which the others say nothing. The smallest there may be stands for one that is wrong.
    pub fn needed(&mut self, key: &'static str, range: RangeInclusive<f64>) -> f64 {
        if !self.table.contains_key(key) {
            self.faults.push(format!("{}: {}{key} is missing, it must be a number from {} to {}", self.file, self.prefix, range.start(), range.end()));
        }
        let smallest = *range.start();
        self.number(key, range).unwrap_or(smallest)
    }

    /// A name.
    pub fn word<T>(&mut self, key: &'static str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = self.take(key)?;
        let word = value.as_str().and_then(read);
        if word.is_none() {
            let expected = format!("it must be 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`, the first a letter or digit");
            self.fault(key, &value, &expected);
        }
        word
    }

    /// A table of this one, read by `read`.
    pub fn inner<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> Option<T> {
        let value = self.take(key)?;
        self.within(key, value, read)
    }

    /// Reads a value that must be a table, and names the keys that it should not have.
    pub fn within<T>(&mut self, name: &str, value: Value, read: impl FnOnce(&mut Section<'_>) -> T) -> Option<T> {
        let Value::Table(table) = value else {
            self.fault(name, &value, "it must be a table of keys and values");
            return None;
        };
        let prefix = format!("{}{name}.", self.prefix);
        let mut inner = Section { file: self.file, prefix, table, known: Vec::new(), faults: self.faults };
        let read = read(&mut inner);
        inner.finish();
        Some(read)
    }

    /// Whether a value is there and is a list.
    pub fn is_list(&self, key: &str) -> bool {
        matches!(self.table.get(key), Some(Value::Array(_)))
    }

    /// Whether a value is there.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Yes or no.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.fault(key, &value, "it must be true or false");
        }
        flag
    }

    /// Any text.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key)?;
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            self.fault(key, &value, "it must be a text");
        }
        text
    }

    /// One of some words, as what it stands for.
    pub fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let value = self.take(key)?;
        let chosen = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text)).map(|(_, meaning)| *meaning);
        if chosen.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.fault(key, &value, &format!("it must be one of {}", known.join(", ")));
        }
        chosen
    }

    /// A list of tables, each read by `read`.
    pub fn each<T>(&mut self, key: &'static str, count_max: usize, mut read: impl FnMut(&mut Section<'_>) -> T) -> Vec<T> {
        let entries = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(entries)) if entries.len() <= count_max => entries,
            Some(value) => {
                let found = value.as_array().map_or_else(|| value.to_string(), |entries| format!("a list of {}", entries.len()));
                self.fault(key, &found, &format!("it must be a list of at most {count_max} tables"));
                return Vec::new();
            }
        };
        entries.into_iter().enumerate().filter_map(|(index, entry)| self.within(&format!("{key}[{index}]"), entry, &mut read)).collect()
    }

    /// Names the keys that nobody has read.
    pub fn finish(self) {
        for key in self.table.keys() {
            self.faults.push(format!("{}: key `{}{key}` is not known, there are {}", self.file, self.prefix, self.known.join(", ")));
        }
    }
}

//! Standard output: lines, tables and JSON. A reader that goes away, as `head` does, ends the output and is no failure.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::Format;
use crate::error::{Error, Fault};

/// Where results go.
#[derive(Debug)]
pub(super) struct Screen {
    format: Format,
    terminal: bool,
    closed: bool,
}

impl Screen {
    pub(super) fn new(format: Format) -> Self {
        Self { format, terminal: io::stdout().is_terminal(), closed: false }
    }

    /// Whether programs read the output.
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether a person looks on.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Prints a line.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Error> {
        if self.closed {
            return Ok(());
        }
        match writeln!(io::stdout(), "{text}") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            done => done.map_err(|error| Error::from(Fault::File { doing: "write to", path: "standard output".into() }).because(error)),
        }
    }

    /// Prints a value as one JSON line.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string(value).expect("wire types are written to memory, which cannot fail");
        self.line(&text)
    }

    /// Prints columns; the last one is not padded.
    pub(super) fn table<const N: usize>(&mut self, header: [&str; N], rows: &[[String; N]]) -> Result<(), Error> {
        let header = header.map(str::to_owned);
        for line in aligned(std::iter::once(&header).chain(rows)) {
            self.line(&line)?;
        }
        Ok(())
    }
}

/// Pads every cell but the last to the widest of its column.
pub(super) fn aligned<'a, const N: usize>(rows: impl Iterator<Item = &'a [String; N]> + Clone) -> Vec<String> {
    let mut widths = [0; N];
    for row in rows.clone() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "long".to_owned()], ["µµµ".to_owned(), "b".to_owned()]];
        assert_eq!(aligned(rows.iter()), ["a    long", "µµµ  b"]);
    }
}

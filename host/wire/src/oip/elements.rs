//! The fast path from a JSON array of elements to little-endian bytes. One pass, no intermediate values, and every element
//! is checked against its datatype. Takes text that a JSON parser has accepted already; other text gives an error, never a panic.

use std::borrow::Cow;

use half::{bf16, f16};

use super::Datatype;
use crate::error::{ElementProblem, Error, Fault};

/// Most characters of an element that an error repeats.
const TEXT_SHOWN_MAX: usize = 40;

/// Reads `data`, nested as its shape says or flat. `elements` is the product of the shape.
pub(super) fn read(tensor: &str, datatype: Datatype, shape: &[usize], elements: usize, json: &str) -> Result<Vec<u8>, Error> {
    // An element takes at least two characters, so the text bounds what a hostile shape can make this reserve.
    let room = elements.min(json.len() / 2 + 1) * datatype.size_bytes().unwrap_or(8);
    let mut reader = Reader {
        tensor,
        datatype,
        shape,
        elements,
        json,
        at: 0,
        depth: 0,
        flat: None,
        counts: [0; super::AXES_MAX + 1],
        index: 0,
        out: Vec::with_capacity(room),
    };
    reader.array()?;
    Ok(reader.out)
}

struct Reader<'a> {
    tensor: &'a str,
    datatype: Datatype,
    shape: &'a [usize],
    elements: usize,
    json: &'a str,
    at: usize,
    /// Brackets open here.
    depth: usize,
    /// Known with the first item of the outermost bracket.
    flat: Option<bool>,
    /// Items so far in the bracket of each depth.
    counts: [usize; super::AXES_MAX + 1],
    index: usize,
    out: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn array(&mut self) -> Result<(), Error> {
        let text: &'a str = self.json;
        let bytes = text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b',' => self.at += 1,
                b'[' => {
                    self.at += 1;
                    self.open()?;
                }
                b']' => {
                    self.at += 1;
                    self.close()?;
                    if self.depth == 0 {
                        return Ok(());
                    }
                }
                _ => {
                    let token = token(text, self.at);
                    self.at += token.len().max(1);
                    self.item(token)?;
                }
            }
        }
        Err(Fault::Json { what: "data", detail: format!("`{}` has an array that does not end", self.tensor) }.into())
    }

    fn open(&mut self) -> Result<(), Error> {
        if self.depth > 0 {
            if self.depth == 1 && self.flat.is_none() {
                self.flat = Some(false);
            }
            if self.flat == Some(true) || self.depth >= self.shape.len() {
                return Err(self.nesting(self.depth + 1));
            }
            self.counts[self.depth] += 1;
        }
        self.depth += 1;
        self.counts[self.depth] = 0;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        if self.depth == 0 {
            return Err(Fault::Json { what: "data", detail: format!("`{}` is not an array", self.tensor) }.into());
        }
        let have = self.counts[self.depth];
        if self.depth == 1 && self.flat != Some(false) {
            if have != self.elements {
                return Err(Fault::ElementCount { tensor: self.tensor.to_owned(), shape: self.shape.to_vec(), need: self.elements, have }.into());
            }
        } else if self.shape.get(self.depth - 1) != Some(&have) {
            let need = self.shape.get(self.depth - 1).copied().unwrap_or_default();
            return Err(Fault::RowLength { tensor: self.tensor.to_owned(), axis: self.depth - 1, need, have }.into());
        }
        self.depth -= 1;
        Ok(())
    }

    fn item(&mut self, token: &str) -> Result<(), Error> {
        match self.depth {
            0 => return Err(Fault::Json { what: "data", detail: format!("`{}` is {}, not an array", self.tensor, shown(token)) }.into()),
            1 if self.flat.is_none() => self.flat = Some(true),
            _ => {}
        }
        if self.flat == Some(false) && self.depth != self.shape.len() {
            return Err(self.nesting(self.depth));
        }
        self.counts[self.depth] += 1;
        // Stops a long array early, before its bytes are held.
        if self.index >= self.elements && self.flat == Some(false) {
            return Err(Fault::ElementCount { tensor: self.tensor.to_owned(), shape: self.shape.to_vec(), need: self.elements, have: self.index + 1 }.into());
        }
        if self.index < self.elements {
            self.element(token).map_err(|problem| self.refused(token, problem))?;
        }
        self.index += 1;
        Ok(())
    }

    fn element(&mut self, token: &str) -> Result<(), ElementProblem> {
        let out = &mut self.out;
        match self.datatype {
            Datatype::Fp32 => out.extend_from_slice(&number::<f32>(token, |value| value.is_finite())?.to_le_bytes()),
            Datatype::Fp64 => out.extend_from_slice(&number::<f64>(token, |value| value.is_finite())?.to_le_bytes()),
            Datatype::Fp16 => out.extend_from_slice(&half_precision(token, f16::from_f64, f16::is_finite)?.to_le_bytes()),
            Datatype::Bf16 => out.extend_from_slice(&half_precision(token, bf16::from_f64, bf16::is_finite)?.to_le_bytes()),
            Datatype::Int8 => out.extend_from_slice(&whole::<i8>(token)?.to_le_bytes()),
            Datatype::Int16 => out.extend_from_slice(&whole::<i16>(token)?.to_le_bytes()),
            Datatype::Int32 => out.extend_from_slice(&whole::<i32>(token)?.to_le_bytes()),
            Datatype::Int64 => out.extend_from_slice(&whole::<i64>(token)?.to_le_bytes()),
            Datatype::Uint8 => out.push(whole::<u8>(token)?),
            Datatype::Uint16 => out.extend_from_slice(&whole::<u16>(token)?.to_le_bytes()),
            Datatype::Uint32 => out.extend_from_slice(&whole::<u32>(token)?.to_le_bytes()),
            Datatype::Uint64 => out.extend_from_slice(&whole::<u64>(token)?.to_le_bytes()),
            Datatype::Bool => out.push(boolean(token)?),
            Datatype::Bytes => {
                let text: Cow<'_, str> = serde_json::from_str(token).map_err(|_| ElementProblem::Type)?;
                let length = u32::try_from(text.len()).map_err(|_| ElementProblem::Range)?;
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        }
        Ok(())
    }

    fn nesting(&self, depth: usize) -> Error {
        Fault::Nesting { tensor: self.tensor.to_owned(), shape: self.shape.to_vec(), depth }.into()
    }

    fn refused(&self, token: &str, problem: ElementProblem) -> Error {
        Fault::Element { tensor: self.tensor.to_owned(), index: self.index, text: shown(token), datatype: self.datatype, problem }.into()
    }
}

fn shown(token: &str) -> String {
    if token.chars().count() <= TEXT_SHOWN_MAX { token.to_owned() } else { token.chars().take(TEXT_SHOWN_MAX).chain("…".chars()).collect() }
}

/// The item that starts here: a quoted text, an object as a whole, or everything up to the next separator.
fn token(text: &str, start: usize) -> &str {
    let rest = text.get(start..).unwrap_or_default();
    let bytes = rest.as_bytes();
    let end = match bytes.first() {
        Some(b'"') => {
            let mut at = 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at + 1
        }
        _ => bytes.iter().position(|byte| matches!(byte, b',' | b']' | b'[' | b' ' | b'\t' | b'\n' | b'\r')).unwrap_or(bytes.len()),
    };
    // A quoted text that does not end, or a cut character, gives the whole rest: its parser will refuse it.
    rest.get(..end.min(bytes.len())).unwrap_or(rest)
}

fn looks_like_a_number(token: &str) -> Result<(), ElementProblem> {
    match token.as_bytes().first() {
        Some(b'0'..=b'9') => Ok(()),
        Some(b'-') if token.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => Ok(()),
        Some(b'n' | b'N' | b'I' | b'-') => Err(ElementProblem::NotANumber),
        _ => Err(ElementProblem::Type),
    }
}

fn number<T: std::str::FromStr>(token: &str, finite: impl Fn(&T) -> bool) -> Result<T, ElementProblem> {
    looks_like_a_number(token)?;
    let value: T = token.parse().map_err(|_| ElementProblem::Type)?;
    if finite(&value) { Ok(value) } else { Err(ElementProblem::Range) }
}

fn half_precision<T: Copy>(token: &str, narrow: impl Fn(f64) -> T, finite: impl Fn(T) -> bool) -> Result<T, ElementProblem> {
    let value = narrow(number::<f64>(token, |value| value.is_finite())?);
    if finite(value) { Ok(value) } else { Err(ElementProblem::Range) }
}

fn whole<T: std::str::FromStr>(token: &str) -> Result<T, ElementProblem> {
    looks_like_a_number(token)?;
    if token.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return Err(ElementProblem::Fraction);
    }
    // What is left is digits; the only way to fail is to be out of range. Unsigned types refuse `-0` too: as a range.
    token.parse().map_err(|_| ElementProblem::Range)
}

fn boolean(token: &str) -> Result<u8, ElementProblem> {
    match token {
        "true" | "1" => Ok(1),
        "false" | "0" => Ok(0),
        _ => Err(ElementProblem::Type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[usize], json: &str) -> Result<Vec<f32>, String> {
        let bytes = read("x", Datatype::Fp32, shape, shape.iter().product(), json).map_err(|error| error.to_string())?;
        Ok(bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
    }

    #[test]
    fn data_may_be_flat_or_nested_as_the_shape_says() {
        let cases =
            [("[1,2,3,4]", vec![2, 2]), ("[[1,2],[3,4]]", vec![2, 2]), (" [ [ 1 , 2 ] ,\n[3,4e0] ] ", vec![2, 2]), ("[[[1],[2]],[[3],[4.0]]]", vec![2, 2, 1])];
        for (json, shape) in cases {
            assert_eq!(floats(&shape, json), Ok(vec![1.0, 2.0, 3.0, 4.0]), "{json}");
        }
        assert_eq!(floats(&[], "[7]"), Ok(vec![7.0]));
        assert_eq!(floats(&[0], "[]"), Ok(vec![]));
        assert_eq!(floats(&[2, 0], "[[],[]]"), Ok(vec![]));
    }

    #[test]
    fn data_that_does_not_follow_the_shape_is_named_with_both_values() {
        let cases = [
            ("[1,2,3]", "`x`: shape [2, 2] has 4 elements, its data has 3"),
            ("[1,2,3,4,5]", "`x`: shape [2, 2] has 4 elements, its data has 5"),
            ("[[1,2],[3]]", "`x`: axis 1 of its shape is 2 long, its data has a row of 1 there"),
            ("[[1,2]]", "`x`: axis 0 of its shape is 2 long, its data has a row of 1 there"),
            ("[[[1,2],[3,4]]]", "`x`: its data has elements inside 3 brackets, shape [2, 2] takes them inside 1 or 2"),
            ("[1,[2,3],4]", "`x`: its data has elements inside 2 brackets, shape [2, 2] takes them inside 1 or 2"),
            ("[[1,2],3,4]", "`x`: its data has elements inside 1 brackets, shape [2, 2] takes them inside 1 or 2"),
            ("7", "data is not the JSON that is expected: `x` is 7, not an array"),
            ("[1,2", "data is not the JSON that is expected: `x` has an array that does not end"),
        ];
        for (json, message) in cases {
            assert_eq!(floats(&[2, 2], json), Err(message.to_owned()), "{json}");
        }
    }

    #[test]
    fn an_element_that_its_datatype_cannot_hold_is_named() {
        let cases = [
            (Datatype::Int64, "1.5", "`x` is INT64, but its element 0 is 1.5, which is no whole number"),
            (Datatype::Int8, "128", "`x` is INT8, but its element 0 is 128, which is out of its range"),
            (Datatype::Uint8, "-1", "`x` is UINT8, but its element 0 is -1, which is out of its range"),
            (Datatype::Fp32, "1e39", "`x` is FP32, but its element 0 is 1e39, which is out of its range"),
            (Datatype::Fp16, "70000", "`x` is FP16, but its element 0 is 70000, which is out of its range"),
            (Datatype::Fp32, "null", "`x` is FP32, but its element 0 is null, which JSON has no number for; binary data can hold it"),
            (Datatype::Fp32, "\"1\"", "`x` is FP32, but its element 0 is \"1\", which is no such value"),
            (Datatype::Fp32, "true", "`x` is FP32, but its element 0 is true, which is no such value"),
            (Datatype::Bool, "2", "`x` is BOOL, but its element 0 is 2, which is no such value"),
            (Datatype::Bytes, "5", "`x` is BYTES, but its element 0 is 5, which is no such value"),
        ];
        for (datatype, element, message) in cases {
            let error = read("x", datatype, &[1], 1, &format!("[{element}]")).expect_err(element);
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn a_number_is_rounded_as_its_own_datatype_rounds() {
        assert_eq!(floats(&[2], "[0.1, 16777217]"), Ok(vec![0.1, 16_777_216.0]));
        assert_eq!(read("x", Datatype::Uint64, &[1], 1, "[18446744073709551615]"), Ok(vec![255; 8]));
        assert_eq!(read("x", Datatype::Fp16, &[1], 1, "[1]"), Ok(vec![0x00, 0x3c]));
        assert_eq!(read("x", Datatype::Bytes, &[2], 2, r#"["a\n[","é"]"#), Ok(b"\x03\0\0\0a\n[\x02\0\0\0\xc3\xa9".to_vec()));
    }
}

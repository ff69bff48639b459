//! Numbers, texts and lists as bytes, little endian. Whatever is read is checked against what is left before anything is allocated.

use std::fmt;

use bytes::Bytes;

/// Bytes that are no message, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Garbage(pub String);

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Garbage {}

/// Puts values one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A length that the frame's own limit keeps far below the largest.
    pub(crate) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub(crate) fn data(&mut self, data: &[u8]) {
        self.count(data.len());
        self.bytes.extend_from_slice(data);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.data(text.as_bytes());
    }

    pub(crate) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(crate) fn list<T>(&mut self, values: impl ExactSizeIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.count(values.len());
        values.for_each(|value| write(self, value));
    }
}

/// Takes values off the front.
#[derive(Debug)]
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(rest: Bytes) -> Self {
        Self { rest }
    }

    /// The next bytes, which are shared and not copied.
    fn take(&mut self, count: usize) -> Result<Bytes, Garbage> {
        if count > self.rest.len() {
            return Err(Garbage(format!("{count} bytes should follow, {} do", self.rest.len())));
        }
        Ok(self.rest.split_to(count))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Garbage> {
        let mut array = [0; N];
        array.copy_from_slice(&self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Garbage> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Garbage> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Garbage> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn f64(&mut self) -> Result<f64, Garbage> {
        self.array().map(f64::from_le_bytes)
    }

    pub(crate) fn size(&mut self) -> Result<usize, Garbage> {
        let size = self.u64()?;
        usize::try_from(size).map_err(|_| Garbage(format!("{size} is more than this machine can count")))
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Garbage> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Garbage(format!("{other} is neither yes nor no"))),
        }
    }

    pub(crate) fn data(&mut self) -> Result<Bytes, Garbage> {
        let count = self.u32()?;
        self.take(count as usize)
    }

    pub(crate) fn text(&mut self) -> Result<String, Garbage> {
        String::from_utf8(self.data()?.into()).map_err(|_| Garbage("a text is not UTF-8".to_owned()))
    }

    pub(crate) fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Garbage>) -> Result<Option<T>, Garbage> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    /// A list, of which every entry takes a byte at least: a count beyond what is left is refused before anything is made.
    pub(crate) fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Result<T, Garbage>) -> Result<Vec<T>, Garbage> {
        let count = self.u32()? as usize;
        if count > self.rest.len() {
            return Err(Garbage(format!("a list of {count} should follow, {} bytes do", self.rest.len())));
        }
        // Entries may be larger in memory than in bytes, so the list grows as they come.
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(read(self)?);
        }
        Ok(entries)
    }

    /// Refuses what should not follow.
    pub(crate) fn end(self) -> Result<(), Garbage> {
        if self.rest.is_empty() { Ok(()) } else { Err(Garbage(format!("{} bytes follow the end", self.rest.len()))) }
    }
}

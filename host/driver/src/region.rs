//! Memory that parent and child share: a memfd that each maps. It grows and never shrinks, which its seal guarantees, so nothing that is
//! mapped can be taken away by the other side. What is in it may change under the reader's eyes if the other side breaks the
//! rules; so the parent copies what it reads before anyone looks at it.

use std::{fs::File, io, sync::Arc};

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

use crate::{codec::Garbage, system};

/// Tensors begin where vector instructions want them, and on no line of a cache that another one uses.
pub(crate) const ALIGNMENT_BYTES: u64 = 64;
/// Growing goes by so many bytes at least.
const GROWTH_BYTES: u64 = 1 << 20;

/// One side's view of shared memory.
#[derive(Debug)]
pub(crate) struct Region {
    file: File,
    mapping: Option<Arc<MmapRaw>>,
    bytes_max: u64,
}

impl Region {
    /// Over a memfd that came from the other side or was made here; at most so many bytes of it are used.
    pub(crate) fn new(file: File, bytes_max: u64) -> Self {
        Self { file, mapping: None, bytes_max }
    }

    /// Makes room, as the side that writes.
    pub(crate) fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        if self.mapped_bytes() >= bytes {
            return Ok(());
        }
        if bytes > self.bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                format!("the tensors of one call take {bytes} bytes, at most {} are shared", self.bytes_max),
            ));
        }
        let wanted = bytes.next_multiple_of(GROWTH_BYTES).min(self.bytes_max);
        if self.file.metadata()?.len() < wanted {
            self.file.set_len(wanted)?;
        }
        self.map(wanted)
    }

    /// Writes bytes at a place for which there is room.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Garbage> {
        let (mapping, offset) = self.part(offset, data.len() as u64)?;
        // SAFETY: `part` has proved that the bytes lie within the mapping, which the seal keeps backed by memory. Only this side
        // writes here, and its exclusive borrow of the region keeps other threads of it away.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), mapping.as_mut_ptr().add(offset), data.len()) };
        Ok(())
    }

    /// Copies what the other side has written. `into` gets as many bytes as it has.
    pub(crate) fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Garbage> {
        self.follow(offset, into.len() as u64)?;
        let (mapping, offset) = self.part(offset, into.len() as u64)?;
        // SAFETY: `part` has proved that the bytes lie within the mapping, which the seal keeps backed by memory. The other side
        // writes only before it says so. If it breaks that rule, the copy holds other bytes than it meant: any bytes are valid here.
        unsafe { std::ptr::copy_nonoverlapping(mapping.as_ptr().add(offset), into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// What the other side has written, without a copy: for the child, which trusts its parent not to write again before it has
    /// been answered.
    pub(crate) fn share(&mut self, offset: u64, bytes: u64) -> Result<Bytes, Garbage> {
        self.follow(offset, bytes)?;
        let (mapping, offset) = self.part(offset, bytes)?;
        Ok(Bytes::from_owner(Shared { mapping: Arc::clone(mapping), offset, bytes: bytes as usize }))
    }

    /// Maps what the other side has grown.
    fn follow(&mut self, offset: u64, bytes: u64) -> Result<(), Garbage> {
        let Some(end) = offset.checked_add(bytes).filter(|end| *end <= self.bytes_max) else {
            return Err(Garbage(format!("a tensor of {bytes} bytes at {offset}, at most {} are shared", self.bytes_max)));
        };
        if end <= self.mapped_bytes() {
            return Ok(());
        }
        let found = self.file.metadata().map_err(|error| Garbage(error.to_string()))?.len();
        if found < end {
            return Err(Garbage(format!("a tensor that ends at {end} of {found} bytes of shared memory")));
        }
        self.map(found.min(self.bytes_max)).map_err(|error| Garbage(error.to_string()))
    }

    fn map(&mut self, bytes: u64) -> io::Result<()> {
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        self.mapping = Some(Arc::new(MmapOptions::new().len(length).map_raw(&self.file)?));
        Ok(())
    }

    fn mapped_bytes(&self) -> u64 {
        self.mapping.as_ref().map_or(0, |mapping| mapping.len() as u64)
    }

    /// The mapping, and the place in it as an index; refuses bytes that are not within.
    fn part(&self, offset: u64, bytes: u64) -> Result<(&Arc<MmapRaw>, usize), Garbage> {
        let mapped = self.mapped_bytes();
        let mapping = self.mapping.as_ref().filter(|_| offset.checked_add(bytes).is_some_and(|end| end <= mapped));
        let mapping = mapping.ok_or_else(|| Garbage(format!("{bytes} bytes at {offset} of {mapped} bytes of shared memory")))?;
        Ok((mapping, offset as usize))
    }
}

/// Keeps a mapping alive behind `Bytes`.
struct Shared {
    mapping: Arc<MmapRaw>,
    offset: usize,
    bytes: usize,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `Region::part` has proved that the bytes lie within the mapping, which lives as long as this and which a seal keeps
        // backed by memory. The side that could write them is the parent, and it does so only when nothing is being computed.
        unsafe { std::slice::from_raw_parts(self.mapping.as_ptr().add(self.offset), self.bytes) }
    }
}

/// Maps memory whose bytes are fixed by its seals, and refuses any other.
pub(crate) fn map_fixed(file: &File) -> io::Result<Bytes> {
    if !system::is_fixed(file) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the shard's memory is not sealed"));
    }
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the seals keep everybody from changing the bytes and from taking them away. The mapping is private, because kernels before
    // 6.7 refuse a shared one of memory that is sealed against writing, even for reading.
    let mapping = unsafe { MmapOptions::new().map_copy_read_only(file) }?;
    Ok(Bytes::from_owner(mapping))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_see_what_one_writes_also_after_it_has_grown() {
        let file = system::growing_memory().expect("a memfd");
        let mut child = Region::new(file.try_clone().expect("a descriptor"), 8 << 20);
        let mut parent = Region::new(file, 8 << 20);
        for (round, size) in [100_usize, 3 << 20, 10].into_iter().enumerate() {
            let data = vec![u8::try_from(round).expect("few rounds") + 1; size];
            parent.reserve(64 + size as u64).expect("room");
            parent.write(64, &data).expect("within");
            assert_eq!(child.share(64, size as u64).expect("it is there"), data);
            let mut copy = vec![0; size];
            child.read(64, &mut copy).expect("it is there");
            assert_eq!(copy, data);
        }
    }

    #[test]
    fn places_outside_are_refused_and_memory_cannot_be_taken_away() {
        let mut region = Region::new(system::growing_memory().expect("a memfd"), 1 << 20);
        region.reserve(10).expect("room");
        assert!(region.read(u64::MAX, &mut [0; 4]).is_err());
        assert!(region.read((1 << 20) - 2, &mut [0; 4]).is_err());
        assert!(region.share(0, (1 << 20) + 1).is_err());
        assert!(region.reserve((1 << 20) + 1).is_err());
        assert!(region.file.set_len(0).is_err(), "it is sealed");
    }

    #[test]
    fn only_sealed_memory_is_mapped_as_a_shard() {
        let fixed = system::fixed_memory(&[b"ab", b"c"]).expect("a memfd");
        assert_eq!(map_fixed(&fixed).expect("sealed"), "abc");
        assert!(fixed.set_len(10).is_err());
        assert!(map_fixed(&system::growing_memory().expect("a memfd")).is_err());
    }
}

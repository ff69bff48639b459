//! How tensors travel: small ones in the message, large ones through shared memory. One of these stands at each end of a connection.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use host_engine::Tensor;

use crate::{
    codec::Garbage,
    message::{Parcel, Place},
    region::{ALIGNMENT_BYTES, Region},
};

/// Buffers that are kept to copy outputs into: fresh memory would have to be filled with zeros by the system first, which takes as long as
/// the copy.
const SPARE_BUFFERS_MAX: usize = 4;

/// Puts tensors on their way.
#[derive(Debug)]
pub(crate) struct Sender {
    region: Region,
    inline_bytes_max: usize,
}

impl Sender {
    pub(crate) fn new(region: Region, inline_bytes_max: usize) -> Self {
        Self { region, inline_bytes_max }
    }

    /// Parcels that the other side can open until the next ones are made. The error says why there is no room.
    pub(crate) fn pack(&mut self, tensors: &[Tensor]) -> Result<Vec<Parcel>, String> {
        let total: u64 = tensors.iter().map(|tensor| tensor.data().len() as u64).sum();
        let parcel = |tensor: &Tensor, place| Parcel { element_type: tensor.element_type(), shape: tensor.shape().to_vec(), place };
        if total <= self.inline_bytes_max as u64 {
            return Ok(tensors.iter().map(|tensor| parcel(tensor, Place::Inline(tensor.data().clone()))).collect());
        }
        let mut end = 0_u64;
        let places: Vec<u64> = tensors
            .iter()
            .map(|tensor| {
                let offset = end.next_multiple_of(ALIGNMENT_BYTES);
                end = offset + tensor.data().len() as u64;
                offset
            })
            .collect();
        self.region.reserve(end).map_err(|error| error.to_string())?;
        let packed = tensors.iter().zip(places).map(|(tensor, offset)| {
            self.region.write(offset, tensor.data())?;
            Ok(parcel(tensor, Place::Shared { offset, bytes: tensor.data().len() as u64 }))
        });
        packed.collect::<Result<_, Garbage>>().map_err(|garbage| garbage.to_string())
    }
}

/// Opens what has come.
#[derive(Debug)]
pub(crate) struct Receiver {
    region: Region,
    /// Whether tensors are copied out of the shared memory; else they are part of it until the next ones come.
    copies: bool,
    spare: Arc<Spare>,
}

impl Receiver {
    /// For the side that keeps what it gets.
    pub(crate) fn copying(region: Region) -> Self {
        Self { region, copies: true, spare: Arc::default() }
    }

    /// For the side that is done with what it gets before it answers.
    pub(crate) fn sharing(region: Region) -> Self {
        Self { region, copies: false, spare: Arc::default() }
    }

    /// The tensors; each one's bytes are proved to be those of its shape.
    pub(crate) fn open(&mut self, parcels: Vec<Parcel>) -> Result<Vec<Tensor>, Garbage> {
        parcels.into_iter().map(|parcel| self.one(parcel)).collect()
    }

    fn one(&mut self, parcel: Parcel) -> Result<Tensor, Garbage> {
        let data = match parcel.place {
            Place::Inline(data) => data,
            Place::Shared { offset, bytes } if self.copies => self.copy(offset, bytes)?,
            Place::Shared { offset, bytes } => self.region.share(offset, bytes)?,
        };
        Tensor::new(parcel.element_type, parcel.shape, data).map_err(|error| Garbage(error.to_string()))
    }

    fn copy(&mut self, offset: u64, bytes: u64) -> Result<Bytes, Garbage> {
        // Before any buffer is made: whether there are as many bytes.
        drop(self.region.share(offset, bytes)?);
        let mut buffer = self.spare.take(bytes as usize);
        self.region.read(offset, &mut buffer)?;
        Ok(Bytes::from_owner(Kept { buffer, spare: Arc::clone(&self.spare) }))
    }
}

/// Buffers that nobody reads any more.
#[derive(Debug, Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    /// A buffer of this size, a used one if one has it.
    fn take(&self, bytes: usize) -> Vec<u8> {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match buffers.iter().position(|buffer| buffer.len() == bytes) {
            Some(place) => buffers.swap_remove(place),
            None => vec![0; bytes],
        }
    }

    /// Keeps a buffer; the oldest goes where there are too many.
    fn give(&self, buffer: Vec<u8>) {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() >= SPARE_BUFFERS_MAX {
            buffers.remove(0);
        }
        buffers.push(buffer);
    }
}

/// A buffer on loan behind `Bytes`.
struct Kept {
    buffer: Vec<u8>,
    spare: Arc<Spare>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.spare.give(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system;

    const SHARED_BYTES_MAX: u64 = 64 << 20;

    fn ends() -> (Sender, Receiver) {
        let file = system::growing_memory().expect("a memfd");
        let other = Region::new(file.try_clone().expect("a descriptor"), SHARED_BYTES_MAX);
        (Sender::new(Region::new(file, SHARED_BYTES_MAX), 1000), Receiver::copying(other))
    }

    #[test]
    fn tensors_arrive_as_they_were_sent_whatever_their_size() {
        let (mut sender, mut receiver) = ends();
        let values = |count: usize| (0..count).map(|value| value as f32).collect::<Vec<_>>();
        let mut held = Vec::new();
        for count in [0, 1, 200, 251, 70_000, 300_001] {
            let tensors = vec![Tensor::from_f32(&[count], &values(count)).expect("sound"), Tensor::from_i64(&[1], &[count as i64]).expect("sound")];
            let parcels = sender.pack(&tensors).expect("room");
            let inline = parcels.iter().all(|parcel| matches!(parcel.place, Place::Inline(_)));
            assert_eq!(inline, count * 4 + 8 <= 1000, "{count}");
            assert_eq!(receiver.open(parcels).expect("sound"), tensors);
            held.push((receiver.open(sender.pack(&tensors).expect("room")).expect("sound"), tensors));
        }
        // What was received before is not touched by what came later.
        assert!(held.iter().all(|(received, sent)| received == sent));
    }

    #[test]
    fn parcels_that_lie_are_refused_without_a_buffer() {
        let (_, mut receiver) = ends();
        let lying = |shape: Vec<usize>, offset, bytes| Parcel { element_type: host_engine::ElementType::Fp32, shape, place: Place::Shared { offset, bytes } };
        for parcel in [lying(vec![1 << 40], 0, 1 << 42), lying(vec![1], u64::MAX, 4), lying(vec![2], 0, 4), lying(vec![usize::MAX, 4], 0, 0)] {
            assert!(receiver.open(vec![parcel.clone()]).is_err(), "{parcel:?}");
        }
    }
}

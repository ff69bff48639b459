//! What parent and child say to each other, and how it lies in a frame: the length of what follows the head, one byte that says which
//! message it is, and the message. Nothing of it is trusted by the one who reads.

mod parts;

use bytes::Bytes;
use host_core::units;
use host_engine::{ElementType, EngineInfo, TensorSpec};

pub use parts::{Order, Refusal};

use crate::codec::{Garbage, Reader, Writer};

/// Bytes before a message: its length in four, its kind in one.
pub(crate) const HEAD_BYTES: usize = 5;
/// Largest message. Tensors beyond a few pages go through shared memory, so what is larger is none of ours.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// A message.
#[derive(Clone, PartialEq, Debug)]
pub enum Message {
    /// The child's first words: which release it is and what it speaks.
    Hello { protocol: u32, program: String },
    /// The child has opened its engine.
    Opened(EngineInfo),
    /// The child is alive.
    Beat,
    /// The parent hands over a connection for a graph: to load it, or for one more user of one that is loaded. The descriptors of the
    /// connection, of the memory for inputs and for outputs and, to load, of the shard's bytes come with it.
    Attach { graph: u64, is_loaded: bool },
    /// Nobody uses a graph any more.
    Forget { graph: u64 },
    /// The first message of a connection whose graph is to be loaded.
    Load(Box<Order>),
    /// It is loaded; with the inputs of each set of shapes that it was made for.
    Loaded { inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>, buckets: Vec<Vec<TensorSpec>>, memory: units::Bytes },
    /// Computes outputs from these.
    Run(Vec<Parcel>),
    /// The outputs.
    Ran(Vec<Parcel>),
    /// What was asked for last cannot be, and why.
    Failed(Refusal),
}

/// A tensor on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parcel {
    /// What its elements are.
    pub element_type: ElementType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where its bytes are.
    pub place: Place,
}

/// Where the bytes of a tensor are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the message.
    Inline(Bytes),
    /// In the shared memory of the connection.
    Shared { offset: u64, bytes: u64 },
}

impl Message {
    /// The whole frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer { bytes: vec![0; HEAD_BYTES] };
        self.write(&mut writer);
        let length = u32::try_from(writer.bytes.len() - HEAD_BYTES).unwrap_or(u32::MAX);
        writer.bytes[..4].copy_from_slice(&length.to_le_bytes());
        writer.bytes[4] = self.kind();
        writer.bytes
    }

    /// Reads a whole frame.
    pub fn decode(frame: Bytes) -> Result<Self, Garbage> {
        let Some(head) = frame.first_chunk::<HEAD_BYTES>() else { return Err(Garbage(format!("{} bytes are no frame", frame.len()))) };
        let (length, kind) = read_head(*head)?;
        let found = frame.len() - HEAD_BYTES;
        if length != found {
            return Err(Garbage(format!("the frame says that {length} bytes follow, {found} do")));
        }
        Self::read(kind, frame.slice(HEAD_BYTES..))
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Hello { .. } => 1,
            Self::Opened(_) => 2,
            Self::Beat => 3,
            Self::Attach { .. } => 4,
            Self::Forget { .. } => 5,
            Self::Load(_) => 6,
            Self::Loaded { .. } => 7,
            Self::Run(_) => 8,
            Self::Ran(_) => 9,
            Self::Failed(_) => 10,
        }
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Hello { protocol, program } => {
                writer.u32(*protocol);
                writer.text(program);
            }
            Self::Opened(info) => parts::write_info(writer, info),
            Self::Beat => {}
            Self::Attach { graph, is_loaded } => {
                writer.u64(*graph);
                writer.u8(u8::from(*is_loaded));
            }
            Self::Forget { graph } => writer.u64(*graph),
            Self::Load(order) => order.write(writer),
            Self::Loaded { inputs, outputs, buckets, memory } => {
                parts::write_specs(writer, inputs);
                parts::write_specs(writer, outputs);
                writer.list(buckets.iter(), |writer, bucket| parts::write_specs(writer, bucket));
                writer.u64(memory.0);
            }
            Self::Run(parcels) | Self::Ran(parcels) => writer.list(parcels.iter(), write_parcel),
            Self::Failed(refusal) => refusal.write(writer),
        }
    }

    /// Reads what follows the head.
    pub(crate) fn read(kind: u8, body: Bytes) -> Result<Self, Garbage> {
        let mut reader = Reader::new(body);
        let reader_of = &mut reader;
        let message = match kind {
            1 => Self::Hello { protocol: reader_of.u32()?, program: reader_of.text()? },
            2 => Self::Opened(parts::read_info(reader_of)?),
            3 => Self::Beat,
            4 => Self::Attach { graph: reader_of.u64()?, is_loaded: reader_of.flag()? },
            5 => Self::Forget { graph: reader_of.u64()? },
            6 => Self::Load(Box::new(Order::read(reader_of)?)),
            7 => Self::Loaded {
                inputs: parts::read_specs(reader_of)?,
                outputs: parts::read_specs(reader_of)?,
                buckets: reader_of.list(parts::read_specs)?,
                memory: units::Bytes(reader_of.u64()?),
            },
            8 => Self::Run(reader_of.list(read_parcel)?),
            9 => Self::Ran(reader_of.list(read_parcel)?),
            10 => Self::Failed(Refusal::read(reader_of)?),
            other => return Err(Garbage(format!("there is no message {other}"))),
        };
        reader.end()?;
        Ok(message)
    }
}

/// Length and kind of what follows; refuses what is longer than any message.
pub(crate) fn read_head(head: [u8; HEAD_BYTES]) -> Result<(usize, u8), Garbage> {
    let [a, b, c, d, kind] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(Garbage(format!("a message of {length} bytes should follow, the largest has {MESSAGE_BYTES_MAX}")));
    }
    Ok((length, kind))
}

fn write_parcel(writer: &mut Writer, parcel: &Parcel) {
    parts::write_type(writer, parcel.element_type);
    writer.list(parcel.shape.iter(), |writer, length| writer.u64(*length as u64));
    match &parcel.place {
        Place::Inline(data) => {
            writer.u8(0);
            writer.data(data);
        }
        Place::Shared { offset, bytes } => {
            writer.u8(1);
            writer.u64(*offset);
            writer.u64(*bytes);
        }
    }
}

fn read_parcel(reader: &mut Reader) -> Result<Parcel, Garbage> {
    let element_type = parts::read_type(reader)?;
    let shape = reader.list(Reader::size)?;
    let place = if reader.flag()? { Place::Shared { offset: reader.u64()?, bytes: reader.u64()? } } else { Place::Inline(reader.data()?) };
    Ok(Parcel { element_type, shape, place })
}

#[cfg(test)]
mod tests;

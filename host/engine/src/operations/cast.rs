//! Element types into each other, over little-endian bytes.

use half::{bf16, f16, slice::HalfFloatSliceExt};

use crate::element_type::ElementType;

/// Elements that are converted at once where the processor has an instruction for many.
const BLOCK: usize = 256;

/// The bytes of the same values as another element type.
pub(super) fn cast(from: ElementType, to: ElementType, data: &[u8]) -> Vec<u8> {
    match (from, to) {
        // What accelerators ask for most: `half` uses the processor's own instructions here.
        (ElementType::Fp32, ElementType::Fp16) => blocks(data, |values: &[f32], halves: &mut [f16]| halves.convert_from_f32_slice(values)),
        (ElementType::Fp16, ElementType::Fp32) => blocks(data, |halves: &[f16], values: &mut [f32]| halves.convert_to_f32_slice(values)),
        (ElementType::Fp64, _) => into::<f64, 8>(to, data),
        (ElementType::Fp32, _) => into::<f32, 4>(to, data),
        (ElementType::Fp16, _) => into::<f16, 2>(to, data),
        (ElementType::Bf16, _) => into::<bf16, 2>(to, data),
        (ElementType::Int64, _) => into::<i64, 8>(to, data),
        (ElementType::Int32, _) => into::<i32, 4>(to, data),
        (ElementType::Int16, _) => into::<i16, 2>(to, data),
        (ElementType::Int8, _) => into::<i8, 1>(to, data),
        (ElementType::Uint64, _) => into::<u64, 8>(to, data),
        (ElementType::Uint32, _) => into::<u32, 4>(to, data),
        (ElementType::Uint16, _) => into::<u16, 2>(to, data),
        (ElementType::Uint8, _) => into::<u8, 1>(to, data),
        (ElementType::Boolean, _) => into::<Truth, 1>(to, data),
    }
}

fn into<S: Element<N>, const N: usize>(to: ElementType, data: &[u8]) -> Vec<u8> {
    match to {
        ElementType::Fp64 => each::<S, f64, N, 8>(data),
        ElementType::Fp32 => each::<S, f32, N, 4>(data),
        ElementType::Fp16 => each::<S, f16, N, 2>(data),
        ElementType::Bf16 => each::<S, bf16, N, 2>(data),
        ElementType::Int64 => each::<S, i64, N, 8>(data),
        ElementType::Int32 => each::<S, i32, N, 4>(data),
        ElementType::Int16 => each::<S, i16, N, 2>(data),
        ElementType::Int8 => each::<S, i8, N, 1>(data),
        ElementType::Uint64 => each::<S, u64, N, 8>(data),
        ElementType::Uint32 => each::<S, u32, N, 4>(data),
        ElementType::Uint16 => each::<S, u16, N, 2>(data),
        ElementType::Uint8 => each::<S, u8, N, 1>(data),
        ElementType::Boolean => each::<S, Truth, N, 1>(data),
    }
}

fn each<S: Element<N>, D: Element<M>, const N: usize, const M: usize>(data: &[u8]) -> Vec<u8> {
    let sources = data.as_chunks::<N>().0;
    let mut made = vec![0; sources.len() * M];
    for (source, target) in sources.iter().zip(made.as_chunks_mut::<M>().0) {
        *target = D::of(S::read(*source).wide()).write();
    }
    made
}

/// The same in blocks that lie in place.
fn blocks<S, D, const N: usize, const M: usize>(data: &[u8], convert: impl Fn(&[S], &mut [D])) -> Vec<u8>
where
    S: Element<N> + Default,
    D: Element<M> + Default,
{
    let sources = data.as_chunks::<N>().0;
    let mut made = vec![0; sources.len() * M];
    let (mut from, mut to) = ([S::default(); BLOCK], [D::default(); BLOCK]);
    for (sources, targets) in sources.chunks(BLOCK).zip(made.as_chunks_mut::<M>().0.chunks_mut(BLOCK)) {
        let count = sources.len();
        from.iter_mut().zip(sources).for_each(|(value, bytes)| *value = S::read(*bytes));
        convert(&from[..count], &mut to[..count]);
        targets.iter_mut().zip(&to).for_each(|(bytes, value)| *bytes = value.write());
    }
    made
}

/// A value on its way: each of these holds all values of the types that become it.
#[derive(Clone, Copy)]
enum Wide {
    Float(f64),
    Signed(i64),
    Unsigned(u64),
}

/// A type of `N` bytes.
trait Element<const N: usize>: Copy {
    fn read(bytes: [u8; N]) -> Self;
    fn write(self) -> [u8; N];
    fn wide(self) -> Wide;
    fn of(value: Wide) -> Self;
}

macro_rules! float {
    ($type:ty, $size:literal, $float:expr, |$value:ident| $narrow:expr) => {
        impl Element<$size> for $type {
            #[inline]
            fn read(bytes: [u8; $size]) -> Self {
                Self::from_le_bytes(bytes)
            }
            #[inline]
            fn write(self) -> [u8; $size] {
                self.to_le_bytes()
            }
            #[inline]
            fn wide(self) -> Wide {
                Wide::Float($float(self))
            }
            #[inline]
            fn of(value: Wide) -> Self {
                match value {
                    Wide::Float($value) => $narrow,
                    Wide::Signed(value) => {
                        let $value = value as f64;
                        $narrow
                    }
                    Wide::Unsigned(value) => {
                        let $value = value as f64;
                        $narrow
                    }
                }
            }
        }
    };
}

float!(f64, 8, f64::from, |value| value);
float!(f16, 2, f16::to_f64, |value| Self::from_f64(value));
float!(bf16, 2, bf16::to_f64, |value| Self::from_f64(value));

/// By itself, because a 64-bit integer that becomes a 32-bit float by way of a 64-bit one may be rounded twice.
impl Element<4> for f32 {
    #[inline]
    fn read(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }
    #[inline]
    fn write(self) -> [u8; 4] {
        self.to_le_bytes()
    }
    #[inline]
    fn wide(self) -> Wide {
        Wide::Float(self.into())
    }
    #[inline]
    fn of(value: Wide) -> Self {
        match value {
            Wide::Float(value) => value as Self,
            Wide::Signed(value) => value as Self,
            Wide::Unsigned(value) => value as Self,
        }
    }
}

macro_rules! integer {
    ($type:ty, $size:literal, $wide:ident, $widest:ty) => {
        impl Element<$size> for $type {
            #[inline]
            fn read(bytes: [u8; $size]) -> Self {
                Self::from_le_bytes(bytes)
            }
            #[inline]
            fn write(self) -> [u8; $size] {
                self.to_le_bytes()
            }
            #[inline]
            fn wide(self) -> Wide {
                Wide::$wide(<$widest>::from(self))
            }
            #[inline]
            fn of(value: Wide) -> Self {
                match value {
                    // Saturates, and makes 0 of what is no number.
                    Wide::Float(value) => value as Self,
                    Wide::Signed(value) => Self::try_from(value).unwrap_or(if value < 0 { Self::MIN } else { Self::MAX }),
                    Wide::Unsigned(value) => Self::try_from(value).unwrap_or(Self::MAX),
                }
            }
        }
    };
}

integer!(i64, 8, Signed, i64);
integer!(i32, 4, Signed, i64);
integer!(i16, 2, Signed, i64);
integer!(i8, 1, Signed, i64);
integer!(u64, 8, Unsigned, u64);
integer!(u32, 4, Unsigned, u64);
integer!(u16, 2, Unsigned, u64);
integer!(u8, 1, Unsigned, u64);

/// A boolean's byte.
#[derive(Clone, Copy)]
struct Truth(bool);

impl Element<1> for Truth {
    #[inline]
    fn read([byte]: [u8; 1]) -> Self {
        Self(byte != 0)
    }
    #[inline]
    fn write(self) -> [u8; 1] {
        [self.0.into()]
    }
    #[inline]
    fn wide(self) -> Wide {
        Wide::Unsigned(self.0.into())
    }
    #[inline]
    fn of(value: Wide) -> Self {
        Self(match value {
            Wide::Float(value) => value != 0.0,
            Wide::Signed(value) => value != 0,
            Wide::Unsigned(value) => value != 0,
        })
    }
}

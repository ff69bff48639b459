//! Pictures with their channels before or behind: ONNX has [batch, channels, height, width], and accelerators like
//! [batch, height, width, channels].

/// How the four axes of a tensor follow one another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    /// As the model declares it.
    Declared,
    /// Axis 1 of the model comes last.
    ChannelsLast,
}

/// The same tensor's shape with axis 1 last; the shape itself unless it has four axes.
pub(crate) fn channels_last(shape: &[usize]) -> Vec<usize> {
    match *shape {
        [batch, channels, height, width] => vec![batch, height, width, channels],
        _ => shape.to_vec(),
    }
}

/// Moves axis 1 behind the others. `shape` is the one before; `size` is that of an element in bytes.
pub(crate) fn to_channels_last(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let [_, channels, height, width] = *shape else { return data.to_vec() };
    turned(data, channels, height * width, size)
}

/// Moves the last axis to place 1. `shape` is the one afterwards; `size` is that of an element in bytes.
pub(crate) fn from_channels_last(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let [_, channels, height, width] = *shape else { return data.to_vec() };
    turned(data, height * width, channels, size)
}

/// Turns each matrix of `rows` x `columns` elements over its diagonal.
fn turned(data: &[u8], rows: usize, columns: usize, size: usize) -> Vec<u8> {
    let matrix = rows * columns * size;
    let mut made = Vec::with_capacity(data.len());
    if matrix == 0 {
        return made;
    }
    for part in data.chunks_exact(matrix) {
        for column in 0..columns {
            for row in 0..rows {
                let from = (row * columns + column) * size;
                made.extend_from_slice(&part[from..from + size]);
            }
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_go_last_and_come_back() {
        // Two pictures of two channels, one row and three columns.
        let (shape, data) = ([2, 2, 1, 3], (0..12u8).collect::<Vec<_>>());
        let last = to_channels_last(&data, &shape, 1);
        assert_eq!(last, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        assert_eq!(from_channels_last(&last, &shape, 1), data);
        assert_eq!(channels_last(&shape), [2, 1, 3, 2]);
    }

    #[test]
    fn elements_stay_whole_and_other_ranks_stay_as_they_are() {
        let data = [1, 0, 2, 0, 3, 0, 4, 0];
        assert_eq!(to_channels_last(&data, &[1, 2, 1, 2], 2), [1, 0, 3, 0, 2, 0, 4, 0]);
        assert_eq!(to_channels_last(&data, &[4], 2), data);
        assert!(to_channels_last(&[], &[1, 0, 2, 2], 4).is_empty());
        assert_eq!(channels_last(&[3, 4]), [3, 4]);
    }
}

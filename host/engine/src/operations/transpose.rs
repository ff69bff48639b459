//! Puts axes in another order. Axes that stay neighbours are taken as one, so that NCHW to NHWC is a matrix for each picture; what is
//! left is copied in runs where the innermost axis stays where it is, and else in square tiles that fit the processor's nearest cache.

use super::region::strides;

/// Elements along one side of a tile: 32 x 32 elements of eight bytes twice are 16 KiB.
const TILE: usize = 32;

/// The bytes in the other order; none where that is the order in which they lie. `axes` is a permutation.
pub(super) fn transpose(data: &[u8], shape: &[usize], axes: &[usize], element_bytes: usize) -> Option<Vec<u8>> {
    let (shape, axes) = merged(shape, axes);
    if axes.iter().copied().eq(0..axes.len()) || data.is_empty() {
        return None;
    }
    let mut made = vec![0; data.len()];
    let last = axes.len() - 1;
    if axes[last] == last {
        runs(data, &mut made, &shape, &axes, element_bytes);
        return Some(made);
    }
    match element_bytes {
        1 => tiles::<1>(data, &mut made, &shape, &axes),
        2 => tiles::<2>(data, &mut made, &shape, &axes),
        4 => tiles::<4>(data, &mut made, &shape, &axes),
        _ => tiles::<8>(data, &mut made, &shape, &axes),
    }
    Some(made)
}

/// The same order without axes of length 1, and with axes that stay beside each other as one.
fn merged(shape: &[usize], axes: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let long: Vec<usize> = axes.iter().copied().filter(|&axis| shape[axis] != 1).collect();
    // Groups of axes in the order of the answer, each with its first axis and its length.
    let mut groups: Vec<(usize, usize)> = Vec::new();
    let mut end = None;
    for &axis in &long {
        let joins = end.is_some_and(|end: usize| end < axis && shape[end + 1..axis].iter().all(|&length| length == 1));
        match groups.last_mut() {
            Some(group) if joins => group.1 *= shape[axis],
            _ => groups.push((axis, shape[axis])),
        }
        end = Some(axis);
    }
    let mut sorted = groups.clone();
    sorted.sort_unstable();
    let place = |first: usize| sorted.iter().position(|group| group.0 == first).unwrap_or(0);
    (sorted.iter().map(|group| group.1).collect(), groups.iter().map(|group| place(group.0)).collect())
}

/// Steps of the axes of the answer: lengths, and elements that a step takes in what is read and in what is written.
struct Steps {
    lengths: Vec<usize>,
    read: Vec<usize>,
    write: Vec<usize>,
}

impl Steps {
    /// All axes of the answer but those that are left out.
    fn new(shape: &[usize], axes: &[usize], without: &[usize]) -> Self {
        let (from, lengths): (_, Vec<usize>) = (strides(shape), axes.iter().map(|&axis| shape[axis]).collect());
        let to = strides(&lengths);
        let kept = || (0..axes.len()).filter(|axis| !without.contains(axis));
        Self {
            lengths: kept().map(|axis| lengths[axis]).collect(),
            read: kept().map(|axis| from[axes[axis]]).collect(),
            write: kept().map(|axis| to[axis]).collect(),
        }
    }

    /// Calls with the offsets of every index of these axes.
    fn each(&self, mut visit: impl FnMut(usize, usize)) {
        let mut index = vec![0; self.lengths.len()];
        let (mut read, mut write) = (0, 0);
        loop {
            visit(read, write);
            let mut axis = self.lengths.len();
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                (index[axis], read, write) = (index[axis] + 1, read + self.read[axis], write + self.write[axis]);
                if index[axis] < self.lengths[axis] {
                    break;
                }
                (index[axis], read, write) = (0, read - self.lengths[axis] * self.read[axis], write - self.lengths[axis] * self.write[axis]);
            }
        }
    }
}

/// The innermost axis stays: it is copied as a whole.
fn runs(data: &[u8], made: &mut [u8], shape: &[usize], axes: &[usize], element_bytes: usize) {
    let last = axes.len() - 1;
    let run = shape[last] * element_bytes;
    Steps::new(shape, axes, &[last]).each(|read, write| {
        let (read, write) = (read * element_bytes, write * element_bytes);
        made[write..write + run].copy_from_slice(&data[read..read + run]);
    });
}

/// The innermost axis of what is read is another one than that of what is written: tiles over those two.
fn tiles<const N: usize>(data: &[u8], made: &mut [u8], shape: &[usize], axes: &[usize]) {
    let (data, made) = (data.as_chunks::<N>().0, made.as_chunks_mut::<N>().0);
    let last = axes.len() - 1;
    // Where the innermost axis of what is read comes to lie.
    let across = axes.iter().position(|&axis| axis == last).unwrap_or(last);
    let lengths: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
    let (rows, columns) = (lengths[across], lengths[last]);
    let (read_step, write_step) = (strides(shape)[axes[last]], strides(&lengths)[across]);
    Steps::new(shape, axes, &[across, last]).each(|read, write| {
        for row in (0..rows).step_by(TILE) {
            let rows = row..rows.min(row + TILE);
            for column in (0..columns).step_by(TILE) {
                let columns = column..columns.min(column + TILE);
                for row in rows.clone() {
                    let line = &mut made[write + row * write_step..][columns.clone()];
                    let column = read + row + columns.start * read_step;
                    for (element, from) in line.iter_mut().zip(data[column..].iter().step_by(read_step)) {
                        *element = *from;
                    }
                }
            }
        }
    });
}

//! Copies a region of one tensor to a place in another, in the longest runs of bytes that lie together in both.

/// A tensor's shape, and where the region begins in it.
pub(super) struct Place<'a> {
    pub shape: &'a [usize],
    pub start: &'a [usize],
}

impl Place<'_> {
    /// Elements from the first one to the region's first one.
    fn offset(&self, strides: &[usize]) -> usize {
        self.start.iter().zip(strides).map(|(start, stride)| start * stride).sum()
    }
}

/// Copies a region of this shape; all three have as many axes, and the region lies in both tensors.
pub(super) fn copy(source: &[u8], from: &Place<'_>, target: &mut [u8], to: &Place<'_>, region: &[usize], element_bytes: usize) {
    if region.contains(&0) {
        return;
    }
    let (inner, run) = run(from.shape, to.shape, region);
    let (from_strides, to_strides) = (strides(from.shape), strides(to.shape));
    let (mut read, mut write) = (from.offset(&from_strides), to.offset(&to_strides));
    let mut index = vec![0; inner];
    loop {
        let (read_at, write_at, bytes) = (read * element_bytes, write * element_bytes, run * element_bytes);
        target[write_at..write_at + bytes].copy_from_slice(&source[read_at..read_at + bytes]);
        let mut axis = inner;
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            (index[axis], read, write) = (index[axis] + 1, read + from_strides[axis], write + to_strides[axis]);
            if index[axis] < region[axis] {
                break;
            }
            (index[axis], read, write) = (0, read - region[axis] * from_strides[axis], write - region[axis] * to_strides[axis]);
        }
    }
}

/// The axis from which on the region lies together in both tensors, and how many elements that are.
fn run(from: &[usize], to: &[usize], region: &[usize]) -> (usize, usize) {
    let (mut axis, mut run) = (region.len(), 1);
    while axis > 0 {
        axis -= 1;
        run *= region[axis];
        if from[axis] != region[axis] || to[axis] != region[axis] {
            break;
        }
    }
    (axis, run)
}

/// Elements from one index of each axis to the next.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

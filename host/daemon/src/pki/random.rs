//! Random bytes that nobody can guess, for secrets and serial numbers.

use super::{PkiFault, handshake};
use crate::error::Error;

pub(super) fn bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    handshake::provider().secure_random.fill(&mut bytes).map_err(|_| PkiFault::Random)?;
    Ok(bytes)
}

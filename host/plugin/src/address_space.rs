//! How much address space each linear memory of a guest has for itself. Reserving takes no memory. With all that 32 bits can
//! address, code needs no check before it reads or writes: what lies beyond a memory is mapped to nothing, and the processor
//! traps. With less, every access is checked, which makes planning for a thousand devices take half as long again.

/// All that an address of 32 bits can reach.
const ALL_BYTES: u64 = 4 << 30;
/// Where there is no room for that. Memories that outgrow it move.
const FEW_BYTES: u64 = 256 << 20;
/// Guests with all of it that must find room, with their guards and beside everything else: a terabyte in all. Where addresses
/// have 39 bits, as in the kernels of some boards, or a limit is set for the process, they do not.
const GUESTS: u64 = 256;

/// Address space to set aside for each linear memory in this process.
pub(crate) fn for_each_memory() -> u64 {
    if can_reserve(GUESTS * ALL_BYTES) { ALL_BYTES } else { FEW_BYTES }
}

/// Tries it, and gives it back at once.
#[cfg(unix)]
fn can_reserve(bytes: u64) -> bool {
    let Ok(bytes) = usize::try_from(bytes) else {
        return false;
    };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at a place that the system chooses, which nobody can read or write.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
    if place == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: exactly what was mapped above; no pointer into it exists.
    unsafe { libc::munmap(place, bytes) == 0 }
}

/// Nothing is known of the system, so little is asked of it.
#[cfg(not(unix))]
fn can_reserve(_bytes: u64) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_processor_can_address_cannot_be_reserved() {
        assert!(can_reserve(1 << 20));
        assert!(!can_reserve(1 << 60));
    }
}

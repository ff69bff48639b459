//! Where a device's central is, as far as the device knows: it may move while the device runs.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;

/// An address. A clone follows the same central.
#[derive(Clone)]
pub struct Whereabouts(Arc<ArcSwap<String>>);

impl Whereabouts {
    /// It was found there.
    pub fn new(address: String) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(address)))
    }

    /// Where it was found last.
    pub fn address(&self) -> String {
        String::clone(&self.0.load())
    }

    /// It was found there now. False if that is where it was before.
    pub fn moved(&self, address: &str) -> bool {
        let before = self.0.swap(Arc::new(address.to_owned()));
        *before != address
    }
}

impl fmt::Debug for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Whereabouts").field(&self.address()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_follows_a_central_learns_that_it_moved() {
        let central = Whereabouts::new("10.0.0.1:23457".to_owned());
        let follower = central.clone();
        assert!(!central.moved("10.0.0.1:23457"));
        assert!(central.moved("10.0.0.2:23457"));
        assert_eq!(follower.address(), "10.0.0.2:23457");
    }
}

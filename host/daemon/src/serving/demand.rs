//! How many requests come for each model: counted where they arrive, told to the cluster with each heartbeat of the central.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host_core::ids::ModelId;

/// Counts requests. A clone counts the same ones.
#[derive(Clone, Debug, Default)]
pub struct Demand(Arc<Mutex<BTreeMap<ModelId, u32>>>);

impl Demand {
    /// A request for a model has arrived, whatever will come of it.
    pub fn count(&self, model: &ModelId) {
        let mut counts = self.lock();
        match counts.get_mut(model) {
            Some(count) => *count = count.saturating_add(1),
            None => {
                counts.insert(model.clone(), 1);
            }
        }
    }

    /// What has arrived since this was asked last; nothing of models for which nothing has.
    pub fn take(&self) -> BTreeMap<ModelId, u32> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ModelId, u32>> {
        // Counts are whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use host_core::ids::ModelName;

    use super::*;

    #[test]
    fn each_request_is_told_once_whoever_counted_it() {
        let (demand, model) = (Demand::default(), |version| ModelId { name: ModelName::parse("m").expect("a name"), version });
        let door = demand.clone();
        for version in [1, 2, 1] {
            door.count(&model(version));
        }
        assert_eq!(demand.take(), BTreeMap::from([(model(1), 2), (model(2), 1)]));
        assert_eq!(demand.take(), BTreeMap::new());
    }
}

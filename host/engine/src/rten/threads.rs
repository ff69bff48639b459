//! Threads that rten computes on. Each thread that calls has its own, one pool for each number of threads that it ever asked for:
//! a pool for all would make devices of one process wait for one another. They end with the thread that called.

use std::{cell::RefCell, sync::Arc};

use rten::ThreadPool;

thread_local! {
    static POOLS: RefCell<Vec<(usize, Arc<ThreadPool>)>> = const { RefCell::new(Vec::new()) };
}

/// The calling thread's pool of this many threads.
pub(super) fn pool(threads: usize) -> Arc<ThreadPool> {
    POOLS.with_borrow_mut(|pools| {
        if let Some((_, pool)) = pools.iter().find(|(count, _)| *count == threads) {
            return Arc::clone(pool);
        }
        let pool = Arc::new(ThreadPool::with_num_threads(threads));
        pools.push((threads, Arc::clone(&pool)));
        pool
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_calling_thread_has_a_pool_of_its_own_for_each_number_of_threads() {
        let (one, two) = (pool(1), pool(2));
        assert!(Arc::ptr_eq(&one, &pool(1)) && Arc::ptr_eq(&two, &pool(2)) && !Arc::ptr_eq(&one, &two));
        let other = std::thread::spawn(|| pool(1)).join().expect("it makes a pool");
        assert!(!Arc::ptr_eq(&one, &other));
    }
}

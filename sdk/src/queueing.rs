//! For plugins that decide who waits. Called by authors of such plugins.

/// The generated bindings; use the names that this module re-exports.
#[doc(hidden)]
#[allow(missing_debug_implementations, unused, clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, reason = "generated code")]
pub mod bindings {
    // Only a build for the sandbox exports anything. Elsewhere several features may be on at once, and their export
    // macros would collide.
    #[cfg(target_arch = "wasm32")]
    wit_bindgen::generate!({
        path: "../wit",
        world: "queueing-policy",
        pub_export_macro: true,
        export_macro_name: "export_queueing_world",
        default_bindings_module: "shardhost_sdk::queueing::bindings",
        additional_derives: [PartialEq],
    });
    #[cfg(not(target_arch = "wasm32"))]
    wit_bindgen::generate!({
        path: "../wit",
        world: "queueing-policy",
        additional_derives: [PartialEq],
    });
}

pub use bindings::{
    exports::shardhost::plugin::queueing::{Arrival, ClassState, Decision},
    shardhost::plugin::{log::Level, types::Refusal},
};

/// Ranks or refuses arrivals. The same arguments must always give the same answer.
pub trait QueueingPolicy: Sized + 'static {
    /// Called once, with the JSON object from the slot's configuration, `{}` if there is none. The error is shown to
    /// whoever installs the plugin.
    fn configure(config: &str) -> Result<Self, String>;

    /// A finite rank, the smallest served first, or a refusal.
    fn admit(&mut self, arrival: &Arrival) -> Decision;
}

/// The attribute of an arrival that says which rank had its turn last.
pub const SERVED_RANK: &str = "served-rank";
/// The attribute of an arrival that says how many milliseconds lie between two turns while requests wait.
pub const TURN_MS: &str = "turn-ms";

impl Arrival {
    /// The rank of the request that was given its turn last; none where the host does not say.
    pub fn served_rank(&self) -> Option<f64> {
        self.number(SERVED_RANK)
    }

    /// Milliseconds from one turn to the next while requests wait, on average; none before the host has seen that.
    pub fn turn_ms(&self) -> Option<f64> {
        self.number(TURN_MS).filter(|ms| *ms >= 0.0)
    }

    /// Requests that wait, over all classes.
    pub fn waiting(&self) -> u64 {
        self.classes.iter().map(|class| u64::from(class.depth)).sum()
    }

    /// Requests that wait in the class of this one.
    pub fn waiting_alike(&self) -> u32 {
        self.classes.get(self.class as usize).map_or(0, |class| class.depth)
    }

    /// How many of those who wait go before a rank, as far as can be told: the ranks of a class are taken to lie evenly between
    /// `first`, which no rank that waits is below, and the last that it was given.
    pub fn ahead_of(&self, rank: f64, first: f64) -> f64 {
        let ahead = |class: &ClassState| {
            let share = if rank < class.last_rank { (rank - first) / (class.last_rank - first) } else { 1.0 };
            // Nothing is known of ranks that do not lie between the two.
            f64::from(class.depth) * if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
        };
        self.classes.iter().map(ahead).sum()
    }

    /// Why this one should not wait behind so many: the answer would come after its deadline. None if it comes in time, if nobody
    /// named a deadline, or if the host does not know yet how fast its line moves.
    pub fn too_late_behind(&self, ahead: f64) -> Option<Refusal> {
        let wait_ms = ahead * self.turn_ms().unwrap_or(0.0);
        if self.deadline_ms <= 0.0 || wait_ms + self.expected_ms <= self.deadline_ms {
            return None;
        }
        let wait = if wait_ms > 0.0 { format!(" after {wait_ms:.1} ms in the line") } else { String::new() };
        Some(Refusal::because(format!("the answer takes {:.1} ms{wait}, the client waits {:.1} ms", self.expected_ms, self.deadline_ms)))
    }

    fn number(&self, name: &str) -> Option<f64> {
        let (_, text) = self.attributes.iter().find(|(known, _)| known == name)?;
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }
}

impl Refusal {
    /// A refusal without more to say.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), nearest: None, short_bytes: 0.0 }
    }
}

/// Writes a line to the host's plugin log. Does nothing outside the sandbox.
pub fn log(level: Level, message: &str) {
    if cfg!(target_arch = "wasm32") {
        bindings::shardhost::plugin::log::write(level, message);
    }
}

#[doc(hidden)]
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| log(Level::Error, &panic.to_string())));
}

/// Makes a type that implements [`QueueingPolicy`] the plugin that this crate builds.
#[macro_export]
macro_rules! export_queueing {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::embed_metadata!();
            use $crate::queueing::{QueueingPolicy, bindings::exports::shardhost::plugin as exported};

            ::std::thread_local! {
                static POLICY: ::std::cell::RefCell<Option<$policy>> = const { ::std::cell::RefCell::new(None) };
            }

            struct Component;

            impl exported::plugin::Guest for Component {
                fn configure(config: String) -> Result<(), String> {
                    $crate::queueing::log_panics();
                    let policy = <$policy as QueueingPolicy>::configure(&config)?;
                    POLICY.set(Some(policy));
                    Ok(())
                }
            }

            impl exported::queueing::Guest for Component {
                fn admit(arrival: $crate::queueing::Arrival) -> $crate::queueing::Decision {
                    POLICY.with_borrow_mut(|policy| policy.as_mut().expect("the host calls configure first").admit(&arrival))
                }
            }

    $crate::queueing::bindings::export_queueing_world!(Component with_types_in $crate::queueing::bindings);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(classes: &[(u32, f64)], turn_ms: &str) -> Arrival {
        let classes = classes.iter().map(|&(depth, last_rank)| ClassState { depth, last_rank }).collect();
        let attributes = vec![(SERVED_RANK.to_owned(), "-2.5".to_owned()), (TURN_MS.to_owned(), turn_ms.to_owned())];
        Arrival { ordinal: 0, class: 1, now_ms: 0.0, deadline_ms: 100.0, expected_ms: 10.0, classes, depth_max: 8, attributes }
    }

    #[test]
    fn what_the_host_says_of_its_line_is_read_from_the_attributes() {
        let told = arrival(&[(2, 0.0), (3, 0.0)], "0.5");
        assert_eq!((told.served_rank(), told.turn_ms(), told.waiting(), told.waiting_alike()), (Some(-2.5), Some(0.5), 5, 3));
        let silent = Arrival { attributes: Vec::new(), ..told };
        assert_eq!((silent.served_rank(), silent.turn_ms()), (None, None));
        for nonsense in ["", "soon", "NaN", "inf", "-1"] {
            assert_eq!(arrival(&[], nonsense).turn_ms(), None, "{nonsense}");
        }
    }

    #[test]
    fn those_ahead_are_counted_by_where_the_ranks_of_their_classes_lie() {
        let line = arrival(&[(10, 20.0), (4, 5.0), (0, 900.0)], "1");
        for (rank, first, ahead) in [(10.0, 0.0, 9.0), (5.0, 0.0, 6.5), (0.0, 0.0, 0.0), (50.0, 0.0, 14.0), (-3.0, 0.0, 0.0), (19.0, 20.0, 4.0)] {
            assert_eq!(line.ahead_of(rank, first), ahead, "rank {rank} from {first}");
        }
        assert_eq!(arrival(&[(3, 1e300), (3, f64::INFINITY)], "1").ahead_of(-1e300, -1e300), 0.0);
    }

    #[test]
    fn who_would_be_answered_too_late_is_told_the_times_that_disagree() {
        let reason = |turn_ms, ahead| arrival(&[], turn_ms).too_late_behind(ahead).map(|refusal| refusal.reason);
        assert_eq!((reason("3", 30.0), reason("unknown", 1e9)), (None, None));
        assert_eq!(reason("3", 31.0).as_deref(), Some("the answer takes 10.0 ms after 93.0 ms in the line, the client waits 100.0 ms"));
        let hopeless = Arrival { expected_ms: 101.0, ..arrival(&[], "3") };
        assert_eq!(hopeless.too_late_behind(0.0).expect("late").reason, "the answer takes 101.0 ms, the client waits 100.0 ms");
        assert_eq!(Arrival { deadline_ms: 0.0, ..hopeless }.too_late_behind(1e9), None);
    }
}

//! Any list of events keeps the invariants, and a pool that calms down serves what can be served.

use proptest::prelude::*;

use super::{
    world::{DEVICES, MODELS, Manner, World},
    *,
};
use crate::link::{Endpoint, Reach, Speed};

#[derive(Clone, Debug)]
enum Step {
    /// A device of so many MiB, with what it still holds or anew.
    Join(usize, u64, bool),
    /// The connection is cut; what was on its way is done or not.
    Cut(usize, bool),
    Leave(usize),
    Beat(usize),
    Wait(u16),
    Cordon(usize),
    Uncordon(usize),
    Drain(usize),
    Undrain(usize),
    Remove(usize),
    /// From one device to another, or unreachable for 0 bytes per millisecond.
    Link(usize, usize, u16),
    Add(usize, usize),
    Withdraw(usize),
    Replan,
    /// So many requests for a model.
    Request(usize, u32),
    /// What a device holds takes so many milliseconds.
    Measure(usize, u8),
    Stale,
    /// The central starts anew; what was on its way is done or not.
    Restart(bool),
    /// Answers one open effect: the first number picks it, the second how well it goes.
    Answer(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let device = || 0..DEVICES.len();
    prop_oneof![
        4 => (device(), 0_u64..6, any::<bool>()).prop_map(|(device, mib, anew)| Step::Join(device, mib, anew)),
        2 => (device(), any::<bool>()).prop_map(|(device, performed)| Step::Cut(device, performed)),
        1 => device().prop_map(Step::Leave),
        3 => device().prop_map(Step::Beat),
        2 => (0_u16..2_000).prop_map(Step::Wait),
        1 => device().prop_map(Step::Cordon),
        1 => device().prop_map(Step::Uncordon),
        1 => device().prop_map(Step::Drain),
        1 => device().prop_map(Step::Undrain),
        1 => device().prop_map(Step::Remove),
        1 => (device(), device(), 0_u16..3).prop_map(|(source, target, speed)| Step::Link(source, target, speed)),
        3 => (0..MODELS.len(), 1_usize..6).prop_map(|(model, blocks)| Step::Add(model, blocks)),
        1 => (0..MODELS.len()).prop_map(Step::Withdraw),
        1 => Just(Step::Replan),
        3 => (0..MODELS.len(), 0_u32..100).prop_map(|(model, requests)| Step::Request(model, requests)),
        2 => (device(), any::<u8>()).prop_map(|(device, ms)| Step::Measure(device, ms)),
        1 => Just(Step::Stale),
        1 => any::<bool>().prop_map(Step::Restart),
        16 => (any::<usize>(), any::<u8>()).prop_map(|(which, how)| Step::Answer(which, how)),
    ]
}

fn take(world: &mut World, step: Step, manner: fn(u8) -> Manner) {
    let named = |device: usize| device_id(DEVICES[device]);
    match step {
        Step::Join(device, mib, anew) => world.join(device, mib, anew),
        Step::Cut(device, performed) => world.cut(device, performed, |device| Event::Away { device }),
        Step::Leave(device) => world.cut(device, true, |device| Event::Left { device }),
        Step::Beat(device) => world.beat(device),
        Step::Wait(ms) => world.wait(f64::from(ms)),
        Step::Cordon(device) => world.apply(Event::CordonAsked { device: named(device) }),
        Step::Uncordon(device) => world.apply(Event::UncordonAsked { device: named(device) }),
        Step::Drain(device) => world.apply(Event::DrainAsked { device: named(device) }),
        Step::Undrain(device) => world.apply(Event::UndrainAsked { device: named(device) }),
        Step::Remove(device) => world.apply(Event::RemoveAsked { device: named(device) }),
        Step::Link(source, target, speed) => {
            let direct = Speed { latency: Millis(1.0), bytes_per_ms: f64::from(speed) };
            let reach = if speed == 0 { Reach::Unreachable } else { Reach::Direct(direct) };
            world.apply(Event::LinkMeasured { source: Endpoint::Device(named(source)), target: Endpoint::Device(named(target)), reach });
        }
        Step::Add(model, blocks) => world.add(model, blocks),
        Step::Withdraw(model) => world.remove(model),
        Step::Replan => world.apply(Event::ReplanAsked),
        Step::Request(model, requests) => world.request(model, requests),
        Step::Measure(device, ms) => world.measure(device, f64::from(ms)),
        Step::Stale => {
            world.apply(Event::Solved { ticket: Ticket(u64::MAX), outcome: Ok(Proposal::default()) });
            world.apply(Event::Reviewed { ticket: Ticket(u64::MAX), verdict: Verdict::Replan("late".into()) });
        }
        Step::Restart(performed) => world.restart(performed),
        Step::Answer(which, how) => world.answer(which, manner(how)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_list_of_events_keeps_the_invariants(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        let mut number = PlanNumber(0);
        for step in steps {
            take(&mut world, step, Manner::Any);
            prop_assert!(world.cluster.plan().plan().number >= number, "plan numbers grow");
            number = world.cluster.plan().plan().number;
        }
    }

    #[test]
    fn a_pool_that_calms_down_serves_every_model_that_it_can(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            take(&mut world, step, Manner::Good);
        }
        world.calm_down();
        world.check_served();
    }
}

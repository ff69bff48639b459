//! Plans that are reviewed: for which causes, how often, and how few plans come of it whatever a policy says.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::{
    ids::OfferId,
    link::{Endpoint, Reach, Speed},
    noise,
    policy::Observation,
};

/// What is asked of a policy, and what a stage takes by its device and prediction, in milliseconds.
type Review = Box<dyn FnMut(&Observation) -> Verdict>;
type Place = Box<dyn FnMut(&Problem) -> Result<Proposal, Refusal>>;
type Takes = Box<dyn FnMut(&str, f64) -> f64>;

/// A pool in service: its devices beat and measure, requests come, and time goes by.
struct Service {
    cluster: Cluster,
    now: f64,
    devices: &'static [&'static str],
    /// Requests in each tick.
    requests: u32,
    /// Share of time that each device's accelerator is busy.
    busy: Vec<f64>,
    review: Review,
    place: Place,
    takes: Takes,
    /// Why each review was asked for.
    causes: Vec<String>,
    /// Why each plan was made, since the service began.
    plans: Vec<String>,
}

impl Service {
    fn new(settings: ClusterSettings, devices: &'static [&'static str], mib: u64) -> Self {
        let cluster = Cluster::new(settings, PlanNumber(0));
        let mut service = Self {
            cluster,
            now: 0.0,
            devices,
            requests: 5,
            busy: vec![0.5; devices.len()],
            review: Box::new(|_| Verdict::Keep),
            place: Box::new(|problem| fill(problem, 0)),
            takes: Box::new(|_, predicted| predicted),
            causes: Vec::new(),
            plans: Vec::new(),
        };
        for name in devices {
            service.take(joined(name, mib, vec![], 0.0));
        }
        service.take(added("m", 4));
        service.plans.clear();
        service
    }

    fn take(&mut self, event: Event) {
        let mut queue = VecDeque::from(self.cluster.apply(event));
        while let Some(effect) = queue.pop_front() {
            let event = match effect {
                Effect::Solve { ticket, problem } => Event::Solved { ticket, outcome: (self.place)(&problem) },
                Effect::Review { ticket, cause, observation } => {
                    self.causes.push(cause.to_string());
                    Event::Reviewed { ticket, verdict: (self.review)(&observation) }
                }
                Effect::Load { offer, shard } => Event::Loaded { offer, shard },
                Effect::Unload { offer, shard } => Event::Unloaded { offer, shard },
                Effect::Record { reason, .. } => {
                    self.plans.push(reason.to_string());
                    continue;
                }
                _ => continue,
            };
            queue.extend(self.cluster.apply(event));
        }
    }

    /// What each stage takes, the pressures, the requests, and a tick.
    fn step(&mut self) {
        let tick = self.cluster.settings.tick.0;
        self.now += tick;
        let now = Millis(self.now);
        for (name, &accelerator) in self.devices.iter().zip(&self.busy.clone()) {
            let pressures = Pressures { accelerator, ..Pressures::default() };
            self.take(Event::Heartbeat { device: device_id(name), pressures, now });
        }
        let stages: Vec<(OfferId, ShardId)> = if self.requests > 0 { self.cluster.plan().plan().shards().into_iter().collect() } else { Vec::new() };
        for (offer, shard) in stages {
            // A block of 1 GFLOP takes a millisecond on each device.
            let run = Millis((self.takes)(offer.device.as_str(), f64::from(shard.range.count())));
            self.take(Event::Measured { offer, shard, run, runs: 1 });
        }
        self.take(Event::Requested { model: model_id("m"), requests: self.requests, now });
        self.take(Event::Tick { now });
    }

    fn run_for(&mut self, seconds: u32) {
        let end = self.now + f64::from(seconds) * 1e3;
        while self.now < end {
            self.step();
        }
    }
}

/// Two devices that each hold half of a model of four blocks.
fn halves() -> Service {
    Service::new(ClusterSettings::default(), &["a", "b"], 2)
}

/// Ticks of ten seconds, so that a day goes by in a moment.
fn slow_clock() -> ClusterSettings {
    ClusterSettings { tick: Millis(10_000.0), lease: Millis(60_000.0), ..ClusterSettings::default() }
}

/// Wants another plan each time.
fn never_content() -> Review {
    Box::new(|_| Verdict::Replan("it is never content".into()))
}

/// Places the model elsewhere each time.
fn always_elsewhere() -> Place {
    let times = Cell::new(0);
    Box::new(move |problem| {
        times.set(times.get() + 1);
        fill(problem, times.get())
    })
}

#[test]
fn a_plan_that_is_used_is_reviewed_now_and_then_and_one_that_is_not_is_left_alone() {
    let mut service = halves();
    service.run_for(600);
    assert!((9..=10).contains(&service.causes.len()), "about once a minute: {:?}", service.causes);
    assert!(service.causes.iter().all(|cause| cause == "it was time for it"), "{:?}", service.causes);
    service.requests = 0;
    service.run_for(600);
    let before = service.causes.len();
    service.run_for(3_600);
    assert_eq!((service.causes.len(), service.plans.len()), (before, 0), "nobody asks for the model any more");
}

#[test]
fn a_policy_is_shown_what_was_measured_and_how_hard_devices_work() {
    let mut service = halves();
    service.busy = vec![0.25, 0.75];
    service.takes = Box::new(|name, predicted| if name == "a" { predicted } else { 1.25 * predicted });
    let shown = std::rc::Rc::new(std::cell::RefCell::new(None));
    let seen = shown.clone();
    service.review = Box::new(move |observation| {
        *seen.borrow_mut() = Some(observation.clone());
        Verdict::Keep
    });
    service.run_for(62);
    let observation = shown.borrow().clone().expect("a minute is over");
    assert_eq!(observation.problem, service.cluster.problem(&model_id("m")).expect("it is known"));
    let stages: Vec<_> = observation.stages.iter().map(|stage| (stage.replica, stage.stage, stage.predicted.0, stage.measured.0)).collect();
    assert_eq!(stages, [(0, 0, 2.0, 2.0), (0, 1, 2.0, 2.5)]);
    assert!(observation.stages.iter().all(|stage| (110..=124).contains(&stage.runs)), "{:?}", observation.stages);
    assert!((observation.pressure_max - 0.75).abs() < 1e-9 && (observation.pressure_mean - 0.5).abs() < 1e-9, "{observation:?}");
    assert!((observation.arrival.0 - 100.0).abs() < 20.0, "five requests in each half of a second: {}", observation.arrival);
}

#[test]
fn a_stage_that_drifts_is_a_cause_once_and_again_when_it_drifts_back() {
    let mut service = halves();
    service.run_for(65);
    service.causes.clear();
    service.takes = Box::new(|name, predicted| if name == "b" { 2.0 * predicted } else { predicted });
    service.run_for(30);
    assert_eq!(service.causes.len(), 1, "{:?}", service.causes);
    assert!(service.causes[0].contains("m@1[2..4) takes") && service.causes[0].contains("on b/cpu, 2.00 ms was reckoned with"), "{:?}", service.causes);
    service.run_for(600);
    let drifts = |service: &Service| service.causes.iter().filter(|cause| cause.contains("takes")).count();
    // The mean went on to move for a while after it was seen first.
    assert!(drifts(&service) <= 2, "{:?}", service.causes);
    let before = drifts(&service);
    service.takes = Box::new(|_, predicted| predicted);
    service.run_for(120);
    assert!(drifts(&service) > before, "{:?}", service.causes);
}

#[test]
fn a_plan_that_a_review_leads_to_says_why() {
    let mut service = halves();
    service.takes = Box::new(|name, predicted| if name == "a" { 3.0 * predicted } else { predicted });
    service.review = Box::new(|observation| {
        let slow = observation.stages.iter().any(|stage| stage.measured.0 > 1.5 * stage.predicted.0);
        if slow { Verdict::Replan("a stage is slow".into()) } else { Verdict::Keep }
    });
    service.place = Box::new(|problem| fill(problem, 1));
    service.run_for(70);
    let [reason] = &service.plans[..] else { panic!("one plan, not {:?}", service.plans) };
    assert!(reason.starts_with("review of m@1, because m@1[0..2) takes ") && reason.ends_with(": a stage is slow"), "{reason}");
}

/// The cut of four blocks over both devices whose slowest stage takes least, by what the problem says that they cost.
fn best_cut(problem: &Problem) -> Result<Proposal, Refusal> {
    let stage = |offer, start, end| ProposedStage { offer, start, end };
    let chains = (1..4).map(|cut| vec![stage(0, 0, cut), stage(1, cut, 4)]);
    let best = chains.min_by(|one, other| problem.predict(one).period().0.total_cmp(&problem.predict(other).period().0));
    Ok(Proposal { replicas: best.into_iter().collect(), bound: 0.0 })
}

#[test]
fn a_chain_that_was_cut_before_its_stages_were_measured_is_cut_again_at_once_and_then_stays() {
    // The plan that fills has three blocks on a device that takes three times what it was calibrated to take.
    let mut service = Service::new(ClusterSettings::default(), &["a", "b"], 3);
    service.takes = Box::new(|name, predicted| if name == "a" { 3.0 * predicted } else { predicted });
    service.review = Box::new(|observation| {
        let slow = observation.stages.iter().any(|stage| stage.measured.0 > 1.25 * stage.predicted.0);
        if slow { Verdict::Replan("a stage is slow".into()) } else { Verdict::Keep }
    });
    service.place = Box::new(best_cut);
    let first_of = |service: &Service| service.cluster.planned(&model_id("m"))[0].stages[0].range;
    assert_eq!(first_of(&service), range(0, 3));
    service.run_for(9);
    assert_eq!(service.plans, [""; 0], "too little was measured, and a plan is not looked at in its first seconds");
    service.run_for(6);
    assert_eq!((service.plans.len(), first_of(&service)), (1, range(0, 1)), "{:?}", service.causes);
    service.run_for(3_600);
    assert_eq!((service.plans.len(), first_of(&service)), (1, range(0, 1)), "{:?}", service.plans);
}

#[test]
fn what_a_device_that_is_back_or_lost_changes_is_reviewed() {
    let mut service = Service::new(ClusterSettings::default(), &["a", "b", "c"], 2);
    service.run_for(65);
    service.causes.clear();
    service.take(away("c"));
    let now = service.now;
    service.take(joined("c", 2, vec![], now));
    service.run_for(12);
    assert_eq!(service.causes, ["device c is back"]);
    service.take(Event::Left { device: device_id("c") });
    service.devices = &["a", "b"];
    service.run_for(25);
    assert_eq!(service.causes[1..], ["lost c"]);
    assert_eq!(service.plans, [""; 0], "the plan did not use it");
}

#[test]
fn a_link_that_changes_much_is_a_cause() {
    let mut service = halves();
    service.run_for(65);
    service.causes.clear();
    let measured = |latency_ms| Event::LinkMeasured {
        source: Endpoint::Device(device_id("a")),
        target: Endpoint::Device(device_id("b")),
        reach: Reach::Direct(Speed { latency: Millis(latency_ms), bytes_per_ms: 1e5 }),
    };
    for latency_ms in [2.0, 2.1, 1.9] {
        service.take(measured(latency_ms));
        service.run_for(12);
    }
    assert_eq!(service.causes, ["the way from a to b changed"]);
    service.take(measured(40.0));
    service.run_for(25);
    assert_eq!(service.causes.len(), 2, "{:?}", service.causes);
}

#[test]
fn imbalance_is_told_once_until_it_has_gone() {
    let mut service = halves();
    let imbalances = |service: &Service| service.causes.iter().filter(|cause| cause.contains("busiest")).count();
    service.busy = vec![1.0, 0.2];
    service.run_for(600);
    assert_eq!(imbalances(&service), 1, "{:?}", service.causes);
    // Around the threshold, to and fro.
    for share in [0.5, 0.35, 0.5, 0.35] {
        service.busy = vec![1.0, share];
        service.run_for(120);
    }
    assert_eq!(imbalances(&service), 1, "{:?}", service.causes);
    service.busy = vec![0.9, 0.9];
    service.run_for(300);
    service.busy = vec![1.0, 0.2];
    service.run_for(300);
    assert_eq!(imbalances(&service), 2, "{:?}", service.causes);
}

#[test]
fn a_verdict_on_a_plan_that_is_no_longer_in_force_says_nothing() {
    let mut service = halves();
    let mut open = None;
    while open.is_none() {
        service.now += 500.0;
        let now = Millis(service.now);
        for name in service.devices {
            service.take(Event::Heartbeat { device: device_id(name), pressures: Pressures::default(), now });
        }
        service.take(Event::Requested { model: model_id("m"), requests: 5, now });
        let effects = service.cluster.apply(Event::Tick { now });
        open = effects.into_iter().find_map(|effect| if let Effect::Review { ticket, .. } = effect { Some(ticket) } else { None });
    }
    service.place = Box::new(|problem| fill(problem, 1));
    service.take(Event::ReplanAsked);
    assert_eq!(service.plans, ["another allocation policy is in service"]);
    let effects = service.cluster.apply(Event::Reviewed { ticket: open.expect("found"), verdict: Verdict::Replan("late".into()) });
    assert_eq!(costly(&effects), [""; 0]);
    assert!(!service.cluster.is_planning());
}

#[test]
fn a_policy_that_always_wants_another_plan_gets_few_of_them() {
    let mut service = Service::new(slow_clock(), &["a", "b", "c"], 2);
    service.review = never_content();
    service.place = always_elsewhere();
    let day = 24 * 3_600;
    service.run_for(day);
    assert!(service.plans.iter().all(|reason| reason.ends_with("it is never content")), "{:?}", service.plans);
    let counted = u32::try_from(service.plans.len()).expect("few");
    assert!(counted <= plans_max(day) && counted >= 24, "{counted} plans, {} at most", plans_max(day));
    assert!(service.causes.len() <= plans_max(day) as usize, "{} reviews", service.causes.len());
}

/// What a policy gets at most in so many seconds: pauses that double up to the longest, then one plan in each of those.
fn plans_max(seconds: u32) -> u32 {
    let settings = ReviewSettings::default();
    let (mut plans, mut at, mut pause) = (0, 0.0, settings.pause_min.0);
    while at <= f64::from(seconds) * 1e3 {
        plans += 1;
        at += pause;
        pause = (2.0 * pause).min(settings.pause_max.0);
    }
    plans
}

#[test]
fn models_are_asked_about_one_at_a_time_and_each_in_its_turn() {
    let mut cluster = pool(&[("a", 8), ("b", 8)], &[("m", 4), ("n", 4), ("o", 4)]);
    let mut asked = Vec::new();
    for step in 1..=400 {
        let now = Millis(f64::from(step) * 500.0);
        for name in ["a", "b"] {
            cluster.apply(Event::Heartbeat { device: device_id(name), pressures: Pressures::default(), now });
        }
        for model in ["m", "n", "o"] {
            cluster.apply(Event::Requested { model: model_id(model), requests: 1, now });
        }
        let reviews: Vec<Effect> = cluster.apply(Event::Tick { now }).into_iter().filter(|effect| matches!(effect, Effect::Review { .. })).collect();
        assert!(reviews.len() <= 1);
        for effect in reviews {
            let Effect::Review { ticket, observation, .. } = effect else { unreachable!("only those were kept") };
            // Nobody else is asked about before this one is answered.
            let other = cluster.apply(Event::Tick { now });
            assert!(!other.iter().any(|effect| matches!(effect, Effect::Review { .. })));
            asked.push(observation.problem.model.id().name.to_string());
            cluster.apply(Event::Reviewed { ticket, verdict: Verdict::Keep });
        }
    }
    assert_eq!(asked, ["m", "n", "o", "m", "n", "o", "m", "n", "o"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Noise of up to a quarter around what was predicted, for six hours: a policy that replans at half as much again is
    /// asked now and then, and never moves anything.
    #[test]
    fn noise_in_measured_times_moves_nothing(seed: u64, noise_ratio in 0.0..0.25_f64) {
        let mut service = Service::new(slow_clock(), &["a", "b", "c"], 2);
        let index = Cell::new(0);
        service.takes = Box::new(move |_, predicted| {
            index.set(index.get() + 1);
            predicted * (1.0 + noise_ratio * (2.0 * noise::uniform(seed, index.get()) - 1.0))
        });
        service.review = Box::new(|observation| {
            let slow = observation.stages.iter().any(|stage| stage.measured.0 > 1.5 * stage.predicted.0);
            if slow { Verdict::Replan("slow".into()) } else { Verdict::Keep }
        });
        service.place = always_elsewhere();
        service.run_for(6 * 3_600);
        prop_assert_eq!(&service.plans, &[""; 0]);
        let time_only = service.causes.iter().all(|cause| cause == "it was time for it");
        prop_assert!(time_only, "{:?}", service.causes);
        prop_assert!(service.causes.len() <= 6 * 60);
    }

    /// Devices whose speeds wander for twelve hours, and a policy without any hysteresis that moves the model to wherever it
    /// was fastest of late: the number of plans stays what the damping allows.
    #[test]
    fn a_policy_that_runs_after_every_change_does_not_oscillate(seed: u64, wander_ratio in 0.0..0.9_f64) {
        let mut service = Service::new(slow_clock(), &["a", "b"], 4);
        let index = Cell::new(0);
        service.takes = Box::new(move |name, predicted| {
            index.set(index.get() + 1);
            let way = seed.wrapping_add(u64::from(name == "b"));
            predicted * (1.0 + wander_ratio * (2.0 * noise::uniform(way, index.get() / 30) - 1.0))
        });
        service.review = Box::new(|observation| {
            let slow = observation.stages.iter().any(|stage| stage.measured.0 > stage.predicted.0);
            if slow { Verdict::Replan("the other one may be faster".into()) } else { Verdict::Keep }
        });
        service.place = always_elsewhere();
        let half_a_day = 12 * 3_600;
        service.run_for(half_a_day);
        prop_assert!(service.plans.len() <= plans_max(half_a_day) as usize, "{} plans", service.plans.len());
    }
}

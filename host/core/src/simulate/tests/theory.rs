//! What queueing theory says of one device and of many: the simulator must say the same.

use super::*;

/// One device that takes 10 ms for a request, under this load.
fn one_device(load: f64, run_times: RunTimes, arrivals: fn(f64) -> Arrivals) -> Outcome {
    let traffic = Traffic { arrivals: arrivals(load * 100.0), deadline: Millis(80_000_000.0), ..poisson(1.0) };
    let settings = SimulationSettings { run_times, duration: Millis(500_000.0), warm_up: Millis(20_000.0), attempts_max: 1, ..settings() };
    run(&scenario(vec![device("a", "here", 100.0, 64)], vec![model(1, 1)], vec![traffic], settings))
}

fn near(measured: f64, expected: f64, share: f64, what: &str) {
    assert!((measured - expected).abs() <= share * expected, "{what}: {measured}, theory says {expected}");
}

/// Time on the way and at the device, in milliseconds.
fn mean(outcome: &Outcome) -> f64 {
    outcome.requests.latencies.mean().expect("requests were served").0
}

#[test]
fn one_device_with_poisson_arrivals_takes_as_long_as_theory_says() {
    let poisson = |per_s| Arrivals::Poisson { per_s };
    for load in [0.3, 0.7] {
        // M/M/1: s / (1 - load). M/D/1 (Pollaczek and Khinchine): s + s * load / (2 * (1 - load)).
        let spread = one_device(load, RunTimes::Exponential, poisson);
        near(mean(&spread), 10.0 / (1.0 - load), 0.07, "M/M/1");
        let fixed = one_device(load, RunTimes::Fixed, poisson);
        near(mean(&fixed), 10.0 + 10.0 * load / (2.0 * (1.0 - load)), 0.05, "M/D/1");
        let regular = one_device(load, RunTimes::Fixed, |per_s| Arrivals::Regular { per_s });
        near(mean(&regular), 10.0, 1e-6, "D/D/1");
        for outcome in [&spread, &fixed, &regular] {
            near(outcome.devices[0].utilisation, load, 0.02, "utilisation");
            check_conserved(outcome);
        }
    }
}

#[test]
fn the_median_of_exponential_stays_is_that_of_theory() {
    let outcome = one_device(0.5, RunTimes::Exponential, |per_s| Arrivals::Poisson { per_s });
    // The stay in M/M/1 is exponential with mean 20 ms.
    near(outcome.requests.latencies.percentile(0.5).expect("served").0, 20.0 * 2.0_f64.ln(), 0.07, "median");
    near(outcome.requests.latencies.percentile(0.95).expect("served").0, 20.0 * 20.0_f64.ln(), 0.1, "95th percentile");
}

#[test]
fn as_many_requests_are_there_as_littles_law_says() {
    // With a turn for one request only, the line is where requests wait: L = rate * W.
    let settings = SimulationSettings { running_max: 1, duration: Millis(600_000.0), warm_up: Millis(20_000.0), attempts_max: 1, ..settings() };
    let outcome = run(&scenario(vec![device("a", "here", 100.0, 64)], vec![model(1, 1)], vec![poisson(70.0)], settings));
    let waiting: f64 = outcome.stretches.iter().map(|stretch| f64::from(stretch.waiting)).sum::<f64>() / outcome.stretches.len() as f64;
    let rate = outcome.requests.arrived as f64 / outcome.duration.0;
    // The line is sampled once in each of 240 stretches, so this is rough; the waits themselves are not.
    near(waiting, rate * outcome.requests.queued.0, 0.3, "requests that wait");
    near(outcome.requests.queued.0, 10.0 * 0.7 / (2.0 * 0.3), 0.07, "the wait for a turn");
}

#[test]
fn clients_that_ask_again_at_once_keep_the_slowest_stage_busy() {
    let devices = vec![device("a", "here", 100.0, 2), device("b", "here", 50.0, 2)];
    let traffic = Traffic { arrivals: Arrivals::Closed { clients: 8, think: Millis::ZERO }, ..poisson(1.0) };
    let outcome = run(&scenario(devices, vec![model(4, 1)], vec![traffic], settings()));
    // Two blocks on each: 20 ms on the first, 40 ms on the second.
    near(outcome.throughput_per_s, 25.0, 0.01, "throughput");
    near(mean(&outcome), 8.0 * 40.0, 0.02, "eight requests in turn at the slowest stage");
    near(outcome.devices[0].utilisation, 0.5, 0.02, "the faster device");
    near(outcome.devices[1].utilisation, 1.0, 0.01, "the slower device");
}

#[test]
fn a_message_takes_the_slowest_line_and_all_latencies() {
    let line = |latency, bytes_per_ms| Speed { latency: Millis(latency), bytes_per_ms };
    let mut devices = vec![device("a", "here", 1e6, 2), device("b", "there", 1e6, 2)];
    (devices[0].network, devices[1].network) = (line(1.0, 1_000.0), line(2.0, 100.0));
    let ways = FleetLinks { central_line: line(4.0, 10_000.0), between_sites: line(8.0, 500.0), ..links() };
    let traffic = Traffic { arrivals: Arrivals::Regular { per_s: 1.0 }, ..poisson(1.0) };
    let scenario = Scenario::new(devices, Vec::new(), ways, vec![model(4, 1)], vec![traffic], settings()).expect("a sound scenario");
    let outcome = run(&scenario);
    // 1,024 bytes in: 1.024 ms at 1,000 a ms, latencies 4 and 1. Between: 10.24 ms at 100, latencies 1, 8 and 2. Out: 10.24 ms at 100,
    // latencies 2, 8 and 4. Runs are 2 GFLOP at 10^6 GFLOP/s each.
    let expected = (1.024 + 5.0) + (10.24 + 11.0) + (10.24 + 14.0) + 2.0 * 0.002;
    near(mean(&outcome), expected, 1e-6, "one request alone");
    assert_eq!(outcome.activations, Bytes(3 * 1024 * outcome.requests.served));
}

#[test]
fn bursts_come_at_the_rate_that_they_were_said_to_have() {
    let bursts = |_| Arrivals::Bursts { per_s: 5.0, burst_per_s: 50.0, calm: Millis(4_000.0), burst: Millis(1_000.0) };
    let outcome = one_device(0.0, RunTimes::Fixed, bursts);
    near(outcome.requests.arrived as f64 / 500.0, (5.0 * 4.0 + 50.0) / 5.0, 0.1, "requests per second");
}

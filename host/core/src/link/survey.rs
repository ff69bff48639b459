//! Which links of a pool to measure next. Devices measure, the central asks them: few at once and so many a second over the whole
//! pool, so that no measurement disturbs another one, and a large pool, which has a link for each two devices, does not spend its
//! time on measuring itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
};

use super::{Endpoint, Reach};
use crate::{ids::DeviceId, noise, units::Millis};

/// When links are measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SurveySettings {
    /// From one measurement of a link to the next; each wait is up to a quarter shorter or longer.
    pub interval: Millis,
    /// Measurements that go on at once, over all devices. At least 1.
    pub at_once_max: usize,
    /// Between two questions, whoever is asked. In a large pool it and the number of links say how old measurements become.
    pub pause: Millis,
    /// How long a device may take to answer. Then it is asked again, when it is its turn.
    pub answer_max: Millis,
    /// When one end could not reach the other, it is asked again after this long before it is believed: an end that has just died
    /// should be known for lost by then.
    pub doubt: Millis,
    /// Which of the many ways to draw the moments.
    pub seed: u64,
}

/// What a device is asked to measure: its way to another end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Link {
    /// Who measures.
    pub source: DeviceId,
    /// The other end.
    pub target: Endpoint,
}

/// The ways to and from a device that has just come are measured within this long, its way to the central at once.
const FIRST_WITHIN: Millis = Millis(1_000.0);

/// All links of a pool, and when each is to be measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Survey {
    settings: SurveySettings,
    devices: BTreeSet<DeviceId>,
    links: BTreeMap<Link, Planned>,
    /// The same by the millisecond in which they are due; those that are being measured are not here.
    due: BTreeMap<u64, BTreeSet<Link>>,
    /// What was asked and not answered yet, and since when.
    asked: BTreeMap<Link, Millis>,
    /// From when on there may be another question.
    paused_until: Millis,
    /// How many moments have been drawn.
    drawn: u64,
}

#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Planned {
    due: u64,
    /// Whether the other end was not reached the last time.
    missed: bool,
}

impl Survey {
    /// Of a pool without devices.
    pub fn new(settings: SurveySettings) -> Self {
        Self { settings, devices: BTreeSet::new(), links: BTreeMap::new(), due: BTreeMap::new(), asked: BTreeMap::new(), paused_until: Millis::ZERO, drawn: 0 }
    }

    /// A device is there: its way to the central is measured, and its ways to all others and back. One that was there already has
    /// come anew, perhaps from elsewhere.
    pub fn joined(&mut self, device: &DeviceId, now: Millis) {
        self.left(device);
        let own = |target| Link { source: device.clone(), target };
        self.plan(own(Endpoint::Central), now, false);
        for other in self.devices.clone() {
            for link in [own(Endpoint::Device(other.clone())), Link { source: other, target: Endpoint::Device(device.clone()) }] {
                let wait = FIRST_WITHIN.0 * self.draw();
                self.plan(link, now + Millis(wait), false);
            }
        }
        self.devices.insert(device.clone());
    }

    /// A device is there no more. What it still says counts for nothing.
    pub fn left(&mut self, device: &DeviceId) {
        if !self.devices.remove(device) {
            return;
        }
        let gone = Endpoint::Device(device.clone());
        let targets = iter::once(Endpoint::Central).chain(self.devices.iter().cloned().map(Endpoint::Device));
        let links = targets.map(|target| Link { source: device.clone(), target });
        let back = self.devices.iter().map(|source| Link { source: source.clone(), target: gone.clone() });
        for link in links.chain(back).collect::<Vec<_>>() {
            self.unplan(&link);
            self.links.remove(&link);
            self.asked.remove(&link);
        }
    }

    /// What to ask for now; it counts as asked. None while nothing is due, or enough is under way: no end takes part in two
    /// measurements at once.
    pub fn next(&mut self, now: Millis) -> Option<Link> {
        self.give_up(now);
        if now < self.paused_until || self.asked.len() >= self.settings.at_once_max.max(1) {
            return None;
        }
        let busy: BTreeSet<Endpoint> = self.asked.keys().flat_map(Link::ends).collect();
        let mut waiting = self.due.range(..=passed(now)).flat_map(|(_, links)| links);
        let link = waiting.find(|link| link.ends().iter().all(|end| !busy.contains(end)))?.clone();
        self.unplan(&link);
        self.asked.insert(link.clone(), now);
        self.paused_until = now + self.settings.pause;
        Some(link)
    }

    /// A device says what it found. Gives what is to be believed: nothing if it was not asked, or if its word is doubted.
    pub fn heard(&mut self, link: &Link, reach: Reach, now: Millis) -> Option<Reach> {
        self.asked.remove(link)?;
        let missed = reach == Reach::Unreachable;
        let believed = !missed || self.links.get(link).is_some_and(|planned| planned.missed);
        let wait = if believed { self.interval() } else { self.settings.doubt };
        self.plan(link.clone(), now + wait, missed);
        believed.then_some(reach)
    }

    /// The first moment after `now` at which there may be something to ask, if nobody joins or answers before; none if there will
    /// be nothing.
    pub fn wakes(&self, now: Millis) -> Option<Millis> {
        let due = self.due.range(passed(now).saturating_add(1)..).next().map(|(due, _)| Millis(*due as f64));
        let given_up = self.asked.values().map(|since| *since + self.settings.answer_max);
        let resumed = self.due.keys().next().map(|_| self.paused_until).filter(|moment| *moment > now);
        given_up.chain(due).chain(resumed).min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Plans those again whose answer did not come.
    fn give_up(&mut self, now: Millis) {
        let late: Vec<Link> = self.asked.iter().filter(|(_, since)| now - **since >= self.settings.answer_max).map(|(link, _)| link.clone()).collect();
        for link in late {
            self.asked.remove(&link);
            let missed = self.links.get(&link).is_some_and(|planned| planned.missed);
            let wait = self.interval();
            self.plan(link, now + wait, missed);
        }
    }

    fn plan(&mut self, link: Link, due: Millis, missed: bool) {
        let due = tick(due);
        self.unplan(&link);
        self.due.entry(due).or_default().insert(link.clone());
        self.links.insert(link, Planned { due, missed });
    }

    fn unplan(&mut self, link: &Link) {
        let Some(planned) = self.links.get(link) else { return };
        if let Some(links) = self.due.get_mut(&planned.due) {
            links.remove(link);
            if links.is_empty() {
                self.due.remove(&planned.due);
            }
        }
    }

    fn interval(&mut self) -> Millis {
        Millis(self.settings.interval.0 * (0.75 + 0.5 * self.draw()))
    }

    fn draw(&mut self) -> f64 {
        let drawn = noise::uniform(self.settings.seed, self.drawn);
        self.drawn += 1;
        drawn
    }
}

impl Link {
    fn ends(&self) -> [Endpoint; 2] {
        [Endpoint::Device(self.source.clone()), self.target.clone()]
    }
}

/// The whole millisecond in which something is due. Rounded up, so that nothing is early.
fn tick(due: Millis) -> u64 {
    // `as` saturates: what is before the start is due at the start.
    due.0.ceil() as u64
}

/// The last whole millisecond that has begun.
fn passed(now: Millis) -> u64 {
    now.0 as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{link::Speed, testing::device_id};

    const SETTINGS: SurveySettings =
        SurveySettings { interval: Millis(100_000.0), at_once_max: 2, pause: Millis::ZERO, answer_max: Millis(10_000.0), doubt: Millis(3_000.0), seed: 5 };
    const REACHED: Reach = Reach::Direct(Speed::FREE);

    fn survey(devices: &[&str]) -> Survey {
        let mut survey = Survey::new(SETTINGS);
        for name in devices {
            survey.joined(&device_id(name), Millis(0.0));
        }
        survey
    }

    fn link(source: &str, target: &str) -> Link {
        let target = if target.is_empty() { Endpoint::Central } else { Endpoint::Device(device_id(target)) };
        Link { source: device_id(source), target }
    }

    /// Everything that is asked from `from` on until `to`, when each question is answered at once.
    fn answered(survey: &mut Survey, from: u32, to: u32, reach: impl Fn(&Link) -> Reach) -> Vec<(f64, Link)> {
        let mut asked = Vec::new();
        for now in from..to {
            let now = Millis(f64::from(now));
            while let Some(link) = survey.next(now) {
                survey.heard(&link, reach(&link), now);
                asked.push((now.0, link));
            }
        }
        asked
    }

    #[test]
    fn each_way_to_and_from_a_new_device_is_measured_soon_and_the_central_first() {
        let mut survey = survey(&["a", "b"]);
        let mut asked: Vec<Link> = answered(&mut survey, 0, 1_001, |_| REACHED).into_iter().map(|(_, link)| link).collect();
        assert_eq!(asked[..2], [link("a", ""), link("b", "")]);
        asked.sort();
        assert_eq!(asked, [link("a", ""), link("a", "b"), link("b", ""), link("b", "a")]);
        survey.joined(&device_id("c"), Millis(2_000.0));
        assert_eq!(answered(&mut survey, 2_000, 3_001, |_| REACHED).len(), 5, "to the central, to two others, and back");
    }

    #[test]
    fn each_link_is_measured_again_about_an_interval_later_and_not_all_at_once() {
        let mut survey = survey(&["a", "b", "c"]);
        assert_eq!(answered(&mut survey, 0, 1_001, |_| REACHED).len(), 9);
        let again = answered(&mut survey, 1_001, 126_002, |_| REACHED);
        let moments: BTreeSet<u64> = again.iter().take(9).map(|(now, _)| tick(Millis(*now))).collect();
        assert!(again.len() >= 9 && again[0].0 >= 75_000.0 && moments.len() >= 8, "{again:?}");
    }

    #[test]
    fn nobody_takes_part_in_two_measurements_at_once_and_few_go_on() {
        let mut survey = survey(&["a", "b", "c", "d", "e"]);
        let now = Millis(1_000.0);
        let (one, two) = (survey.next(now).expect("much is due"), survey.next(now).expect("much is due"));
        assert!(one.ends().iter().all(|end| !two.ends().contains(end)), "{one:?} {two:?}");
        assert_eq!(survey.next(now), None, "two go on");
        assert_eq!(survey.heard(&one, REACHED, now), Some(REACHED));
        let three = survey.next(now).expect("one is over");
        assert!(two.ends().iter().all(|end| !three.ends().contains(end)));
    }

    #[test]
    fn between_two_questions_there_is_a_pause() {
        let mut survey = Survey::new(SurveySettings { pause: Millis(250.0), ..SETTINGS });
        for name in ["a", "b", "c"] {
            survey.joined(&device_id(name), Millis(0.0));
        }
        let moments: Vec<f64> = answered(&mut survey, 0, 5_000, |_| REACHED).iter().map(|(now, _)| *now).collect();
        assert_eq!(moments.len(), 9);
        assert!(moments.windows(2).all(|pair| pair[1] - pair[0] >= 250.0), "{moments:?}");
        survey.joined(&device_id("d"), Millis(6_000.0));
        assert!(survey.next(Millis(6_000.0)).is_some() && survey.next(Millis(6_100.0)).is_none());
        assert!(survey.wakes(Millis(6_100.0)).is_some_and(|moment| moment <= Millis(6_250.0)));
    }

    #[test]
    fn that_an_end_is_not_reached_is_believed_the_second_time() {
        let mut survey = survey(&["a"]);
        let lost = |survey: &mut Survey, now: f64| {
            let link = survey.next(Millis(now)).expect("it is due");
            survey.heard(&link, Reach::Unreachable, Millis(now))
        };
        assert_eq!(lost(&mut survey, 0.0), None);
        assert_eq!(survey.wakes(Millis(0.0)), Some(Millis(3_000.0)));
        assert_eq!(lost(&mut survey, 3_000.0), Some(Reach::Unreachable));
        assert!(survey.wakes(Millis(3_000.0)).is_some_and(|next| next.0 >= 78_000.0));
        let link = survey.next(Millis(130_000.0)).expect("it is due");
        assert_eq!(survey.heard(&link, REACHED, Millis(130_000.0)), Some(REACHED));
        assert_eq!(lost(&mut survey, 300_000.0), None, "it was reached since");
    }

    #[test]
    fn what_nobody_asked_for_is_not_believed() {
        let mut survey = survey(&["a", "b"]);
        assert_eq!(survey.heard(&link("a", ""), REACHED, Millis(0.0)), None);
        let asked = survey.next(Millis(0.0)).expect("it is due");
        survey.left(&asked.source);
        assert_eq!(survey.heard(&asked, REACHED, Millis(1.0)), None, "the device is gone");
        assert_eq!(answered(&mut survey, 0, 2_000, |_| REACHED), [(0.0, link("b", ""))]);
    }

    #[test]
    fn a_question_without_an_answer_is_asked_again_in_its_turn() {
        let mut survey = survey(&["a"]);
        let asked = survey.next(Millis(0.0)).expect("it is due");
        assert_eq!((survey.next(Millis(9_999.0)), survey.wakes(Millis(0.0))), (None, Some(Millis(10_000.0))));
        assert_eq!(survey.next(Millis(10_000.0)), None);
        assert_eq!(survey.heard(&asked, REACHED, Millis(10_001.0)), None, "it is too late");
        assert_eq!(survey.next(Millis(135_000.0)), Some(asked));
        assert_eq!(Survey::new(SETTINGS).wakes(Millis(0.0)), None);
    }

    proptest! {
        #[test]
        fn whatever_happens_questions_are_few_apart_and_about_devices_that_are_there(steps in proptest::collection::vec((0_u8..4, 0_usize..5, 0.0..50_000.0_f64), 1..150)) {
            let names = ["a", "b", "c", "d", "e"];
            let mut survey = Survey::new(SurveySettings { pause: Millis(500.0), ..SETTINGS });
            let (mut now, mut open, mut here) = (Millis(0.0), Vec::<Link>::new(), BTreeSet::new());
            for (what, which, wait) in steps {
                let device = device_id(names[which]);
                match what {
                    0 => {
                        survey.joined(&device, now);
                        here.insert(device);
                    }
                    1 => {
                        survey.left(&device);
                        here.remove(&device);
                    }
                    2 => now = now + Millis(wait),
                    _ => {
                        if let Some(link) = open.pop() {
                            survey.heard(&link, if which == 0 { Reach::Unreachable } else { REACHED }, now);
                        }
                    }
                }
                while let Some(link) = survey.next(now) {
                    open.push(link);
                }
                prop_assert!(survey.asked.len() <= 2);
                let ends: Vec<Endpoint> = survey.asked.keys().flat_map(Link::ends).collect();
                prop_assert_eq!(ends.iter().collect::<BTreeSet<_>>().len(), ends.len());
                let known = |end: &Endpoint| if let Endpoint::Device(device) = end { here.contains(device) } else { true };
                prop_assert!(ends.iter().all(known));
                prop_assert_eq!(survey.links.len(), here.len() * here.len(), "each device has a way to each other and to the central");
                let planned: usize = survey.due.values().map(BTreeSet::len).sum();
                prop_assert_eq!(planned + survey.asked.len(), survey.links.len(), "each link is asked about or planned");
                let idle = survey.wakes(now).is_none();
                prop_assert!(!idle || here.is_empty(), "what is planned comes about");
            }
        }
    }
}

//! The conformance suite: hundreds of generated inputs for each world, edge cases among them. The plugin answers in the
//! sandbox under its real limits, every answer is proved, and each input is put to instances with different pasts, which
//! must not show. An input that breaks a rule is made smaller for as long as the same rule breaks.

mod adapter;
mod allocation;
mod queueing;
mod routing;
mod source;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use host_core::{
    decision::{Reply, is_same_answer},
    error::Error as Broken,
    ids::ModelId,
    policy::{Answer, PolicyFault, Refusal, StrikeKind},
};
use host_engine::Digest;

use crate::{
    clock::Clock,
    error::{Error, Fault},
    names::PluginKind,
    program::{Caged, Program},
    workbench::fresh,
    world::{Warm, World},
};

pub(crate) use allocation::problem as generated_problem;
pub(crate) use queueing::arrival as generated_arrival;
pub(crate) use routing::replicas;
pub(crate) use source::Source;

/// The name of every generated model.
pub(crate) fn generated_model_id() -> Result<ModelId, Broken> {
    source::model_id("generated")
}

/// Broken inputs after which a suite stops: the plugin is not right, and each may have cost a deadline.
const BROKEN_MAX: u32 = 16;

/// How a plugin is tested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TestSettings {
    /// The same seed gives the same inputs.
    pub seed: u64,
    /// Inputs to generate; adapters get a tenth, as each loads a shard.
    pub inputs: u32,
    /// The suite stops here with what it has seen.
    pub time_max: Duration,
    /// Smaller inputs that are tried for each broken rule.
    pub shrink_steps_max: u32,
}

impl Default for TestSettings {
    fn default() -> Self {
        Self { seed: 1, inputs: 300, time_max: Duration::from_secs(120), shrink_steps_max: 400 }
    }
}

/// What every answer must hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// It answers each call, within its limits.
    Answers,
    /// What it answers passes the host's own proof.
    Proved,
    /// A refusal gives a reason, and what it names exists.
    SoundRefusal,
    /// The same instance answers the same question alike.
    Repeats,
    /// An instance with another past answers alike.
    NoPast,
    /// An instance that was asked everything before answers alike.
    LongPast,
    /// The bound that a proposal names is not below what it is worth itself.
    BoundHolds,
    /// What an adapter computes is what the engine computes.
    Computes,
    /// Inputs that do not fit are answered with an error, and the adapter goes on.
    TakesErrors,
}

impl Rule {
    /// The rule in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Answers => "it answers each call within its limits of time, memory and size",
            Self::Proved => "what it answers passes the host's proof",
            Self::SoundRefusal => "a refusal gives a reason, and what it names exists",
            Self::Repeats => "the same instance answers the same question alike",
            Self::NoPast => "an instance that was told and asked other things before answers alike",
            Self::LongPast => "an instance that was asked all the questions before answers alike",
            Self::BoundHolds => "the bound of a proposal is not worse than what the proposal itself is worth",
            Self::Computes => "it computes what the engine computes",
            Self::TakesErrors => "inputs that do not fit are answered with an error, and the instance goes on",
        }
    }

    /// One word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Proved => "proved",
            Self::SoundRefusal => "sound_refusal",
            Self::Repeats => "repeats",
            Self::NoPast => "no_past",
            Self::LongPast => "long_past",
            Self::BoundHolds => "bound_holds",
            Self::Computes => "computes",
            Self::TakesErrors => "takes_errors",
        }
    }
}

/// How often a rule was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuleReport {
    /// The rule.
    pub rule: Rule,
    /// Inputs that it was held against.
    pub checked: u32,
    /// Inputs that broke it.
    pub broken: u32,
}

/// A broken rule, with the smallest input that was found to break it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The rule.
    pub rule: Rule,
    /// What is wrong.
    pub says: String,
    /// The first input that broke it, by number.
    pub number: u32,
    /// The smallest input that breaks it, for a person.
    pub input: String,
    /// Smaller inputs that were tried. 0 where the input alone does not break the rule.
    pub shrink_steps: u32,
}

/// What a suite found.
#[derive(Clone, PartialEq, Debug)]
pub struct TestReport {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// Its digest.
    pub digest: Digest,
    /// What it was tested as.
    pub kind: PluginKind,
    /// Of the inputs.
    pub seed: u64,
    /// Inputs that were put to it.
    pub inputs: u32,
    /// Inputs that it refused, in whole or in part.
    pub refused: u32,
    /// Inputs with a known answer, and how many of those it refused.
    pub possible: (u32, u32),
    /// Every rule that was looked at.
    pub rules: Vec<RuleReport>,
    /// One for each broken rule.
    pub failures: Vec<Failure>,
    /// What an author should know though no rule is broken.
    pub findings: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl TestReport {
    /// Whether no rule is broken.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// What one input showed.
#[derive(Default)]
pub(crate) struct Examination {
    passed: Vec<Rule>,
    broken: Option<Breach>,
    refused: bool,
    /// Whether there is an answer, where that is known.
    possible: Option<bool>,
    /// What is told but breaks no rule, and whether this input shows it.
    notes: Vec<(&'static str, bool)>,
}

/// How a rule broke.
#[derive(Clone, PartialEq, Debug)]
struct Breach {
    rule: Rule,
    /// Of a call that failed.
    kind: Option<StrikeKind>,
    says: String,
}

impl Breach {
    /// Whether two inputs are broken in the same way.
    fn is_like(&self, other: &Self) -> bool {
        (self.rule, self.kind) == (other.rule, other.kind)
    }
}

impl Examination {
    /// Notes a rule; only the first that breaks counts.
    pub(crate) fn hold(&mut self, rule: Rule, check: Result<(), String>) {
        match check {
            _ if self.broken.is_some() => {}
            Ok(()) => self.passed.push(rule),
            Err(says) => self.broken = Some(Breach { rule, kind: None, says }),
        }
    }

    /// Notes a call that failed.
    pub(crate) fn fault(&mut self, function: &str, fault: &PolicyFault) {
        if self.broken.is_none() {
            let rule = if fault.kind == StrikeKind::Invalid { Rule::Proved } else { Rule::Answers };
            self.broken = Some(Breach { rule, kind: Some(fault.kind), says: format!("{function}: {fault}") });
        }
    }

    /// Notes a refusal. `named_max` is how many things there are that it may name.
    pub(crate) fn refusal(&mut self, refusal: &Refusal, named_max: usize) {
        self.refused = true;
        let sound = match refusal.nearest {
            _ if refusal.reason.trim().is_empty() => Err("it refuses without a reason".to_owned()),
            Some(nearest) if nearest as usize >= named_max => Err(format!("its refusal names {nearest} as the nearest, there are {named_max}")),
            _ => Ok(()),
        };
        self.hold(Rule::SoundRefusal, sound);
    }

    pub(crate) fn note(&mut self, what: &'static str, shows: bool) {
        self.notes.push((what, shows));
    }
}

/// What is generated, examined and made smaller for one world.
pub(crate) trait Suite: World {
    /// What all inputs share and what takes long to make.
    type Context;
    type Input: Clone;
    /// Of as many inputs as the settings say, one in so many is made.
    const SHARE: u32 = 1;

    fn context() -> Result<Self::Context, Error>;
    fn generate(source: &mut Source, context: &Self::Context, number: u32) -> Result<Self::Input, Broken>;
    /// `elder` is an instance that was asked all the inputs before; without it the input stands for itself.
    fn examine(program: &Program<Self>, context: &Self::Context, input: &Self::Input, elder: Option<(&mut Warm<Self>, u32)>) -> Examination;
    /// Inputs that are a little smaller, the smallest first.
    fn smaller(input: &Self::Input) -> Vec<Self::Input>;
    fn render(input: &Self::Input) -> String;
}

/// How an instance comes to its answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// Of the topology that it is told.
    pub number: u32,
    /// Told only the newest, and asked backwards.
    pub short: bool,
}

/// A suite of a policy: everything that it may depend on is an argument.
pub(crate) trait PolicySuite: Suite<Context = ()> {
    /// Answers in the order of the input's questions; the short way may leave out the first ones.
    fn answers(warm: &mut Warm<Self>, input: &Self::Input, way: Way) -> Vec<Answer<Reply>>;
    /// Something else to be asked first.
    fn decoy() -> Result<Self::Input, Broken>;
    /// What this world's rules say to the answers of a fresh instance.
    fn judge(program: &Program<Self>, input: &Self::Input, answers: &[Answer<Reply>], seen: &mut Examination);
}

/// Puts an input to a fresh instance, twice, to one that was asked something else before, and to the elder.
///
/// `functions` names what is asked, in the order of the answers; the last name is that of all further ones.
pub(crate) fn examine_policy<W: PolicySuite>(program: &Program<W>, input: &W::Input, functions: &[&str], elder: Option<(&mut Warm<W>, u32)>) -> Examination {
    let mut seen = Examination::default();
    let function = |index: usize| functions.get(index).or(functions.last()).copied().unwrap_or_default();
    let first = match asked(program, input, &mut seen) {
        Ok(first) => first,
        Err(fault) => {
            seen.fault(function(0), &fault);
            return seen;
        }
    };
    if let Some((index, fault)) = first.iter().enumerate().find_map(|(index, answer)| Some((index, answer.as_ref().err()?))) {
        seen.fault(function(index), fault);
        return seen;
    }
    seen.passed.extend([Rule::Answers, Rule::Proved]);
    W::judge(program, input, &first, &mut seen);
    if let Some((elder, number)) = elder.filter(|_| seen.broken.is_none()) {
        let later = W::answers(elder, input, Way { number: number.saturating_add(10), short: false });
        seen.hold(Rule::LongPast, same(&first, &later));
    }
    seen
}

/// The answers of a fresh instance, which the others must give, too.
fn asked<W: PolicySuite>(program: &Program<W>, input: &W::Input, seen: &mut Examination) -> Result<Vec<Answer<Reply>>, PolicyFault> {
    let mut one = fresh(program)?;
    let first = W::answers(&mut one, input, Way { number: 2, short: false });
    if one.failed() || first.iter().any(Result::is_err) {
        return Ok(first);
    }
    let again = W::answers(&mut one, input, Way { number: 2, short: true });
    seen.hold(Rule::Repeats, same(&first, &again));
    if let Ok(decoy) = W::decoy() {
        let mut other = fresh(program)?;
        W::answers(&mut other, &decoy, Way { number: 1, short: false });
        if !other.failed() {
            seen.hold(Rule::NoPast, same(&first, &W::answers(&mut other, input, Way { number: 2, short: true })));
        }
    }
    Ok(first)
}

/// Compares as many of the last answers as both have.
fn same(one: &[Answer<Reply>], two: &[Answer<Reply>]) -> Result<(), String> {
    let differ = one.iter().rev().zip(two.iter().rev()).find(|(one, two)| !is_same_answer(one, two));
    differ.map_or(Ok(()), |(one, two)| Err(format!("first {}, then {}", told(one), told(two))))
}

/// An answer for a person.
pub fn told(answer: &Answer<Reply>) -> String {
    match answer {
        Ok(Ok(Reply::Proposal(proposal))) => {
            let chain = |replica: &Vec<host_core::problem::ProposedStage>| {
                let stages: Vec<String> = replica.iter().map(|stage| format!("{}[{}..{})", stage.offer, stage.start, stage.end)).collect();
                stages.join(" > ")
            };
            let replicas: Vec<String> = proposal.replicas.iter().map(chain).collect();
            format!("{} (bound {})", replicas.join(", "), proposal.bound)
        }
        Ok(Ok(Reply::Verdict(verdict))) => format!("{verdict:?}"),
        Ok(Ok(Reply::Path(path))) => format!("path {path:?}"),
        Ok(Ok(Reply::Rank(rank))) => format!("rank {rank:?}"),
        Ok(Err(refusal)) => format!("refused: {refusal}"),
        Err(fault) => format!("failed: {fault}"),
    }
}

/// Runs the suite of a world.
pub(crate) fn test<W: Suite>(program: &Program<W>, kind: PluginKind, settings: &TestSettings) -> Result<TestReport, Error> {
    let clock = Clock::start();
    let context = W::context()?;
    let mut run = Run { rules: BTreeMap::new(), notes: BTreeMap::new(), broken: Vec::new(), inputs: 0, refused: 0, possible: (0, 0) };
    let mut elder = program.start()?;
    for number in 0..(settings.inputs / W::SHARE).max(1) {
        let mut source = Source::of(settings.seed, number);
        let input =
            W::generate(&mut source, &context, number).map_err(|error| Error::from(Fault::Host { what: "the generated inputs are wrong" }).because(error))?;
        run.take(number, &input, W::examine(program, &context, &input, Some((&mut elder, number))));
        if elder.failed() {
            elder = program.start()?;
        }
        if run.broken.len() as u32 >= BROKEN_MAX || clock.elapsed() > settings.time_max {
            break;
        }
    }
    let mut failures: Vec<Failure> = Vec::new();
    for (number, input, breach) in &run.broken {
        if failures.iter().all(|failure| failure.rule != breach.rule) {
            failures.push(shrunk::<W>(program, &context, input, breach, *number, settings, clock));
        }
    }
    let package = &program.package;
    Ok(TestReport {
        plugin: Arc::clone(&package.name),
        digest: package.digest,
        kind,
        seed: settings.seed,
        inputs: run.inputs,
        refused: run.refused,
        possible: run.possible,
        findings: run.findings(settings.inputs / W::SHARE),
        rules: run.rules.into_iter().map(|(rule, (checked, broken))| RuleReport { rule, checked, broken }).collect(),
        failures,
        took: clock.elapsed(),
    })
}

/// What a suite has seen so far.
struct Run<I> {
    rules: BTreeMap<Rule, (u32, u32)>,
    notes: BTreeMap<&'static str, (u32, u32)>,
    broken: Vec<(u32, I, Breach)>,
    inputs: u32,
    refused: u32,
    possible: (u32, u32),
}

impl<I: Clone> Run<I> {
    fn take(&mut self, number: u32, input: &I, mut seen: Examination) {
        self.inputs += 1;
        self.refused += u32::from(seen.refused);
        if seen.possible == Some(true) {
            self.possible.0 += 1;
            self.possible.1 += u32::from(seen.refused);
        }
        for (what, shows) in seen.notes {
            let counts = self.notes.entry(what).or_default();
            (counts.0, counts.1) = (counts.0 + 1, counts.1 + u32::from(shows));
        }
        seen.passed.sort_unstable();
        seen.passed.dedup();
        let broken = seen.broken.as_ref().map(|breach| breach.rule);
        for rule in seen.passed.into_iter().filter(|rule| Some(*rule) != broken).chain(broken) {
            let counts = self.rules.entry(rule).or_default();
            (counts.0, counts.1) = (counts.0 + 1, counts.1 + u32::from(broken == Some(rule)));
        }
        self.broken.extend(seen.broken.map(|breach| (number, input.clone(), breach)));
    }

    fn findings(&self, wanted: u32) -> Vec<String> {
        let mut findings = Vec::new();
        let (possible, refused) = self.possible;
        if possible > 0 && refused == possible {
            findings.push(format!("it refuses all {possible} inputs that have an answer: a policy that decides nothing"));
        } else if refused > 0 {
            findings.push(format!("it refuses {refused} of {possible} inputs that have an answer"));
        }
        findings.extend(self.notes.iter().filter(|(_, counts)| counts.1 > 0).map(|(what, (looked, shows))| format!("{what}: {shows} of {looked} inputs")));
        if self.inputs < wanted {
            findings.push(format!("the suite stopped after {} of {wanted} inputs", self.inputs));
        }
        findings
    }
}

/// Makes an input smaller while the same rule breaks in the same way.
fn shrunk<W: Suite>(
    program: &Program<W>,
    context: &W::Context,
    input: &W::Input,
    breach: &Breach,
    number: u32,
    settings: &TestSettings,
    clock: Clock,
) -> Failure {
    let alone = |input: &W::Input| W::examine(program, context, input, None).broken.filter(|found| found.is_like(breach));
    let whole = |says: String, input: &W::Input, shrink_steps| Failure { rule: breach.rule, says, number, input: W::render(input), shrink_steps };
    let Some(mut says) = alone(input).map(|breach| breach.says) else {
        return whole(format!("{} (only after the {number} inputs before it)", breach.says), input, 0);
    };
    let (mut smallest, mut steps) = (input.clone(), 0);
    'smaller: loop {
        for candidate in W::smaller(&smallest) {
            if steps >= settings.shrink_steps_max || clock.elapsed() > settings.time_max * 2 {
                break 'smaller;
            }
            steps += 1;
            if let Some(found) = alone(&candidate) {
                (smallest, says) = (candidate, found.says);
                continue 'smaller;
            }
        }
        break;
    }
    whole(says, &smallest, steps)
}

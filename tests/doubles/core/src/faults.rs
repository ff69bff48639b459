//! Faults on demand, as words between commas:
//!
//! - `fail:FUNCTION:N:CODE`: the Nth call of a function answers with a code and does nothing; `*` for N means every call;
//! - `crash:FUNCTION:N`, `hang:FUNCTION:N`: it ends the process as a fault would, or never returns;
//! - `slow:FUNCTION:MS`: every call takes so many milliseconds more;
//! - `garbage`: outputs hold bytes that mean nothing;
//! - `memory:BYTES`: the device has so much memory;
//! - `chip:NAME`: the device is this chip.

use std::{collections::BTreeMap, time::Duration};

/// What is to go wrong.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
    calls: BTreeMap<String, u64>,
    /// Whether outputs mean nothing.
    pub garbage: bool,
    /// Memory of the device in bytes; none is no limit.
    pub memory_bytes_max: Option<u64>,
    /// The device's chip; none takes every model.
    pub chip: Option<String>,
}

#[derive(Clone, PartialEq, Debug)]
struct Rule {
    function: String,
    /// None is every call.
    call: Option<u64>,
    action: Action,
}

/// What a call does before anything else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Answers with this code.
    Fail(i32),
    /// Ends the process.
    Crash,
    /// Never returns.
    Hang,
    /// Goes on after a while.
    Slow(Duration),
}

impl Faults {
    /// Reads the words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut made = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let wrong = || format!("fault `{word}` is not known");
            let parts: Vec<&str> = word.split(':').collect();
            let call = |text: &str| if text == "*" { Ok(None) } else { text.parse().map(Some).map_err(|_| wrong()) };
            let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
            let mut rule = |function: &str, call, action| made.rules.push(Rule { function: function.to_owned(), call, action });
            match parts[..] {
                ["fail", function, n, code] => rule(function, call(n)?, Action::Fail(code.parse().map_err(|_| wrong())?)),
                ["crash", function, n] => rule(function, call(n)?, Action::Crash),
                ["hang", function, n] => rule(function, call(n)?, Action::Hang),
                ["slow", function, ms] => rule(function, None, Action::Slow(Duration::from_millis(number(ms)?))),
                ["garbage"] => made.garbage = true,
                ["memory", bytes] => made.memory_bytes_max = Some(number(bytes)?),
                ["chip", name] => made.chip = Some(name.to_owned()),
                _ => return Err(wrong()),
            }
        }
        Ok(made)
    }

    /// Counts a call, and says what it does first; none is what it is for.
    pub fn call(&mut self, function: &str) -> Option<Action> {
        let count = self.calls.entry(function.to_owned()).or_default();
        *count += 1;
        let count = *count;
        self.rules.iter().find(|rule| rule.function == function && rule.call.is_none_or(|call| call == count)).map(|rule| rule.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_comes_at_the_call_that_was_named() {
        let mut faults = Faults::parse("fail:run:2:-1, slow:get:5,garbage,memory:10").expect("known words");
        assert_eq!((faults.call("run"), faults.call("run"), faults.call("run")), (None, Some(Action::Fail(-1)), None));
        assert_eq!(faults.call("get"), Some(Action::Slow(Duration::from_millis(5))));
        assert!(faults.garbage && faults.memory_bytes_max == Some(10));
        assert_eq!(Faults::parse("burn:run:1").expect_err("unknown"), "fault `burn:run:1` is not known");
    }
}

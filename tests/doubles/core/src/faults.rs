//! Faults on demand, as words between commas:
//!
//! - `fail:FUNCTION:N:CODE`: the Nth call of a function answers with a code and does nothing; `*` for N means every call;
//! - `crash:FUNCTION:N`, `exit:FUNCTION:N`, `hang:FUNCTION:N`: it ends the process as a fault would, or as if all were done, or never returns;
//! - `babble:FUNCTION:N`: it writes what means nothing to every socket of its process, and goes on;
//! - `slow:FUNCTION:MS`: every call takes so many milliseconds more;
//! - `garbage`: outputs hold bytes that mean nothing;
//! - `memory:BYTES`: the device has so much memory;
//! - `taken:BYTES`: others hold so much of that;
//! - `lacks:OPERATOR`: the device does not compute this operator;
//! - `chip:NAME`: the device is this chip;
//! - `version:TEXT`: the library is this version; of AscendCL's the interface, in three numbers.

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
    /// How much of that others hold, in bytes.
    pub memory_bytes_taken: u64,
    /// Operators that the device does not compute.
    pub operators_lacked: Vec<String>,
    /// The device's chip; none takes every model.
    pub chip: Option<String>,
    /// What the library says that its version is; none is the double's own.
    pub version: Option<String>,
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
    /// Ends the process with a signal.
    Crash,
    /// Ends the process with an exit code.
    Exit,
    /// Writes to sockets that are not its own.
    Babble,
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
                ["exit", function, n] => rule(function, call(n)?, Action::Exit),
                ["hang", function, n] => rule(function, call(n)?, Action::Hang),
                ["babble", function, n] => rule(function, call(n)?, Action::Babble),
                ["slow", function, ms] => rule(function, None, Action::Slow(Duration::from_millis(number(ms)?))),
                ["garbage"] => made.garbage = true,
                ["memory", bytes] => made.memory_bytes_max = Some(number(bytes)?),
                ["taken", bytes] => made.memory_bytes_taken = number(bytes)?,
                ["lacks", operator] => made.operators_lacked.push(operator.to_owned()),
                ["chip", name] => made.chip = Some(name.to_owned()),
                ["version", text] => made.version = Some(text.to_owned()),
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
        let full = Faults::parse("memory:10,taken:7,lacks:Neg,lacks:com.microsoft.Gelu").expect("known words");
        assert_eq!((full.memory_bytes_taken, &full.operators_lacked[..]), (7, &["Neg".to_owned(), "com.microsoft.Gelu".to_owned()][..]));
        let mut ends = Faults::parse("exit:run:1,babble:run:2,version:1.7.5").expect("known words");
        assert_eq!((ends.call("run"), ends.call("run"), ends.version.as_deref()), (Some(Action::Exit), Some(Action::Babble), Some("1.7.5")));
        assert_eq!(Faults::parse("burn:run:1").expect_err("unknown"), "fault `burn:run:1` is not known");
    }
}

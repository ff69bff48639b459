//! File < environment < flags. Collects everything that is wrong before it gives up, so that one start shows all faults.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    Config, Origin, opentelemetry, profile,
    settings::{NOT_SHOWN, SECRET, Setting, settings, variable},
};
use crate::error::{Error, Fault};

/// Names the config file when no flag does.
const FILE_VARIABLE: &str = "HOST_CONFIG";
/// Largest config file; more is a wrong file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A value that a flag gives to a setting.
#[derive(Clone, PartialEq, Debug)]
pub struct Flag {
    /// As the person typed it: `--http`.
    pub flag: String,
    /// The setting.
    pub key: String,
    /// The value.
    pub value: Value,
}

/// What a config is made from.
#[derive(Clone, PartialEq, Debug, Default)]
struct Sources {
    /// Name and text of the config file.
    file: Option<(String, String)>,
    /// Variables; those that do not start with `HOST_`, and are no standard ones of OpenTelemetry, are ignored.
    environment: BTreeMap<String, String>,
    /// Flags, the last one wins.
    flags: Vec<Flag>,
    /// Used when nobody names a data directory.
    data_default: Option<PathBuf>,
}

/// A config, and where each value came from.
#[derive(Clone, PartialEq, Debug)]
pub struct Resolved {
    /// The config.
    pub config: Config,
    /// By key; what is not here is the default.
    pub origins: BTreeMap<&'static str, Origin>,
    /// Oddities that do not stop the host.
    pub warnings: Vec<String>,
}

/// Reads the file that the flag or the environment names, and the environment, resolves, and reads the profiles that are named.
pub fn load(file: Option<PathBuf>, flags: Vec<Flag>) -> Result<Resolved, Error> {
    let environment: BTreeMap<String, String> =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    let file = file.or_else(|| environment.get(FILE_VARIABLE).map(PathBuf::from));
    let file = file.map(|path| read(&path).map(|text| (path.display().to_string(), text))).transpose()?;
    let data_default = dirs::data_dir().map(|folder| folder.join("shardhost"));
    let mut resolved = resolve(&Sources { file, environment, flags, data_default })?;
    resolved.config.profiles = profile::read_all(&resolved.config)?;
    Ok(resolved)
}

/// Pure: the same sources give the same config, or the same list of faults.
fn resolve(sources: &Sources) -> Result<Resolved, Error> {
    let data = sources.data_default.clone().unwrap_or_default();
    let mut resolver = Resolver { resolved: Resolved { config: Config::with_data(data), origins: BTreeMap::new(), warnings: Vec::new() }, faults: Vec::new() };
    if let Some((name, text)) = &sources.file {
        resolver.file(name, text);
    }
    resolver.environment(&sources.environment);
    for Flag { flag, key, value } in &sources.flags {
        match setting(key) {
            Some(setting) => resolver.set(setting, value, Origin::Flag(flag.clone())),
            None => resolver.faults.push(format!("{flag}: there is no setting `{key}`; `host config show` lists them")),
        }
    }
    resolver.check_together();
    if resolver.faults.is_empty() { Ok(resolver.resolved) } else { Err(Fault::Config { faults: resolver.faults }.into()) }
}

struct Resolver {
    resolved: Resolved,
    faults: Vec<String>,
}

impl Resolver {
    fn set(&mut self, setting: &'static Setting, value: &Value, origin: Origin) {
        match (setting.set)(&mut self.resolved.config, value) {
            Ok(()) => {
                self.resolved.origins.insert(setting.key, origin);
            }
            Err(expected) => {
                let value = if SECRET.contains(&setting.key) { NOT_SHOWN.to_owned() } else { shown(&value.to_string()) };
                self.faults.push(format!("{} is {value} ({origin}), {expected}", setting.key));
            }
        }
    }

    fn file(&mut self, name: &str, text: &str) {
        match serde_saphyr::from_str::<Value>(text) {
            Ok(Value::Object(entries)) => self.section(name, "", &entries),
            Ok(Value::Null) => {}
            Ok(_) => self.faults.push(format!("{name}: it must hold keys and values, such as http: {{ address: 127.0.0.1:8000 }}")),
            Err(error) => self.faults.push(format!("{name}: {error}")),
        }
    }

    fn section(&mut self, file: &str, prefix: &str, entries: &Map<String, Value>) {
        for (name, value) in entries {
            let key = format!("{prefix}{name}");
            match (setting(&key), value) {
                (Some(setting), value) => self.set(setting, value, Origin::File(file.to_owned())),
                (None, Value::Object(inner)) if is_section(&key) => self.section(file, &format!("{key}."), inner),
                (None, _) => self.faults.push(format!("{file}: key `{key}` is not known, there are {}", siblings(prefix))),
            }
        }
    }

    fn environment(&mut self, variables: &BTreeMap<String, String>) {
        let (export, warnings) = opentelemetry::read(variables);
        self.resolved.config.traces.export = export;
        self.resolved.warnings.extend(warnings);
        for (name, value) in variables.iter().filter(|(name, _)| name.starts_with("HOST_") && *name != FILE_VARIABLE) {
            match settings().find(|setting| variable(setting.key) == *name) {
                Some(setting) => self.set(setting, &Value::String(value.clone()), Origin::Environment(name.clone())),
                // Other programs own variables that start so too; it is said, but it is no fault.
                None => self.resolved.warnings.push(format!("environment variable {name} names no setting")),
            }
        }
    }

    /// What no single value shows.
    fn check_together(&mut self) {
        let config = &self.resolved.config;
        if config.data.as_os_str().is_empty() {
            self.faults.push("data is not known, because this user has no data directory; name one with --data".into());
        }
        let address = config.http.address;
        if !address.ip().is_loopback() && !config.insecure {
            self.faults
                .push(format!("http.address is {address}, which others can reach without TLS and tokens; use a loopback address, or --insecure to allow it"));
        }
        let requests = &config.requests;
        if requests.priority_default > requests.priority_levels {
            self.faults.push(format!(
                "requests.priority_default is {}, it must be at most requests.priority_levels, which is {}",
                requests.priority_default, requests.priority_levels
            ));
        }
        let leases = &config.leases;
        if leases.lost_after_ms < 2 * leases.heartbeat_ms {
            self.faults.push(format!(
                "leases.lost_after_ms is {}, it must be at least twice leases.heartbeat_ms, which is {}",
                leases.lost_after_ms, leases.heartbeat_ms
            ));
        }
        let review = &config.review;
        if review.pause_ms_max < review.pause_ms_min {
            self.faults
                .push(format!("review.pause_ms_max is {}, it must be at least review.pause_ms_min, which is {}", review.pause_ms_max, review.pause_ms_min));
        }
        let auto = &config.engines.auto;
        if auto.runs_max < auto.runs_min {
            self.faults.push(format!("engines.auto.runs_max is {}, it must be at least engines.auto.runs_min, which is {}", auto.runs_max, auto.runs_min));
        }
        self.check_join();
        self.check_devices();
    }

    fn check_join(&mut self) {
        let join = &self.resolved.config.join;
        if let (Some(central), Some(address)) = (&join.central, join.address) {
            self.faults.push(format!("join.central is {central} and join.address is {address}; a host joins a central or lets devices join, not both"));
        }
        // A token in the environment is there for every command of this user, also those that join nothing.
        let by_flag = matches!(self.resolved.origins.get("join.token"), Some(Origin::Flag(_)));
        if join.central.is_none() && by_flag {
            self.faults.push("join.token is there, but join.central is not; name the central with --join".into());
        }
        if join.announce && join.address.is_none() {
            self.faults.push("join.announce is true, but join.address is not given, so nobody could join; open the port with --join-listen".into());
        }
    }

    /// A host that nothing could ever compute on is a mistake.
    fn check_devices(&mut self) {
        let Config { join, local_devices, .. } = &self.resolved.config;
        if !local_devices.is_empty() {
            return;
        }
        let fault = match (&join.central, join.address) {
            (Some(central), _) => format!("local_devices is 0 and join.central is {central}; a device that joins a central needs one to offer, leave --local-devices out"),
            (None, None) => {
                "local_devices is 0 and join.address is not given, so nothing could ever compute; let devices join with --join-listen, or leave --local-devices out".to_owned()
            }
            (None, Some(_)) => return,
        };
        self.faults.push(fault);
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let fault = |reason: String| Error::from(Fault::Config { faults: vec![format!("{}: {reason}", path.display())] });
    let bytes = fs::metadata(path).map_err(|error| fault(error.to_string()))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(fault(format!("it has {bytes} bytes, a config file has at most {FILE_BYTES_MAX}")));
    }
    fs::read_to_string(path).map_err(|error| fault(error.to_string()))
}

fn setting(key: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.key == key)
}

fn is_section(key: &str) -> bool {
    settings().any(|setting| setting.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
}

fn siblings(prefix: &str) -> String {
    let mut names: Vec<&str> = settings().filter_map(|setting| setting.key.strip_prefix(prefix)?.split('.').next()).collect();
    names.dedup();
    names.join(", ")
}

/// As much of a value as fits an error.
pub(super) fn shown(value: &str) -> String {
    if value.chars().count() > 80 { value.chars().take(80).chain("…".chars()).collect() } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use host_wire::join::{Fingerprint, JoinToken, TokenId, TokenSecret};

    use super::*;
    use crate::config::show;

    fn sources(file: &str) -> Sources {
        Sources { file: Some(("host.yaml".into(), file.into())), data_default: Some("/data".into()), ..Sources::default() }
    }

    fn flag(name: &str, key: &str, value: &str) -> Flag {
        Flag { flag: name.into(), key: key.into(), value: Value::String(value.into()) }
    }

    fn faults(sources: &Sources) -> Vec<String> {
        match resolve(sources).expect_err("faults").fault() {
            Fault::Config { faults } => faults.clone(),
            other => vec![other.to_string()],
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let mut sources = sources("requests: { timeout_ms: 1, queue_depth_max: 1, image_pixels_max: 1 }\n");
        sources.environment = BTreeMap::from([
            ("HOST_REQUESTS_TIMEOUT_MS".into(), "2".into()),
            ("HOST_REQUESTS_QUEUE_DEPTH_MAX".into(), "2".into()),
            ("HOSTNAME".into(), "x".into()),
        ]);
        sources.flags = vec![flag("--set", "requests.timeout_ms", "3")];
        let resolved = resolve(&sources).expect("sound");
        let requests = &resolved.config.requests;
        assert_eq!((requests.timeout_ms, requests.queue_depth_max, requests.image_pixels_max), (3, 2, 1));
        let origin = |key: &str| show(&resolved).into_iter().find(|row| row.0 == key).map(|row| row.2.to_string());
        assert_eq!(origin("requests.timeout_ms").as_deref(), Some("--set"));
        assert_eq!(origin("requests.queue_depth_max").as_deref(), Some("HOST_REQUESTS_QUEUE_DEPTH_MAX"));
        assert_eq!(origin("requests.image_pixels_max").as_deref(), Some("host.yaml"));
        assert_eq!(origin("http.address").as_deref(), Some("default"));
        assert!(resolved.warnings.is_empty());
    }

    #[test]
    fn each_limit_of_a_guest_has_a_setting_of_its_name() {
        let config = Config::with_data("/data".into());
        let lines = |config: &Config| format!("{:#?}", config.plugin_limits.guest).lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
        let before = lines(&config);
        let name = |line: &str| line.split_once(": ").map(|(name, _)| name.to_owned()).filter(|name| name != "deadlines");
        assert!(before.iter().filter_map(|line| name(line)).count() > 20);
        for (index, name) in before.iter().enumerate().filter_map(|(index, line)| Some((index, name(line)?))) {
            let key = format!("plugin_limits.{name}");
            let setting = settings().find(|setting| setting.key == key).unwrap_or_else(|| panic!("{name} cannot be set"));
            let mut set = config.clone();
            // One of the two is within the range of each.
            (setting.set)(&mut set, &Value::from(99)).or_else(|_| (setting.set)(&mut set, &Value::from(128_000))).unwrap();
            let changed: Vec<_> = lines(&set).iter().zip(&before).enumerate().filter(|(_, (now, before))| now != before).map(|(index, _)| index).collect();
            assert_eq!(changed, [index], "{key} sets {name} and nothing else");
        }
    }

    #[test]
    fn all_faults_come_at_once_each_with_its_origin() {
        let mut sources = sources("htpp: { address: 1 }\nhttp: { address: nowhere, prot: 8000 }\nlocal_devices: [ { id: a }, { id: a } ]\n");
        sources.environment = BTreeMap::from([("HOST_DRAIN_MS_MAX".into(), "soon".into())]);
        sources.flags = vec![flag("--local-devices", "local_devices", "65"), flag("--set", "colour", "red")];
        assert_eq!(
            faults(&sources),
            [
                "host.yaml: key `htpp` is not known, there are data, models, plugins, insecure, drain_ms_max, calibration_ms, http, requests, local_devices, profile, profile_time_ratio, slots, routing, routing_models, routing_requests, plugin_limits, plugin_trust, plugin_fetch, record, record_bytes_max, record_waiting_max, join, leases, review, links, predictions, conversion, cache, native_code, peers, store, traces, log, engines",
                "http.address is \"nowhere\" (host.yaml), it must be an address such as 127.0.0.1:8000",
                "host.yaml: key `http.prot` is not known, there are address, body_bytes_max",
                "local_devices is [{\"id\":\"a\"},{\"id\":\"a\"}] (host.yaml), device `a` is there twice",
                "drain_ms_max is \"soon\" (HOST_DRAIN_MS_MAX), it must be a whole number from 0 to 3600000",
                "local_devices is \"65\" (--local-devices), it must be a whole number from 0 to 64, profiles such as rk3588.toml,desktop.toml, or a list of devices",
                "--set: there is no setting `colour`; `host config show` lists them",
            ]
        );
    }

    #[test]
    fn the_longest_pause_between_plans_is_no_shorter_than_the_first() {
        let said = faults(&sources("review: { pause_ms_min: 5000, pause_ms_max: 1000 }"));
        assert_eq!(said, ["review.pause_ms_max is 1000, it must be at least review.pause_ms_min, which is 5000"]);
    }

    #[test]
    fn engines_are_measured_as_the_config_says() {
        let config =
            resolve(&sources("engines: { auto: { runs_ms: 2.5, runs_min: 3, runs_max: 30, results_max: 7, calibration_ms: 20 } }")).expect("sound").config;
        let auto = &config.engines.auto;
        assert_eq!((auto.runs.0, auto.runs_min, auto.runs_max, auto.results_max, auto.calibration.0), (2.5, 3, 30, 7, 20.0));
        let said = faults(&sources("engines: { auto: { runs_min: 500 } }"));
        assert_eq!(said, ["engines.auto.runs_max is 200, it must be at least engines.auto.runs_min, which is 500"]);
        assert_eq!(
            faults(&sources("engines: { auto: { runs_min: 1 } }")),
            ["engines.auto.runs_min is 1 (host.yaml), it must be a whole number from 2 to 10000"]
        );
    }

    #[test]
    fn an_address_that_others_reach_needs_a_clear_word() {
        let mut open = sources("http: { address: \"0.0.0.0:8000\" }");
        assert!(faults(&open)[0].starts_with("http.address is 0.0.0.0:8000, which others can reach"));
        open.flags = vec![Flag { flag: "--insecure".into(), key: "insecure".into(), value: Value::Bool(true) }];
        assert!(resolve(&open).is_ok());
    }

    #[test]
    fn devices_and_slots_are_read_from_the_file_and_from_json_text() {
        let file = "local_devices:\n  - { id: fast }\n  - { id: slow, site: shed, slowdown: 4, memory_bytes: 1000000, labels: { rack: b } }\nslots:\n  routing: round-robin-routing\n";
        let config = resolve(&sources(file)).expect("sound").config;
        assert_eq!(config.local_devices[1].slowdown, Some(4.0));
        assert_eq!(config.slots["routing"].plugin, "round-robin-routing");
        let mut sources = sources("");
        sources.flags = vec![flag("--set", "local_devices", r#"[{"id":"x"}]"#)];
        assert_eq!(resolve(&sources).expect("sound").config.local_devices[0].id, "x");
    }

    #[test]
    fn a_host_joins_or_lets_join_and_says_which_settings_disagree() {
        let token = JoinToken { id: TokenId([1; 8]), secret: TokenSecret([2; 16]), fingerprint: Fingerprint([3; 32]) };
        let mut both = sources("join: { address: \"127.0.0.1:23457\" }");
        both.flags = vec![flag("--join", "join.central", "shed:23457"), flag("--token", "join.token", &token.text())];
        assert_eq!(faults(&both), ["join.central is shed:23457 and join.address is 127.0.0.1:23457; a host joins a central or lets devices join, not both"]);
        let mut alone = sources("");
        alone.flags = vec![flag("--token", "join.token", &token.text())];
        assert_eq!(faults(&alone), ["join.token is there, but join.central is not; name the central with --join"]);
        let mut around = sources("");
        around.environment = BTreeMap::from([("HOST_JOIN_TOKEN".into(), token.text())]);
        assert_eq!(resolve(&around).expect("sound").config.join.token.as_ref(), Some(&token));
        alone.flags.push(flag("--join", "join.central", "shed:23457"));
        assert_eq!(resolve(&alone).expect("sound").config.join.token, Some(token));
    }

    #[test]
    fn a_host_on_which_nothing_could_compute_is_refused() {
        let resolved = |file: &str| resolve(&sources(file)).map(|_| ());
        assert!(resolved("local_devices: 0\njoin: { address: \"127.0.0.1:0\" }").is_ok());
        let alone = faults(&sources("local_devices: 0"));
        let expected = "local_devices is 0 and join.address is not given, so nothing could ever compute; let devices join with --join-listen, or leave --local-devices out";
        assert_eq!(alone, [expected]);
        let joining = faults(&sources("local_devices: []\njoin: { central: auto }"));
        assert_eq!(joining, ["local_devices is 0 and join.central is auto; a device that joins a central needs one to offer, leave --local-devices out"]);
    }

    #[test]
    fn only_a_host_that_lets_devices_join_tells_them_so() {
        assert!(resolve(&sources("join: { announce: true, address: \"127.0.0.1:0\" }")).expect("sound").config.join.announce);
        let closed = faults(&sources("join: { announce: true }"));
        assert_eq!(closed, ["join.announce is true, but join.address is not given, so nobody could join; open the port with --join-listen"]);
    }

    #[test]
    fn a_join_token_is_repeated_nowhere() {
        let token = JoinToken { id: TokenId([1; 8]), secret: TokenSecret([2; 16]), fingerprint: Fingerprint([3; 32]) }.text();
        let mut secret = sources("");
        secret.flags = vec![flag("--join", "join.central", "shed:23457"), flag("--token", "join.token", &token)];
        let resolved = resolve(&secret).expect("sound");
        let row = show(&resolved).into_iter().find(|row| row.0 == "join.token").expect("a row");
        assert_eq!((row.1, row.2.to_string()), (Value::from("not shown"), "--token".to_owned()));
        assert!(!format!("{resolved:?}").contains(&token));
        secret.flags[1] = flag("--token", "join.token", &token[..60]);
        let expected = "join.token is not shown (--token), the join token cannot be used: it has 60 characters, a whole one has 85; its end is missing";
        assert_eq!(faults(&secret), [expected]);
    }

    #[test]
    fn a_device_cannot_be_the_central() {
        let mut named = sources("");
        named.flags = vec![flag("--device-id", "join.device_id", "Central")];
        assert_eq!(faults(&named), ["join.device_id is \"Central\" (--device-id), device id `Central` is the central's, choose another"]);
    }

    #[test]
    fn every_setting_shows_what_it_would_read_again() {
        let resolved = resolve(&sources("")).expect("defaults are sound");
        let mut again = resolved.config.clone();
        for (key, value, _) in show(&resolved).into_iter().filter(|row| !row.1.is_null()) {
            let setting = setting(key).expect("shown from the table");
            assert_eq!((setting.set)(&mut again, &value), Ok(()), "{key}");
        }
        assert_eq!(again, resolved.config);
    }
}

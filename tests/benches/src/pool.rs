//! A central with devices in processes of their own, and waiting until they serve.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use host_wire::admin::{Device, Explanation, Stage};

use crate::Host;

/// How long a plan may take to be made and carried out before a measurement is given up.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a device needs to join.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Where devices reach the central.
    pub central: String,
    /// What `--token` takes.
    pub text: String,
}

/// Starts a central that devices may join and that has none of its own.
pub fn central(data: PathBuf, models: &Path, flags: &[&str]) -> Result<Host, String> {
    let models = models.display().to_string();
    Host::start(data, &[&["--join-listen", "127.0.0.1:0", "--local-devices", "0", "--models", &models], flags].concat())
}

/// Creates a join token for so many devices.
pub fn token(central: &Host, uses: u32) -> Result<Token, String> {
    let made = central.command(&["token", "create", "--uses", &uses.to_string(), "-o", "json"])?;
    let text = |key: &str| made[key].as_str().map(str::to_owned).ok_or_else(|| format!("no {key} in {made}"));
    Ok(Token { central: text("central")?, text: text("text")? })
}

/// Starts a device, in a folder of its own below this one, and waits until it attends.
pub fn join(central: &Host, folder: &Path, id: &str, flags: &[&str]) -> Result<Host, String> {
    let token = token(central, 1)?;
    let joining = ["--join", &token.central, "--token", &token.text, "--device-id", id];
    Host::join(folder.join(id), &[&joining[..], flags].concat())
}

/// Waits until the plan in force for a model is as wanted and each of its stages is loaded; its explanation.
pub fn placed(central: &Host, model: &str, wanted: impl Fn(&Explanation) -> bool) -> Result<Explanation, String> {
    until(&format!("a plan for {model}"), || {
        let explanation = explained(central, model)?;
        let devices: Vec<Device> = central.admin()?.look("/devices")?;
        Ok((wanted(&explanation) && is_loaded(&explanation, &devices)).then_some(explanation))
    })
}

/// Why a model is where it is.
pub fn explained(central: &Host, model: &str) -> Result<Explanation, String> {
    central.admin()?.look(&format!("/plan/explain/{model}"))
}

/// Whether there is a plan for the model, and each stage is ready where it is planned.
pub fn is_loaded(explanation: &Explanation, devices: &[Device]) -> bool {
    let holds = |stage: &Stage| {
        let shard = format!("{}@{}[{}..{})", explanation.model, explanation.version, stage.start, stage.end);
        devices.iter().any(|device| device.id == stage.device && device.state == "ready" && device.shards.contains(&shard))
    };
    let mut stages = explanation.replicas.iter().flat_map(|replica| &replica.stages).peekable();
    stages.peek().is_some() && stages.all(|stage| holds(&stage.stage))
}

/// Looks again and again until something is there. What goes wrong meanwhile is said if it never is.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>, String>) -> Result<T, String> {
    let started = Instant::now();
    let mut last = "nothing went wrong".to_owned();
    while started.elapsed() < PATIENCE {
        match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => last = error,
        }
        thread::sleep(LOOK_EVERY);
    }
    Err(format!("{what} did not come about within {} s; {last}", PATIENCE.as_secs()))
}

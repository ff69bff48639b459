//! `host plugin dev`: builds a plugin each time that its sources are saved, and swaps it in.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use host_plugin::{Package, SlotName};
use host_wire::admin::{Slot, Status};
use serde_json::json;
use tokio::sync::oneshot;

use super::{
    super::{Global, client::Admin, plan::utc, run::stop_signal, screen::Screen},
    InstallArgs, build,
    edits::Edits,
    pack::save,
    sent,
};
use crate::{clock, error::Error, stage_fault::StageFault};

/// Digits of a digest that a person is shown.
const DIGEST_DIGITS: usize = 12;

#[derive(Debug, Args)]
pub(in crate::cli) struct DevArgs {
    /// Folder with a plugin.toml
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The slot that it shall serve [default: what it says, or the only one that fits]
    #[arg(long)]
    slot: Option<String>,
}

/// What came of one round.
enum Round {
    Swapped {
        took: Duration,
    },
    /// It was built, and the same bytes serve already.
    Same,
    NotBuilt(Error),
    Refused(Error),
}

/// One command, from its start to Ctrl-C.
struct Session<'a> {
    global: &'a Global,
    admin: Admin,
    folder: PathBuf,
    /// The slot, once it is known.
    slot: Option<String>,
}

/// Builds and installs until it is told to stop.
pub(super) async fn dev(global: &Global, screen: &mut Screen, args: DevArgs) -> Result<(), Error> {
    let stop = stop_signal()?;
    let mut session = Session { global, admin: Admin::find(global)?, folder: args.folder, slot: args.slot };
    // A host that is not there is said before anything is built.
    session.held().await?;
    let mut edits = Edits::of(&session.folder)?;
    let mut look = edits.look()?;
    if !screen.is_json() {
        screen.line(&format!("watching {}; Ctrl-C ends it", session.folder.display()))?;
    }
    loop {
        let built = tokio::select! {
            built = built(session.folder.clone()) => built,
            () = stop.cancelled() => break,
        };
        // What has begun to be installed is waited for, so that what is said at the end is true.
        let round = session.install(built).await;
        session.tell(screen, &round).await?;
        tokio::select! {
            changed = edits.changed(&look) => changed?,
            () = stop.cancelled() => break,
        }
        look = edits.look()?;
    }
    session.end(screen).await
}

/// Builds on a thread that nobody waits for at the end: a compiler may take minutes, and what it writes then harms nobody.
async fn built(folder: PathBuf) -> Result<(Package, PathBuf), Error> {
    let (tell, told) = oneshot::channel();
    let work = move || {
        let built = build::built(&folder).and_then(|(package, file)| save(&package, &file).map(|()| (package, file)));
        // Nobody listens once the command was told to stop.
        let _ = tell.send(built);
    };
    let fault = |error: std::io::Error| Error::from(StageFault::Thread { reason: error.to_string() });
    std::thread::Builder::new().name("build".to_owned()).spawn(work).map_err(fault)?;
    told.await.map_err(|error| Error::from(StageFault::Thread { reason: error.to_string() }))?
}

impl Session<'_> {
    async fn install(&mut self, built: Result<(Package, PathBuf), Error>) -> Round {
        let (package, file) = match built {
            Ok(built) => built,
            Err(error) => return Round::NotBuilt(error),
        };
        let started = clock::now();
        match self.swap_in(&package, &file).await {
            Ok(true) => Round::Swapped { took: started.elapsed() },
            Ok(false) => Round::Same,
            Err(error) => Round::Refused(error),
        }
    }

    /// Whether it had to be swapped in.
    async fn swap_in(&mut self, package: &Package, file: &Path) -> Result<bool, Error> {
        let asked = self.slot.as_deref().map(SlotName::parse).transpose()?;
        let slot = package.slot(asked)?.to_string();
        self.slot = Some(slot.clone());
        if self.held().await?.is_some_and(|held| held.digest == package.digest.to_string()) {
            return Ok(false);
        }
        let source = file.display().to_string();
        let args = InstallArgs { source, slot: Some(slot), config: None, digest: None, canary: None, shadow: false, accept_worse: true };
        sent(self.global, &self.admin, args).await.map(|_| true)
    }

    /// What the slot holds; none while it is not known which slot is meant, or if it is empty.
    async fn held(&self) -> Result<Option<Slot>, Error> {
        let status: Status = self.admin.get("/status").await?;
        Ok(status.slots.into_iter().find(|slot| Some(&slot.slot) == self.slot.as_ref() && !slot.plugin.is_empty()))
    }

    async fn tell(&self, screen: &mut Screen, round: &Round) -> Result<(), Error> {
        // A host that has just gone is no reason to end: it may come back, and the reason says that it is gone.
        let held = self.held().await.unwrap_or_default();
        let (word, text) = match round {
            Round::Swapped { took } => ("swapped", format!("built and swapped in, which took {} ms", took.as_millis())),
            Round::Same => ("same", "built, and it serves already".to_owned()),
            Round::NotBuilt(error) => ("not-built", format!("not built: {error}")),
            Round::Refused(error) => ("refused", format!("refused: {error}")),
        };
        let at_ms = clock::unix_ms();
        if screen.is_json() {
            let reason = matches!(round, Round::NotBuilt(_) | Round::Refused(_)).then_some(text);
            return screen.json(&json!({ "at_ms": at_ms, "happened": word, "reason": reason, "in_service": held }));
        }
        screen.line(&format!("{}  {text}; {}", utc(at_ms), in_service(held.as_ref())))
    }

    async fn end(&self, screen: &mut Screen) -> Result<(), Error> {
        let held = self.held().await.unwrap_or_default();
        if screen.is_json() {
            return screen.json(&json!({ "at_ms": clock::unix_ms(), "happened": "ended", "in_service": held }));
        }
        screen.line(&format!("no longer watching {}; {}", self.folder.display(), in_service(held.as_ref())))
    }
}

fn in_service(held: Option<&Slot>) -> String {
    let Some(Slot { slot, plugin, generation, digest, .. }) = held else { return "nothing of it is in service".to_owned() };
    let digest: String = digest.chars().take(DIGEST_DIGITS).collect();
    format!("in service: {plugin} in {slot}, generation {generation}, sha256:{digest}")
}

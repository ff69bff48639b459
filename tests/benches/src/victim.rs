//! A device that trouble befalls: its process, and the proxies in front of its central and of itself.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::{
    Host,
    fault_proxy::{FaultProxy, Manner},
    pool,
    trouble::Trouble,
};

/// A device in a process of its own.
#[derive(Debug)]
pub struct Victim {
    /// Its id.
    pub id: String,
    data: PathBuf,
    flags: Vec<String>,
    /// Between it and its central, and between its peers and it.
    proxies: [FaultProxy; 2],
    process: Mutex<Host>,
}

impl Victim {
    /// Starts a device, in a folder of its own below this one, and waits until it attends.
    pub fn join(central: &Host, folder: &Path, id: &str) -> Result<Self, String> {
        let told = |error: std::io::Error| error.to_string();
        let token = pool::token(central, 1)?;
        // Nothing else takes the port in the moment until the device opens it; the next start of it would fail in words.
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).map_err(told)?.port();
        let proxies = [FaultProxy::start(&token.central).map_err(told)?, FaultProxy::start(&format!("127.0.0.1:{port}")).map_err(told)?];
        let port = format!("peers.port={port}");
        let flags = ["--join", &proxies[0].address, "--device-id", id, "--advertise", &proxies[1].address, "--set", &port];
        let flags: Vec<String> = flags.into_iter().map(str::to_owned).collect();
        let data = folder.join(id);
        let first = [flags.as_slice(), &["--token".to_owned(), token.text]].concat();
        let process = Mutex::new(Host::join(data.clone(), &words(&first))?);
        Ok(Self { id: id.to_owned(), data, flags, proxies, process })
    }

    /// Lets something befall it, and returns when that is over. It is not there again then: it has been started, woken or let through.
    pub fn befall(&self, trouble: Trouble) -> Result<(), String> {
        let set = |manner| self.proxies.iter().for_each(|proxy| proxy.set(manner));
        match trouble {
            Trouble::Kill { down } => {
                let mut process = self.process();
                process.kill();
                thread::sleep(down);
                *process = Host::spawn(self.data.clone(), &words(&self.flags))?;
            }
            Trouble::Suspend { lasting } => {
                let process = self.process();
                process.signal("STOP")?;
                thread::sleep(lasting);
                process.signal("CONT")?;
            }
            Trouble::Cut => self.proxies.iter().for_each(FaultProxy::cut),
            Trouble::Freeze { lasting } => {
                set(Manner::Freeze);
                thread::sleep(lasting);
                set(Manner::Forward);
            }
        }
        Ok(())
    }

    fn process(&self) -> MutexGuard<'_, Host> {
        // Replaced whole.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn words(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

//! Components to and from elsewhere: verifying one without installing it, pushing it to a registry, pulling it as a file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use host_plugin::{Identified, PluginHost};
use host_wire::admin::Plugin;

use super::{
    super::{Global, plan::utc, screen::Screen},
    asks,
};
use crate::{
    clock, component,
    config::{self, Config},
    error::{Error, Fault},
    shelf::{self, Fetched, Origin, Reach},
};

/// Fetches and verifies as the host of this config would; gives the component with its digest and the key that signed it as well.
async fn brought(config: &Config, source: &str, digest: Option<&str>) -> Result<(Fetched, Identified, Option<String>), Error> {
    let origin = Origin::parse(source)?;
    let reach = if origin.is_remote() { Reach::Remote } else { Reach::Local };
    let fetched = origin.fetch(&config.plugin_fetch, config.plugin_limits.guest.component_bytes_max).await?;
    let component = Identified::of(fetched.component());
    let signer = shelf::verify(&config.plugin_trust, source, &component, digest, fetched.signature.as_deref(), reach)?;
    Ok((fetched, component, signer))
}

pub(super) async fn verify(global: &Global, screen: &mut Screen, file: Option<PathBuf>, source: &str, digest: Option<&str>) -> Result<(), Error> {
    let config = config::load(file, global.flags())?.config;
    let (_, file, signer) = brought(&config, source, digest).await?;
    let plugin = component::describe(&file, source, &config.plugin_limits.guest)?;
    let plugin = Plugin { signer: signer.unwrap_or_default(), ..plugin };
    if screen.is_json() {
        return screen.json(&plugin);
    }
    let signer = if plugin.signer.is_empty() { "nobody, which this config allows".to_owned() } else { plugin.signer.clone() };
    screen.line(&format!("{} {} exports {} of contract {}", plugin.name, plugin.version, plugin.kinds.join(", "), plugin.contract))?;
    screen.line(&format!("digest    sha256:{}", plugin.digest))?;
    screen.line(&format!("signed by {signer}"))?;
    screen.line(&format!("asks for  {}", asks(&plugin)))?;
    if plugin.unfit.is_empty() {
        screen.line("this host can run it")
    } else {
        Err(Fault::Usage { reason: format!("this host cannot run it: {}", plugin.unfit) }.into())
    }
}

pub(super) async fn push(global: &Global, screen: &mut Screen, config: Option<PathBuf>, file: &Path, image: &str) -> Result<(), Error> {
    let config = config::load(config, global.flags())?.config;
    let text = if image.starts_with("oci://") { image.to_owned() } else { format!("oci://{image}") };
    let Origin::Image(reference) = Origin::parse(&text)? else { return Err(Fault::Origin { text, reason: "it is no image".to_owned() }.into()) };
    let fetched = Origin::File(file.to_owned()).fetch(&config.plugin_fetch, config.plugin_limits.guest.component_bytes_max).await?;
    let package = PluginHost::inspect(&fetched.component())?;
    let created = utc(clock::unix_ms()).replace(' ', "T") + "Z";
    let address = shelf::push(&reference, fetched, &package, &created, &config.plugin_fetch).await?;
    if screen.is_json() {
        return screen.json(&serde_json::json!({ "image": text, "manifest": address, "digest": package.digest.to_string() }));
    }
    screen.line(&format!("{} is at {text}", package.name))?;
    screen.line(&format!("digest sha256:{}", package.digest))
}

pub(super) async fn pull(global: &Global, screen: &mut Screen, config: Option<PathBuf>, source: &str, file: &Path, digest: Option<&str>) -> Result<(), Error> {
    let config = config::load(config, global.flags())?.config;
    let (fetched, component, signer) = brought(&config, source, digest).await?;
    let fault = |path: &Path, error| Error::from(Fault::File { doing: "write", path: path.display().to_string() }).because(error);
    fs::write(file, &fetched.bytes).map_err(|error| fault(file, error))?;
    if let Some(signature) = &fetched.signature {
        let beside = PathBuf::from(format!("{}.minisig", file.display()));
        fs::write(&beside, signature).map_err(|error| fault(&beside, error))?;
    }
    let found = component.digest().to_string();
    if screen.is_json() {
        return screen.json(&serde_json::json!({ "file": file, "digest": found, "signer": signer }));
    }
    let signed = signer.map_or_else(|| "not signed".to_owned(), |key| format!("signed by {key}"));
    screen.line(&format!("{} has {} bytes, sha256:{found}, {signed}", file.display(), fetched.bytes.len()))
}

//! Where plugins come from: files, https URLs and OCI registries, in the layout that the CNCF has for WebAssembly, so that
//! other tools read what this host pushes and the other way round. Trusts nothing: what it brings is verified by others.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use host_plugin::{Package, PluginSource};
use oci_client::{
    Client as Registry, Reference,
    client::{Certificate as RegistryCertificate, CertificateEncoding, ClientConfig, ClientProtocol, Config as ImageConfig, ImageLayer},
    manifest::OciImageManifest,
    secrets::RegistryAuth,
};
use reqwest::{Certificate, Client, Url};
use serde_json::json;

use crate::{
    component,
    config::PluginFetch,
    error::{Error, Fault},
};

/// What a server says where there is nothing.
const NOT_FOUND: u16 = 404;
/// What the one layer of an image is.
const LAYER_TYPE: &str = "application/wasm";
/// What its config is.
const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// The annotation of the manifest that carries a minisign signature.
const SIGNATURE_ANNOTATION: &str = "dev.shardhost.minisig";
/// Largest signature file; more is a wrong file.
const SIGNATURE_BYTES_MAX: usize = 4096;
/// What signature files are called: the component's name and this.
const SIGNATURE_SUFFIX: &str = ".minisig";

/// A place where a component is.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A file of this machine.
    File(PathBuf),
    /// An https URL.
    Url(Url),
    /// An image in a registry.
    Image(Reference),
}

/// What was brought.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// File name, for want of another.
    pub name: String,
    /// The component.
    pub bytes: Bytes,
    /// The text of a `plugin.toml` beside it.
    pub manifest: Option<String>,
    /// The text of a signature beside it.
    pub signature: Option<String>,
}

impl Fetched {
    /// The component and its manifest; the bytes are shared.
    pub fn component(&self) -> PluginSource {
        PluginSource { name: self.name.clone(), bytes: self.bytes.clone(), manifest: self.manifest.clone() }
    }
}

impl Origin {
    /// Reads what a person wrote: `oci://REGISTRY/NAME:TAG`, `https://…`, or the path of a file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::from(Fault::Origin { text: text.to_owned(), reason });
        if let Some(reference) = text.strip_prefix("oci://") {
            return Reference::try_from(reference).map(Self::Image).map_err(|error| wrong(error.to_string()));
        }
        if text.starts_with("https://") {
            return Url::parse(text).map(Self::Url).map_err(|error| wrong(error.to_string()));
        }
        match text.split_once("://") {
            Some((scheme, _)) => Err(wrong(format!("{scheme} is not taken, there are https, oci and files"))),
            None => Ok(Self::File(PathBuf::from(text))),
        }
    }

    /// Whether a network lies between.
    pub fn is_remote(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    /// Brings what is there, within the limits.
    pub async fn fetch(&self, limits: &PluginFetch, bytes_max: usize) -> Result<Fetched, Error> {
        let fetched = async {
            match self {
                Self::File(path) => from_file(path),
                Self::Url(url) => from_url(url, limits, bytes_max).await,
                Self::Image(reference) => from_registry(reference, limits, bytes_max).await,
            }
        };
        let late = |_| Error::from(Fault::FetchLate { origin: self.to_string(), ms_max: limits.fetch_ms_max });
        tokio::time::timeout(Duration::from_millis(limits.fetch_ms_max), fetched).await.map_err(late)?
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
            Self::Image(reference) => write!(f, "oci://{reference}"),
        }
    }
}

fn from_file(path: &Path) -> Result<Fetched, Error> {
    let source = component::read(path)?;
    let beside = PathBuf::from(format!("{}{SIGNATURE_SUFFIX}", path.display()));
    let fault = |error| Error::from(Fault::File { doing: "read", path: beside.display().to_string() }).because(error);
    let signature = if beside.is_file() { Some(fs::read_to_string(&beside).map_err(fault)?) } else { None };
    Ok(Fetched { name: source.name, bytes: source.bytes, manifest: source.manifest, signature })
}

async fn from_url(url: &Url, limits: &PluginFetch, bytes_max: usize) -> Result<Fetched, Error> {
    let fault = |error: reqwest::Error| Error::from(Fault::Fetch { origin: url.to_string() }).because(error.without_url());
    let mut builder = Client::builder().https_only(true);
    if let Some(pem) = authority(limits)? {
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(&pem).map_err(fault)?);
    }
    let client = builder.build().map_err(fault)?;
    let name = url.path_segments().and_then(|mut segments| segments.next_back().map(str::to_owned)).unwrap_or_default();
    let bytes =
        download(&client, url.clone(), bytes_max).await?.ok_or_else(|| Error::from(Fault::Fetch { origin: url.to_string() }).because("it is not there"))?;
    let mut beside = url.clone();
    beside.set_path(&format!("{}{SIGNATURE_SUFFIX}", url.path()));
    let signature = download(&client, beside, SIGNATURE_BYTES_MAX).await?.and_then(|bytes| String::from_utf8(bytes.into()).ok());
    Ok(Fetched { name, bytes, manifest: None, signature })
}

/// The bytes behind a URL; none if there is nothing.
async fn download(client: &Client, url: Url, bytes_max: usize) -> Result<Option<Bytes>, Error> {
    let fault = |error: reqwest::Error| Error::from(Fault::Fetch { origin: url.to_string() }).because(error.without_url());
    let mut response = client.get(url.clone()).send().await.map_err(fault)?;
    if response.status().as_u16() == NOT_FOUND {
        return Ok(None);
    }
    if let Err(error) = response.error_for_status_ref() {
        return Err(fault(error));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(fault)? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(Fault::FetchTooLarge { origin: url.to_string(), bytes_max }.into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes.into()))
}

async fn from_registry(reference: &Reference, limits: &PluginFetch, bytes_max: usize) -> Result<Fetched, Error> {
    let origin = format!("oci://{reference}");
    let fault = |error: oci_client::errors::OciDistributionError| Error::from(Fault::Fetch { origin: origin.clone() }).because(error);
    let (registry, auth) = registry(reference, limits)?;
    let (manifest, _digest) = registry.pull_image_manifest(reference, &auth).await.map_err(fault)?;
    let [layer] = manifest.layers.as_slice() else {
        return Err(Error::from(Fault::Fetch { origin }).because(format!("the image has {} layers, a component has one", manifest.layers.len())));
    };
    if layer.media_type != LAYER_TYPE {
        return Err(Error::from(Fault::Fetch { origin }).because(format!("its layer is {}, a component is {LAYER_TYPE}", layer.media_type)));
    }
    if usize::try_from(layer.size).is_ok_and(|size| size > bytes_max) {
        return Err(Fault::FetchTooLarge { origin, bytes_max }.into());
    }
    let mut bytes = Vec::new();
    registry.pull_blob(reference, layer, &mut bytes).await.map_err(fault)?;
    let signature =
        manifest.annotations.as_ref().and_then(|annotations| annotations.get(SIGNATURE_ANNOTATION)).and_then(|signature| serde_json::from_str(signature).ok());
    let name = reference.repository().rsplit('/').next().unwrap_or_default().to_owned();
    Ok(Fetched { name, bytes: bytes.into(), manifest: None, signature })
}

/// Puts a component into a registry, with its signature if it has one. Gives the address of its manifest.
pub async fn push(reference: &Reference, fetched: Fetched, package: &Package, created: &str, limits: &PluginFetch) -> Result<String, Error> {
    let fault = |error: oci_client::errors::OciDistributionError| Error::from(Fault::Fetch { origin: format!("oci://{reference}") }).because(error);
    let (registry, auth) = registry(reference, limits)?;
    let config = json!({
        "created": created,
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [format!("sha256:{}", package.digest)],
        "component": { "exports": package.exports, "imports": package.imports, "target": null },
    });
    let config = ImageConfig::new(config.to_string().into_bytes(), CONFIG_TYPE.to_owned(), None);
    let layers = [ImageLayer::new(fetched.bytes, LAYER_TYPE.to_owned(), None)];
    let said = &package.manifest;
    let annotations: BTreeMap<String, String> = [
        ("org.opencontainers.image.created", Some(created.to_owned())),
        ("org.opencontainers.image.title", Some(package.name.to_string())),
        ("org.opencontainers.image.version", said.version.clone()),
        ("org.opencontainers.image.description", said.description.clone()),
        ("org.opencontainers.image.licenses", said.license.clone()),
        // As a JSON text: the canonical form of a manifest does not escape line breaks, and registries refuse it.
        (SIGNATURE_ANNOTATION, fetched.signature.map(|signature| json!(signature).to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect();
    let manifest = OciImageManifest::build(&layers, &config, Some(annotations));
    Ok(registry.push(reference, &layers, config, &auth, Some(manifest)).await.map_err(fault)?.manifest_url)
}

/// A client of the registry that a reference names, and who it says that it is. A registry on this machine may go without TLS.
fn registry(reference: &Reference, limits: &PluginFetch) -> Result<(Registry, RegistryAuth), Error> {
    let address = reference.resolve_registry();
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let here = host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let protocol = if here { ClientProtocol::Http } else { ClientProtocol::Https };
    let certificate = |data: Vec<u8>| RegistryCertificate { encoding: CertificateEncoding::Pem, data };
    let extra_root_certificates = authority(limits)?.map(certificate).into_iter().collect();
    let config = ClientConfig { protocol, extra_root_certificates, ..ClientConfig::default() };
    let client = Registry::try_from(config).map_err(|error| Error::from(Fault::Fetch { origin: format!("oci://{reference}") }).because(error))?;
    let auth = match limits.registries.get(address) {
        Some(login) => RegistryAuth::Basic(login.username.clone(), login.password.clone()),
        None => RegistryAuth::Anonymous,
    };
    Ok((client, auth))
}

/// Certificates that are trusted beside the system's.
fn authority(limits: &PluginFetch) -> Result<Option<Vec<u8>>, Error> {
    let fault = |path: &PathBuf, error| Error::from(Fault::File { doing: "read", path: path.display().to_string() }).because(error);
    limits.ca_file.as_ref().map(|path| fs::read(path).map_err(|error| fault(path, error))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_names_files_urls_and_images() {
        assert!(matches!(Origin::parse("plugins/a.wasm"), Ok(Origin::File(_))));
        assert!(matches!(Origin::parse("https://example.org/a.wasm"), Ok(Origin::Url(_))));
        assert!(matches!(Origin::parse("oci://registry.example.org/plugins/a:1.0"), Ok(Origin::Image(_))));
        let error = Origin::parse("http://example.org/a.wasm").expect_err("not encrypted").to_string();
        assert_eq!(error, "`http://example.org/a.wasm` names no plugin: http is not taken, there are https, oci and files");
    }
}

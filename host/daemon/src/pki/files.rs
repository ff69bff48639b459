//! Files that are their owner's alone, and there whole or not at all.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use pem::Pem;
use rustls::pki_types::CertificateDer;

use super::PkiFault;
use crate::error::{Error, Fault};

const CERTIFICATE: &str = "CERTIFICATE";

/// Puts a file in the place of the one that may be there. Done when it is on disk.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let part = path.with_extension("part");
    let written = write_durably(&part, text.as_bytes()).and_then(|()| rename(&part, path));
    written.map_err(|error| fault("write", path, error))
}

pub(super) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| fault("read", path, error))
}

/// Makes a folder, unless it is there.
pub(super) fn folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| fault("make the folder", path, error))
}

/// Makes a folder with everything that is in it appear at once.
pub(super) fn fresh_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let part = path.with_extension("part");
    // What a killed process left.
    match fs::remove_dir_all(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault("remove", &part, error)),
        _ => {}
    }
    folder(&part)?;
    fill(&part)?;
    rename(&part, path).map_err(|error| fault("make the folder", path, error))
}

/// Certificates as PEM, in this order.
pub(super) fn to_pem(certificates: &[&CertificateDer<'_>]) -> String {
    let blocks: Vec<Pem> = certificates.iter().map(|certificate| Pem::new(CERTIFICATE, certificate.to_vec())).collect();
    pem::encode_many_config(&blocks, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

/// The certificates of a file, as many as it must hold.
pub(super) fn certificates<const N: usize>(path: &Path, expected: &'static str) -> Result<[CertificateDer<'static>; N], Error> {
    let unlike = || Error::from(PkiFault::File { path: path.display().to_string(), expected });
    let blocks = pem::parse_many(read(path)?).map_err(|error| unlike().because(error))?;
    let certificates: Vec<CertificateDer<'static>> =
        blocks.into_iter().filter(|block| block.tag() == CERTIFICATE).map(|block| block.into_contents().into()).collect();
    certificates.try_into().map_err(|_| unlike())
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    to.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn fault(doing: &'static str, path: &Path, error: io::Error) -> Error {
    Error::from(Fault::File { doing, path: path.display().to_string() }).because(error)
}

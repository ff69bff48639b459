//! Generates the C bindings of each policy's world from `wit/`, as the README of a C template says. The test in `src/lib.rs`
//! compares them with those that are committed.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use wit_bindgen_c::Opts;
use wit_bindgen_core::{Files, wit_parser::Resolve};

const WORLDS: [&str; 3] = ["allocation-policy", "queueing-policy", "routing-policy"];

fn main() -> Result<(), Box<dyn Error>> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {name}"));
    let wit = variable("CARGO_MANIFEST_DIR")?.join("../../wit");
    println!("cargo::rerun-if-changed={}", wit.display());
    println!("cargo::rerun-if-changed=build.rs");
    for world in WORLDS {
        generate(&wit, world, &variable("OUT_DIR")?.join(world))?;
    }
    Ok(())
}

/// `wit-bindgen c WIT --world WORLD --no-object-file --out-dir FOLDER`
fn generate(wit: &Path, world: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut contract = Resolve::default();
    let (package, _) = contract.push_dir(wit)?;
    let world = contract.select_world(&[package], Some(world))?;
    let mut files = Files::default();
    Opts { no_object_file: true, ..Opts::default() }.build().generate(&mut contract, world, &mut files)?;
    fs::create_dir_all(folder)?;
    for (name, bytes) in files.iter() {
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

//! Every NaN that a guest can look at is the canonical one, as if each operation on floating point numbers made it so. Without
//! this its sign and payload would be what the processor makes of them, a guest could tell machines apart by them, and a
//! recorded decision might not be taken again elsewhere.
//!
//! The compiler can do it after each operation, with which planning for a thousand devices takes a third longer. Here
//! components are rewritten before they are compiled: a NaN is left as it is while only arithmetic and comparisons see it,
//! which do not look at its bits, and is made canonical where they could be seen: where it is stored, passed on, returned or
//! taken for an integer. What a guest moves without computing keeps its bits, as the standard demands.
//!
//! Used by the sandbox, in whichever process compiles.

mod body;
mod step;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use wasm_encoder::Encode;
use wasmparser::{BinaryReader, BinaryReaderError, Parser, ValidPayload, Validator, WasmFeatures};

/// A change of what the rewriting does changes it: compiled code of another one is compiled anew.
pub(crate) const REVISION: u32 = 1;

/// Components inside components, at most.
const DEPTH_MAX: usize = 64;
/// Magic number and version, of modules and components.
const HEADER_BYTES: usize = 8;
/// Sections of a component.
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;
/// Sections of a module.
const CUSTOM: u8 = 0;
const CODE: u8 = 10;
/// Bytes of a number of 32 bits.
const COUNT_BYTES_MAX: usize = 5;
/// Custom sections that name places in code, which move.
const ABOUT_PLACES: [&str; 2] = [".debug_", "metadata.code."];

/// The component, rewritten. The error says what is wrong with it, in words.
pub(crate) fn rewrite(component: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    Ok(rewrite_component(component, DEPTH_MAX)?.map_or(Cow::Borrowed(component), Cow::Owned))
}

/// None if nothing has to change, here and below.
fn rewrite_component(component: &[u8], depth: usize) -> Result<Option<Vec<u8>>, String> {
    let depth = depth.checked_sub(1).ok_or_else(|| format!("its components are nested deeper than {DEPTH_MAX}"))?;
    splice(component, |section, content| match section {
        CORE_MODULE => rewrite_module(content),
        COMPONENT => rewrite_component(content, depth),
        _ => Ok(None),
    })
}

fn rewrite_module(module: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let Some(code) = rewrite_code(module).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let is_about_places = |content: &[u8]| {
        let name = BinaryReader::new(content, 0).read_string().unwrap_or_default();
        ABOUT_PLACES.iter().any(|start| name.starts_with(start))
    };
    splice(module, |section, content| match section {
        CODE => Ok(Some(code.clone())),
        // An empty name, and nothing in it.
        CUSTOM if is_about_places(content) => Ok(Some(vec![0])),
        _ => Ok(None),
    })
}

/// The content of a module's code section, if it has to change.
fn rewrite_code(module: &[u8]) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    // What is supported is for the compiler to say.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let (mut count, mut bodies, mut is_same) = (0_u32, Vec::new(), true);
    for payload in Parser::new(0).parse_all(module) {
        if let ValidPayload::Func(function, body) = validator.payload(&payload?)? {
            let rewritten = body::rewrite(function, &body)?;
            is_same &= rewritten.is_none();
            rewritten.as_deref().unwrap_or(body.as_bytes()).encode(&mut bodies);
            count += 1;
        }
    }
    if is_same {
        return Ok(None);
    }
    let mut code = Vec::with_capacity(bodies.len() + COUNT_BYTES_MAX);
    count.encode(&mut code);
    code.append(&mut bodies);
    Ok(Some(code))
}

/// A module or component with other contents in its sections; none if all stay as they are.
fn splice(bytes: &[u8], rewrite: impl Fn(u8, &[u8]) -> Result<Option<Vec<u8>>, String>) -> Result<Option<Vec<u8>>, String> {
    let broken = |error: BinaryReaderError| error.to_string();
    let mut reader = BinaryReader::new(bytes, 0);
    let mut spliced = reader.read_bytes(HEADER_BYTES).map_err(broken)?.to_vec();
    let mut is_same = true;
    while !reader.eof() {
        let section = reader.read_u8().map_err(broken)?;
        let size = reader.read_var_u32().map_err(broken)?;
        let content = reader.read_bytes(size as usize).map_err(broken)?;
        let rewritten = rewrite(section, content)?;
        is_same &= rewritten.is_none();
        spliced.push(section);
        rewritten.as_deref().unwrap_or(content).encode(&mut spliced);
    }
    Ok(if is_same { None } else { Some(spliced) })
}

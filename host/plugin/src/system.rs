//! What a guest finds where its language looks for a system, under the names of WASI. What it prints is kept as lines of its log;
//! there are no variables, no arguments and no folders; everything else is refused by name when it is called, so that a guest
//! which never calls it runs well. The standard library of most languages imports more than a policy uses.

use host_core::policy::{PolicyFault, StrikeKind};
use wasmtime::{
    Engine, StoreContextMut,
    component::{Component, ComponentType, Linker, LinkerInstance, Lower, Resource, ResourceType, types::ComponentItem},
};

use crate::{
    call_log::Output,
    guest::{Broke, Guest},
    package::{PACKAGE, TENSORS},
};

/// The resource of WASI that a guest prints through.
const OUTPUT_STREAM: &str = "output-stream";
/// What a guest may print in one go; more it prints in pieces of this size.
const PRINTED_BYTES_MAX: u64 = 4096;

/// An output as a guest holds it: a handle whose number says which one.
type OutputStream = Resource<Output>;
/// Any other resource. The few that a guest ever holds belong to its output and do nothing.
type Other = Resource<()>;

/// Why printing failed, which it never does.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    #[allow(dead_code, reason = "the contract of WASI names it")]
    LastOperationFailed(Other),
    #[component(name = "closed")]
    Closed,
}

/// Binds every import of a component that is not of the contract, nor of the package beside it.
///
/// Interfaces of those are left alone. They are bound already, under a version that stands for all compatible ones,
/// and a function that they lack must refuse the plugin when it is installed, not when it is called.
pub(crate) fn bind(linker: &mut Linker<Guest>, engine: &Engine, component: &Component) -> wasmtime::Result<()> {
    for (interface, item) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(instance) = item.ty else { continue };
        if interface.starts_with(PACKAGE) || interface.starts_with(TENSORS) {
            continue;
        }
        let mut bound = linker.instance(interface)?;
        let unversioned = interface.split_once('@').map_or(interface, |(name, _)| name);
        for (name, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    let answered = printing(&mut bound, unversioned, name)? || emptiness(&mut bound, unversioned, name)?;
                    if !answered {
                        refuse(&mut bound, interface, name)?;
                    }
                }
                ComponentItem::Resource(_) if name == OUTPUT_STREAM => bound.resource(name, ResourceType::host::<Output>(), forget)?,
                ComponentItem::Resource(_) => bound.resource(name, ResourceType::host::<()>(), forget)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Binds a function that a guest prints with; says whether it is one.
fn printing(bound: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str) -> wasmtime::Result<bool> {
    match (interface, name) {
        ("wasi:cli/stdout", "get-stdout") => bound.func_wrap(name, |guest, (): ()| Ok((output(guest, Output::Stdout)?,)))?,
        ("wasi:cli/stderr", "get-stderr") => bound.func_wrap(name, |guest, (): ()| Ok((output(guest, Output::Stderr)?,)))?,
        // C libraries take hold of all three before they use one. To read is refused.
        ("wasi:cli/stdin", "get-stdin") => bound.func_wrap(name, |guest, (): ()| Ok((other(guest)?,)))?,
        // A C library keeps lines back from whatever is not a terminal, and would keep them for ever.
        ("wasi:cli/terminal-stdout", "get-terminal-stdout") => bound.func_wrap(name, |guest, (): ()| Ok((Some(other(guest)?),)))?,
        // Standard error is never kept back, and what is no terminal gets no colours.
        ("wasi:cli/terminal-stderr", "get-terminal-stderr") => bound.func_wrap(name, |_, (): ()| Ok((None::<Other>,)))?,
        // It is asked for, and never waited on, because there is always room to print.
        ("wasi:io/streams", "[method]output-stream.subscribe") => {
            bound.func_wrap(name, |guest, (_output,): (OutputStream,)| Ok((other(guest)?,)))?;
        }
        ("wasi:io/streams", "[method]output-stream.check-write") => {
            bound.func_wrap(name, |_, (_output,): (OutputStream,)| Ok((Ok::<_, StreamError>(PRINTED_BYTES_MAX),)))?;
        }
        ("wasi:io/streams", "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush") => {
            bound.func_wrap(name, |mut guest, (output, bytes): (OutputStream, Vec<u8>)| Ok((print(&mut guest, &output, &bytes),)))?;
        }
        ("wasi:io/streams", "[method]output-stream.flush" | "[method]output-stream.blocking-flush") => {
            bound.func_wrap(name, |_, (_output,): (OutputStream,)| Ok((Ok::<(), StreamError>(()),)))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn output(mut guest: StoreContextMut<'_, Guest>, output: Output) -> wasmtime::Result<OutputStream> {
    guest.data_mut().handles.hold_output()?;
    Ok(Resource::new_own(output as u32))
}

fn other(mut guest: StoreContextMut<'_, Guest>) -> wasmtime::Result<Other> {
    guest.data_mut().handles.hold_output()?;
    Ok(Resource::new_own(0))
}

fn forget(mut guest: StoreContextMut<'_, Guest>, _handle: u32) -> wasmtime::Result<()> {
    guest.data_mut().handles.forget_output();
    Ok(())
}

fn print(guest: &mut StoreContextMut<'_, Guest>, output: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    let output = [Output::Stdout, Output::Stderr].into_iter().find(|known| *known as u32 == output.rep()).ok_or(StreamError::Closed)?;
    guest.data_mut().log.print(output, bytes);
    Ok(())
}

/// Binds a function whose answer is that there is nothing; says whether it is one. Languages call these before they print, or
/// before they start.
fn emptiness(bound: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str) -> wasmtime::Result<bool> {
    match (interface, name) {
        ("wasi:cli/environment", "get-environment") => bound.func_wrap(name, |_, (): ()| Ok((Vec::<(String, String)>::new(),)))?,
        ("wasi:cli/environment", "get-arguments") => bound.func_wrap(name, |_, (): ()| Ok((Vec::<String>::new(),)))?,
        ("wasi:cli/environment", "initial-cwd") => bound.func_wrap(name, |_, (): ()| Ok((None::<String>,)))?,
        ("wasi:filesystem/preopens", "get-directories") => bound.func_wrap(name, |_, (): ()| Ok((Vec::<(Other, String)>::new(),)))?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Binds a function to a refusal that names it.
fn refuse(bound: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str) -> wasmtime::Result<()> {
    let message = format!("it called `{interface}#{name}`, which no guest is granted");
    bound.func_new(name, move |_, _, _, _| Err(Broke(PolicyFault { kind: StrikeKind::Trap, message: message.clone() }).into()))
}

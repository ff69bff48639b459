//! Components as files: reads one with the `plugin.toml` beside it, and puts what it says of itself into the words of the
//! admin socket. Nothing of it runs.

use std::{fs, path::Path};

use host_plugin::{Identified, Limits, PluginHost, PluginKind, PluginSource};
use host_wire::admin;

use crate::error::{Error, Fault};

/// Reads a component and its manifest.
pub fn read(path: &Path) -> Result<PluginSource, Error> {
    let fault = |path: &Path, error| Error::from(Fault::File { doing: "read", path: path.display().to_string() }).because(error);
    let bytes = fs::read(path).map_err(|error| fault(path, error))?.into();
    let beside = path.with_file_name("plugin.toml");
    let manifest = if beside.is_file() { Some(fs::read_to_string(&beside).map_err(|error| fault(&beside, error))?) } else { None };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(PluginSource { name, bytes, manifest })
}

/// What a component says of itself, and whether a host with these limits can run it. Whether it is built in and what it serves
/// is for the caller to add.
pub fn describe(component: &Identified, from: &str, limits: &Limits) -> Result<admin::Plugin, Error> {
    let described = PluginHost::describe(component, limits)?;
    let manifest = &described.manifest;
    let asked = |(what, asked, granted_max): (&str, u64, u64)| admin::Asked { what: what.to_owned(), asked, granted_max };
    Ok(admin::Plugin {
        name: described.name,
        is_earlier: false,
        version: manifest.version.clone().unwrap_or_default(),
        description: manifest.description.clone().unwrap_or_default(),
        licence: manifest.license.clone().unwrap_or_default(),
        kinds: described.kinds.iter().map(ToString::to_string).collect(),
        worlds: described.kinds.iter().map(|kind| kind.world().to_owned()).collect(),
        digest: described.digest.to_string(),
        source: from.to_owned(),
        built_in: false,
        slots: Vec::new(),
        component_bytes: component.source().bytes.len() as u64,
        enabled: true,
        contract: described.contracts.join(", "),
        imports: described.imports,
        signer: String::new(),
        asks: manifest.asks(limits).into_iter().map(asked).collect(),
        limits: described.granted.as_ref().map(|granted| granted_to(&described.kinds, granted)).unwrap_or_default(),
        unfit: described.granted.err().map(|error| error.to_string()).unwrap_or_default(),
    })
}

/// The limits that matter to a plugin of these kinds, by the names of their settings.
fn granted_to(kinds: &[PluginKind], granted: &Limits) -> Vec<(String, u64)> {
    let times = &granted.deadlines;
    let of_kind = |kind: &PluginKind| match kind {
        PluginKind::Allocation => vec![("allocate_ms_max", times.allocate_ms_max), ("review_ms_max", times.review_ms_max)],
        PluginKind::Routing => {
            vec![("route_ms_max", times.route_ms_max), ("set_topology_ms_max", times.set_topology_ms_max), ("set_pressure_ms_max", times.set_pressure_ms_max)]
        }
        PluginKind::Queueing => vec![("admit_ms_max", times.admit_ms_max)],
        PluginKind::Adapter => vec![("probe_ms_max", times.probe_ms_max), ("load_ms_max", times.load_ms_max), ("run_ms_max", times.run_ms_max)],
    };
    let common = [("memory_bytes_max", granted.memory_bytes_max as u64), ("instances_max", granted.instances_max as u64)];
    let common = common.into_iter().chain([("configure_ms_max", times.configure_ms_max)]);
    common.chain(kinds.iter().flat_map(of_kind)).map(|(what, most)| (what.to_owned(), most)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_shown_with_the_limits_of_its_kind() {
        let limits = Limits::default();
        let source = PluginSource::builtin("least-loaded-routing").expect("it is part of the host");
        let manifest = Some("call_ms_max = 7\n".to_owned());
        let plugin = describe(&Identified::of(PluginSource { manifest, ..source }), "here", &limits).expect("a component");
        assert_eq!((plugin.worlds.as_slice(), plugin.contract.as_str()), (["routing-policy".to_owned()].as_slice(), "0.1.0"));
        let limit = |what: &str| plugin.limits.iter().find(|(name, _)| name == what).map(|(_, most)| *most);
        assert_eq!((limit("route_ms_max"), limit("memory_bytes_max"), limit("allocate_ms_max")), (Some(7), Some(limits.memory_bytes_max as u64), None));
        assert_eq!((plugin.asks.len(), plugin.unfit.as_str()), (1, ""));
    }
}

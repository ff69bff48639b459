//! The same routing policy in every language: size, the time to prepare it without and with native code in the cache, and one call
//! of `route` at 16, 64 and 256 segments, with the answer proved. Measures what `host plugin build` has built in
//! `plugins/examples`.

#[path = "../../../host/plugin/tests/support/scenes.rs"]
#[allow(clippy::expect_used, clippy::panic, reason = "shared with tests")]
mod scenes;

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use host_engine::Engines;
use host_plugin::{CodeFolder, EventSink, PluginConfig, PluginHost, PluginSource};
use scenes::{request, snapshot};
use serde_json::json;
use shardhost_benches::{report, round, time_calls};

const CALLS: usize = 5_000;

fn main() -> Result<(), Box<dyn Error>> {
    let built = built(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/examples"))?;
    if built.is_empty() {
        return Err("nothing is built: run `host plugin build plugins/examples/LANGUAGE`".into());
    }
    for file in built {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let source = PluginSource { name: name.clone(), bytes: fs::read(&file)?.into(), manifest: None };
        let folder = tempfile::tempdir()?;
        let config = PluginConfig { code: Some(CodeFolder::at(folder.path())), passes: Some(folder.path().to_owned()), ..PluginConfig::default() };
        let host = PluginHost::start(config, Arc::new(Engines::default()), EventSink::none())?;
        let prepare = || -> Result<_, Box<dyn Error>> {
            let started = Instant::now();
            let prepared = host.prepare(&source, None, None)?;
            Ok((prepared, round(started.elapsed().as_secs_f64() * 1e3)))
        };
        let (_, compiled_ms) = prepare()?;
        let (prepared, cached_ms) = prepare()?;
        report("language", json!({ "plugin": name, "bytes": source.bytes.len(), "compiled_ms": compiled_ms, "cached_ms": cached_ms }));
        host.commit(prepared)?;
        let slot = host.routing(None)?;
        for segments in [16, 64, 256] {
            let snapshot = snapshot(segments, segments / 2, 0.0);
            let asked = request(1, segments);
            let times = time_calls(CALLS, |_| {
                std::hint::black_box(slot.route(&snapshot, &asked)).ok();
            });
            report("language_route", json!({ "plugin": name, "segments": segments, "times": times.summary() }));
        }
    }
    Ok(())
}

/// The components in the folders of a folder, sorted.
fn built(folder: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut files = Vec::new();
    for language in fs::read_dir(folder)? {
        let language = language?.path();
        if !language.is_dir() {
            continue;
        }
        for file in fs::read_dir(language)? {
            files.push(file?.path());
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "wasm"));
    files.sort();
    Ok(files)
}

//! What `host plugin build` puts around a policy in Python or JavaScript: modules through which the compiler sees it, so that what
//! it prints, and why it fails, becomes lines of its log. Their compilers leave no other way out.

use std::{
    fs,
    path::{Path, PathBuf},
};

use host_plugin::PluginKind;

use super::pack::file_fault;
use crate::error::Error;

/// Where the modules are while a plugin is compiled, in its own folder.
pub(super) const FOLDER: &str = "plugin.part";
/// The module that `componentize-py` is told of.
pub(super) const PYTHON_MODULE: &str = "shardhost_entry";
/// The file that `componentize-qjs` is told of.
pub(super) const JAVASCRIPT_FILE: &str = "plugin.part/entry.js";

/// The modules on disk; removed when it is dropped.
#[derive(Debug)]
pub(super) struct Entry(PathBuf);

impl Entry {
    /// For `policy.py`.
    pub(super) fn python(folder: &Path) -> Result<Self, Error> {
        Self::write(folder, &[("shardhost_entry.py", include_str!("entry/entry.py").to_owned())])
    }

    /// For `policy.js`, which exports an object for its kind.
    pub(super) fn javascript(folder: &Path, kind: PluginKind) -> Result<Self, Error> {
        let entry = include_str!("entry/entry.js").replace("{{kind}}", kind.word());
        Self::write(folder, &[("console.js", include_str!("entry/console.js").to_owned()), ("entry.js", entry)])
    }

    fn write(folder: &Path, files: &[(&str, String)]) -> Result<Self, Error> {
        let folder = folder.join(FOLDER);
        fs::create_dir_all(&folder).map_err(|error| file_fault("make", &folder, error))?;
        let entry = Self(folder);
        for (name, text) in files {
            let path = entry.0.join(name);
            fs::write(&path, text).map_err(|error| file_fault("write", &path, error))?;
        }
        Ok(entry)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // What is left behind is overwritten by the next build, and harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

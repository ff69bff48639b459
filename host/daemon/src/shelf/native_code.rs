//! Where native code of plugins is kept.

use host_plugin::{CodeFolder, try_private_folder};

use crate::config::Config;

/// Below the folder for caches that the system gives each user.
const SHARED: &str = "shardhost/native-code";
/// Below the data directory.
const OWN: &str = "native-code";

/// The folder that the config names, or else one that all hosts of this user share, or else one in the data directory. What
/// the config names is not tried here: that it cannot be used is an error, and not a reason to take another.
pub fn native_code_folder(config: &Config) -> CodeFolder {
    let named = config.native_code.folder.clone();
    let path = named.or_else(shared).unwrap_or_else(|| config.data.join(OWN));
    CodeFolder { path, bytes_max: config.native_code.bytes_max }
}

fn shared() -> Option<std::path::PathBuf> {
    let folder = dirs::cache_dir()?.join(SHARED);
    match try_private_folder(&folder) {
        Ok(()) => Some(folder),
        Err(reason) => {
            tracing::warn!(folder = %folder.display(), reason, "native code is kept in the data directory, the folder that hosts share cannot be used");
            None
        }
    }
}

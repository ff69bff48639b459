//! The folders that `host plugin new` writes: a template with the plugin's name in it, the contract, and for Rust the SDK. All of
//! it is in the program. Writes nothing itself.

use host_plugin::{CONTRACT, EXTENSIONS};

/// A plugin to start from.
#[derive(Debug)]
pub(super) struct Template {
    /// `KIND-LANGUAGE`
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
}

// `TEMPLATES` and `SDK_SOURCES`, by the build script.
include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// The SDK's manifest, without a workspace around it.
const SDK_MANIFEST: &str = include_str!(concat!(env!("OUT_DIR"), "/sdk.toml"));
/// Versions of what the SDK needs.
const LOCK: &str = include_str!(concat!(env!("OUT_DIR"), "/plugin.lock"));
/// What stands in a template where a plugin's name belongs.
const NAME_MARK: &str = "{{name}}";
/// What builds leave behind.
const IGNORED: &str = "*.wasm\n/target/\n/node_modules/\n__pycache__/\n";

/// Names of the templates.
pub(super) fn names() -> Vec<&'static str> {
    TEMPLATES.iter().map(|template| template.name).collect()
}

/// The template of that name.
pub(super) fn find(name: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name)
}

impl Template {
    /// Every file of a plugin of this name: its path in the folder, and its text.
    pub(super) fn files(&self, plugin: &str) -> Vec<(String, String)> {
        let own = self.files.iter().map(|(path, text)| ((*path).to_owned(), text.replace(NAME_MARK, plugin)));
        let mut files: Vec<_> = own.collect();
        files.push((".gitignore".to_owned(), IGNORED.to_owned()));
        files.extend(CONTRACT.iter().map(|(name, text)| (format!("wit/{name}"), (*text).to_owned())));
        if self.name.ends_with("-rust") {
            files.extend(EXTENSIONS.iter().map(|(name, text)| (format!("wit/{name}"), (*text).to_owned())));
            files.push(("Cargo.lock".to_owned(), LOCK.to_owned()));
            files.push(("shardhost-sdk/Cargo.toml".to_owned(), SDK_MANIFEST.to_owned()));
            files.extend(SDK_SOURCES.iter().map(|(path, text)| (format!("shardhost-sdk/src/{path}"), (*text).to_owned())));
        }
        files
    }
}

/// Whether a plugin may be called so: every language's tools take such a name.
pub(super) fn is_plugin_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(allowed) && !name.ends_with('-') && name != "shardhost-sdk"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use host_plugin::Manifest;

    use super::*;

    #[test]
    fn every_kind_of_policy_can_be_written_in_every_language_and_adapters_in_rust() {
        let policies =
            ["allocation", "queueing", "routing"].iter().flat_map(|kind| ["c", "javascript", "python", "rust"].map(|language| format!("{kind}-{language}")));
        assert_eq!(names(), std::iter::once("adapter-rust".to_owned()).chain(policies).collect::<Vec<_>>());
    }

    #[test]
    fn each_has_its_name_in_it_and_a_manifest_that_says_how_it_is_built() {
        for template in TEMPLATES {
            let files = template.files("my-plugin");
            let text = |name: &str| files.iter().find(|(path, _)| path == name).map(|(_, text)| text.as_str()).unwrap_or_default();
            let manifest = Manifest::read(template.name, text("plugin.toml")).expect("a good manifest");
            assert_eq!(manifest.name.as_deref(), Some("my-plugin"));
            assert!(manifest.build.is_some() && manifest.description.is_some() && manifest.license.is_some(), "{}", template.name);
            let kind = template.name.split('-').next().expect("a kind");
            assert_eq!(manifest.slot().expect("a slot").map(|slot| slot.kind().word()), Some(kind));
            assert!(text("README.md").contains("host plugin install my-plugin.wasm"), "{}", template.name);
            assert!(files.iter().all(|(_, text)| !text.contains(NAME_MARK)), "{}", template.name);
            let contract: BTreeMap<&str, &str> = files.iter().filter_map(|(path, text)| Some((path.strip_prefix("wit/")?, text.as_str()))).collect();
            let extensions: &[_] = if template.name.ends_with("-rust") { &EXTENSIONS } else { &[] };
            assert!(contract == CONTRACT.iter().chain(extensions).copied().collect(), "{} brings another contract than the host's", template.name);
        }
    }

    #[test]
    fn the_sdk_stands_alone() {
        let manifest: toml::Table = SDK_MANIFEST.parse().expect("TOML");
        assert!(!SDK_MANIFEST.contains("workspace"), "{SDK_MANIFEST}");
        assert!(manifest["dependencies"]["wit-bindgen"]["version"].is_str(), "{SDK_MANIFEST}");
        let heap = &manifest["target"]["cfg(target_arch = \"wasm32\")"]["dependencies"]["talc"];
        assert!(heap["version"].is_str() && heap["optional"].as_bool() == Some(true), "{SDK_MANIFEST}");
        let lock: toml::Table = LOCK.parse().expect("TOML");
        let names: Vec<_> = lock["package"].as_array().expect("packages").iter().filter_map(|package| package["name"].as_str()).collect();
        assert!(names.contains(&"wit-bindgen") && names.contains(&"wit-parser") && names.contains(&"talc") && !names.contains(&"tokio"), "{names:?}");
    }

    #[test]
    fn the_examples_are_the_routing_templates() {
        let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/examples");
        for (language, sources) in [("c", 3), ("javascript", 1), ("python", 1), ("rust", 1)] {
            let template = find(&format!("routing-{language}")).expect("a template");
            let files = template.files(&format!("fewest-outstanding-{language}"));
            let is_source = |path: &str| [".c", ".h", ".js", ".py", "src/lib.rs"].iter().any(|end| path.ends_with(end)) && !path.starts_with("shardhost-sdk");
            let found: Vec<_> = files.into_iter().filter(|(path, _)| is_source(path)).collect();
            assert_eq!(found.len(), sources, "{language}");
            for (path, text) in found {
                let example = std::fs::read_to_string(examples.join(language).join(&path)).expect("the example is there");
                assert!(example == text, "plugins/examples/{language}/{path} is not what the template writes");
            }
        }
    }

    #[test]
    fn names_are_lowercase_words_with_hyphens() {
        for good in ["a", "my-policy", "routing2"] {
            assert!(is_plugin_name(good), "{good}");
        }
        for bad in ["", "My", "my_policy", "2fast", "-a", "a-", "a b", "ä", "shardhost-sdk", &"a".repeat(65)] {
            assert!(!is_plugin_name(bad), "{bad}");
        }
    }
}

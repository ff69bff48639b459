//! Nothing but a test: whoever starts from a C template needs no generator, because its bindings are committed, and here they
//! are held to what the generator makes of `wit/` today.

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        fs,
        path::{Path, PathBuf},
    };

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    /// Each file of a folder with its text.
    fn files(folder: &Path) -> BTreeMap<String, String> {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{} cannot be read: {error}", folder.display()));
        let read = |path: PathBuf| (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read_to_string(&path).expect("text"));
        entries.map(|entry| read(entry.expect("an entry").path())).collect()
    }

    /// The folders with bindings, each with its world.
    fn committed() -> Vec<(PathBuf, String)> {
        let templates = fs::read_dir(root().join("sdk/templates")).expect("there are templates").map(|entry| entry.expect("an entry").path());
        let of_c = templates.filter_map(|folder| {
            let name = folder.file_name()?.to_string_lossy().into_owned();
            Some((folder.join("bindings"), format!("{}-policy", name.strip_suffix("-c")?)))
        });
        of_c.chain([(root().join("plugins/examples/c/bindings"), "routing-policy".to_owned())]).collect()
    }

    #[test]
    fn the_c_bindings_are_what_the_generator_makes_of_the_contract() {
        let committed = committed();
        assert_eq!(committed.len(), 4, "{committed:?}");
        for (folder, world) in committed {
            let generated = files(&Path::new(env!("OUT_DIR")).join(&world));
            assert_eq!(generated.len(), 2, "a header and a source for {world}");
            let same = files(&folder) == generated;
            assert!(same, "{} differs: wit-bindgen c wit --world {world} --no-object-file --out-dir {}", folder.display(), folder.display());
        }
    }
}

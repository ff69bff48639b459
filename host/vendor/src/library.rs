//! Looks at a vendor's library before it is loaded: a file that the loader would not take, or that would crash it, is refused in one line
//! that names it, what was expected and what was found. Nothing of the file is run.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    path::Path,
};

use host_engine::Error;

/// Bytes of an ELF header of a 64-bit file; a 32-bit one is shorter.
const HEADER_BYTES: u64 = 64;
/// How much of a file that is no library is shown.
const SHOWN_CHARS_MAX: usize = 24;

/// What this program was built for.
const OWN: Kind = Kind { wide: cfg!(target_pointer_width = "64"), little: cfg!(target_endian = "little"), machine: own_machine() };

/// Machines by the number in the header (`e_machine`), from the ELF specification and its registry.
const MACHINES: [(u16, &str); 9] =
    [(3, "x86"), (8, "mips"), (20, "powerpc"), (21, "powerpc64"), (22, "s390x"), (40, "arm"), (62, "x86-64"), (183, "aarch64"), (243, "risc-v")];

const fn own_machine() -> u16 {
    match () {
        () if cfg!(target_arch = "x86_64") => 62,
        () if cfg!(target_arch = "aarch64") => 183,
        () if cfg!(target_arch = "arm") => 40,
        () if cfg!(target_arch = "riscv64") => 243,
        () if cfg!(target_arch = "x86") => 3,
        () => 0,
    }
}

/// What an ELF file is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kind {
    wide: bool,
    little: bool,
    machine: u16,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match MACHINES.iter().find(|(number, _)| *number == self.machine) {
            Some((_, name)) => f.write_str(name)?,
            None => write!(f, "machine {}", self.machine)?,
        }
        f.write_str(if self.wide { ", 64 bit" } else { ", 32 bit" })?;
        f.write_str(if self.little { "" } else { ", big endian" })
    }
}

/// Checks that a file is a whole shared library for this machine. Elsewhere than on Linux only that it is a file.
pub fn check(path: &Path) -> Result<(), Error> {
    let refused = |found: String| Error::unsupported(format!("library `{}`: expected a shared library for {OWN}, found {found}", path.display()));
    let mut file = File::open(path).map_err(|error| {
        refused(match error.kind() {
            ErrorKind::NotFound => "no such file".to_owned(),
            _ => format!("a file that cannot be read: {error}"),
        })
    })?;
    let metadata = file.metadata().map_err(|error| refused(format!("a file that cannot be read: {error}")))?;
    if !metadata.is_file() {
        return Err(refused(if metadata.is_dir() { "a folder".to_owned() } else { "no regular file".to_owned() }));
    }
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let mut header = Vec::new();
    file.by_ref().take(HEADER_BYTES).read_to_end(&mut header).map_err(|error| refused(format!("a file that cannot be read: {error}")))?;
    examine(&header, metadata.len()).map_or(Ok(()), |found| Err(refused(found)))
}

/// What is wrong with a file that begins so and is so long; none if nothing is.
fn examine(header: &[u8], length: u64) -> Option<String> {
    if !header.starts_with(b"\x7fELF") {
        return Some(foreign(header, length));
    }
    let (Some(&class), Some(&order)) = (header.get(4), header.get(5)) else { return Some(cut(length, HEADER_BYTES)) };
    let (wide, little) = (class == 2, order == 1);
    let number = |from: usize, bytes: usize| -> Option<u64> {
        let part = header.get(from..from + bytes)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if little { part.iter().rev().fold(0, add) } else { part.iter().fold(0, add) })
    };
    let (Some(file_type), Some(machine)) = (number(16, 2), number(18, 2)) else { return Some(cut(length, HEADER_BYTES)) };
    let found = Kind { wide, little, machine: u16::try_from(machine).unwrap_or(0) };
    if found != OWN {
        return Some(format!("one for {found}"));
    }
    // 3 is ET_DYN: what can be loaded into a process. 2 would be a program that can only be started.
    if file_type != 3 {
        return Some(format!("an ELF file of type {file_type}, a shared library has type 3"));
    }
    // The table of sections is the last thing in a library as linkers write it. The loader maps what the header promises, and whoever
    // touches pages behind the end of a file that was cut off is killed.
    let table = if wide { (number(40, 8), number(58, 2), number(60, 2)) } else { (number(32, 4), number(46, 2), number(48, 2)) };
    let (Some(offset), Some(entry), Some(count)) = table else { return Some(cut(length, HEADER_BYTES)) };
    let end = offset.saturating_add(entry * count);
    (end > length).then(|| cut(length, end))
}

fn cut(length: u64, needed: u64) -> String {
    format!("{length} bytes of one that has at least {needed}: it was cut off")
}

/// A file of another kind, by how it begins.
fn foreign(header: &[u8], length: u64) -> String {
    if length == 0 {
        return "an empty file".to_owned();
    }
    let start = String::from_utf8_lossy(header).chars().take(SHOWN_CHARS_MAX).collect::<String>();
    format!("a file of {length} bytes that is no library and begins with {start:?}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The header of a 64-bit little-endian file.
    fn header(machine: u16, file_type: u16) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16..18].copy_from_slice(&file_type.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes
    }

    fn refusal(content: &[u8]) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("libvendor.so");
        fs::write(&path, content).expect("room on disk");
        let text = check(&path).expect_err("not a library").to_string();
        assert!(!text.contains('\n'), "{text}");
        let start = format!("library `{}`: expected a shared library for {OWN}, found ", path.display());
        text.strip_prefix(&start).unwrap_or_else(|| panic!("{text} does not begin with {start}")).to_owned()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_is_no_library_of_this_machine_is_refused_with_what_it_is() {
        // Another machine than the one that the tests run on.
        let (other, name) = if OWN.machine == 183 { (62, "x86-64") } else { (183, "aarch64") };
        let mut narrow = header(OWN.machine, 3);
        narrow[4] = 1;
        let cases: [(Vec<u8>, &str); 7] = [
            (b"just a text\n".to_vec(), "a file of 12 bytes that is no library and begins with \"just a text\\n\""),
            (Vec::new(), "an empty file"),
            (header(other, 3), &format!("one for {name}, 64 bit")),
            (header(999, 3), "one for machine 999, 64 bit"),
            (header(OWN.machine, 2), "an ELF file of type 2, a shared library has type 3"),
            (header(OWN.machine, 3)[..10].to_vec(), "10 bytes of one that has at least 64: it was cut off"),
            (b"\x7fELF".to_vec(), "4 bytes of one that has at least 64: it was cut off"),
        ];
        for (content, expected) in cases {
            assert_eq!(refusal(&content), expected);
        }
        assert!(refusal(&narrow).contains("32 bit"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_library_that_was_cut_off_is_refused_before_the_loader_touches_it() {
        let mut content = header(OWN.machine, 3);
        content[40..48].copy_from_slice(&10_000_u64.to_le_bytes());
        content[58..60].copy_from_slice(&64_u16.to_le_bytes());
        content[60..62].copy_from_slice(&10_u16.to_le_bytes());
        assert_eq!(refusal(&content), "64 bytes of one that has at least 10640: it was cut off");
        content.resize(10_640, 0);
        assert_eq!(examine(&content[..64], 10_640), None);
    }

    #[test]
    fn what_is_not_there_and_what_is_a_folder_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("libmissing.so");
        let missing = check(&path).expect_err("nothing is there").to_string();
        assert_eq!(missing, format!("library `{}`: expected a shared library for {OWN}, found no such file", path.display()));
        assert!(check(folder.path()).expect_err("a folder").to_string().ends_with("found a folder"));
    }
}

//! Whether a plugin comes from somebody who is trusted: minisign signatures by keys that the config names, and what may go
//! without one.

use host_plugin::Identified;
use minisign_verify::{PublicKey, Signature};

use crate::{
    config::{AllowUnsigned, PluginTrust},
    error::{Error, Fault},
};

/// How a component came to this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// From a file of this machine, or over the admin socket, which is its owner's alone.
    Local,
    /// Over a network.
    Remote,
}

/// Proves digest and signature of a component. Gives the trusted key that signed it, and nothing for one that may go unsigned.
pub fn verify(
    trust: &PluginTrust,
    source: &str,
    component: &Identified,
    digest: Option<&str>,
    signature: Option<&str>,
    reach: Reach,
) -> Result<Option<String>, Error> {
    if let Some(expected) = digest {
        let found = component.digest().to_string();
        let expected = expected.trim().trim_start_matches("sha256:");
        if !expected.eq_ignore_ascii_case(&found) {
            return Err(Fault::Digest { source: source.to_owned(), expected: expected.to_owned(), found }.into());
        }
    }
    let untrusted = |reason: String| Error::from(Fault::Untrusted { source: source.to_owned(), reason });
    let Some(text) = signature else {
        let allowed = match trust.allow_unsigned {
            AllowUnsigned::Always => true,
            // Who names the digest knows the bytes.
            AllowUnsigned::Files => reach == Reach::Local || digest.is_some(),
            AllowUnsigned::Never => false,
        };
        let reason = || format!("it has no signature, and plugin_trust.allow_unsigned is `{}`", trust.allow_unsigned.word());
        return if allowed { Ok(None) } else { Err(untrusted(reason())) };
    };
    let signature = Signature::decode(text).map_err(|error| untrusted(format!("its signature cannot be read: {error}")))?;
    let signed = |key: &&String| PublicKey::from_base64(key).is_ok_and(|key| key.verify(&component.source().bytes, &signature, false).is_ok());
    match trust.keys.iter().find(signed) {
        Some(key) => Ok(Some(key.clone())),
        None => Err(untrusted(format!("its signature is by none of the {} keys in plugin_trust.keys, or its bytes were changed", trust.keys.len()))),
    }
}

/// Whether a text is a minisign public key, as the config must name it.
pub fn is_key(text: &str) -> bool {
    PublicKey::from_base64(text).is_ok()
}

#[cfg(test)]
mod tests {
    use host_engine::Digest;
    use host_plugin::PluginSource;

    use super::*;

    fn component(bytes: &'static [u8]) -> Identified {
        Identified::of(PluginSource { name: "x".into(), bytes: bytes::Bytes::from_static(bytes), manifest: None })
    }

    /// Made with minisign 0.11 over the five bytes `hello`, by a key that exists for this test only.
    const KEY: &str = include_str!("trust/test.pub");
    const SIGNATURE: &str = include_str!("trust/hello.minisig");

    fn key() -> String {
        KEY.lines().nth(1).expect("the key is on the second line").to_owned()
    }

    fn trust(keys: Vec<String>, allow_unsigned: AllowUnsigned) -> PluginTrust {
        PluginTrust { keys, allow_unsigned }
    }

    #[test]
    fn a_signature_by_a_trusted_key_names_the_key() {
        let trust = trust(vec![key()], AllowUnsigned::Never);
        assert_eq!(verify(&trust, "x", &component(b"hello"), None, Some(SIGNATURE), Reach::Remote).expect("signed"), Some(key()));
    }

    #[test]
    fn changed_bytes_and_unknown_keys_are_refused_even_where_nothing_needs_a_signature() {
        let lax = AllowUnsigned::Always;
        for (keys, bytes) in [(vec![key()], &b"hullo"[..]), (Vec::new(), b"hello")] {
            let error = verify(&trust(keys, lax), "x", &component(bytes), None, Some(SIGNATURE), Reach::Local).expect_err("not trusted").to_string();
            assert!(error.starts_with("`x` is not trusted: its signature is by none of the"), "{error}");
        }
        let error = verify(&trust(Vec::new(), lax), "x", &component(b"hello"), None, Some("scribble"), Reach::Local).expect_err("unreadable").to_string();
        assert!(error.contains("cannot be read"), "{error}");
    }

    #[test]
    fn what_may_go_unsigned_depends_on_where_it_comes_from() {
        let cases = [
            (AllowUnsigned::Never, Reach::Local, false),
            (AllowUnsigned::Files, Reach::Local, true),
            (AllowUnsigned::Files, Reach::Remote, false),
            (AllowUnsigned::Always, Reach::Remote, true),
        ];
        for (allow, reach, may) in cases {
            assert_eq!(verify(&trust(Vec::new(), allow), "x", &component(b"hello"), None, None, reach).is_ok(), may, "{allow:?} {reach:?}");
        }
    }

    #[test]
    fn another_digest_is_named_with_the_one_that_was_found() {
        let trust = trust(Vec::new(), AllowUnsigned::Always);
        let digest = Digest::of(b"hello").to_string();
        assert!(verify(&trust, "x", &component(b"hello"), Some(&format!("sha256:{digest}")), None, Reach::Remote).is_ok());
        let error = verify(&trust, "x", &component(b"hullo"), Some(&digest), None, Reach::Remote).expect_err("changed").to_string();
        assert!(error.contains(&digest) && error.contains(&Digest::of(b"hullo").to_string()), "{error}");
    }
}

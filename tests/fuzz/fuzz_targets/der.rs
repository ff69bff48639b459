//! Signing requests and certificates, as whoever opens a connection or asks to be enrolled sends them: what is read is made of the
//! bytes that were sent, and of all of them.

#![no_main]

use std::ops::Range;

use host_wire::der;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(request) = der::request(bytes) {
        let parts = [request.signed, request.algorithm, request.key_algorithm, request.key, request.signature].map(|part| place(bytes, part));
        let [signed, algorithm, key_algorithm, key, signature] = parts;
        assert!(signed.end <= algorithm.start && algorithm.end < signature.start && signature.end == bytes.len(), "the signature is over what is before it");
        assert!(signed.start < key_algorithm.start && key_algorithm.end < key.start && key.end <= signed.end, "the key is in what is signed");
        ends_where_it_ends(bytes, |bytes| der::request(bytes).is_some());
    }
    if let Some(certificate) = der::certificate(bytes) {
        let (serial, key) = (place(bytes, certificate.serial), place(bytes, certificate.key_info));
        assert!(serial.end < key.start, "the number comes before the key");
        for name in [certificate.common_name(), certificate.dns_name()].into_iter().flatten() {
            place(bytes, name.as_bytes());
        }
        // The year 9999 is the last one that can be written.
        assert!(certificate.not_before_ms.max(certificate.not_after_ms) < 253_402_300_800_000);
        ends_where_it_ends(bytes, |bytes| der::certificate(bytes).is_some());
    }
});

/// Where a part lies in the whole.
fn place(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr()).expect("not before the whole");
    assert!(start + part.len() <= whole.len(), "not behind the whole");
    start..start + part.len()
}

/// Nothing may be missing at the end, and nothing may follow.
fn ends_where_it_ends(bytes: &[u8], is_read: impl Fn(&[u8]) -> bool) {
    assert!(!is_read(&bytes[..bytes.len() - 1]), "it was read though its end is missing");
    assert!(!is_read(&[bytes, &[0]].concat()), "it was read though something follows");
}

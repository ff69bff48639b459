//! A signing request and a certificate as hosts make them, but for what is not looked at here: their keys and signatures are no
//! points of any curve.

use super::Seeds;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_3: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
/// ECDSA with SHA-256.
const SIGNED_BY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// A key of an elliptic curve, and the curve P-256.
const KEY_OF: [&[u8]; 2] = [&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1], &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]];
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

pub fn seeds() -> Seeds {
    let (request, certificate) = (request(), certificate(&[0x2a; 16], UTC_TIME, "260301120005Z"));
    vec![
        ("cut", certificate[..certificate.len() - 9].to_vec()),
        ("certificate", certificate),
        ("certificate-for-long", certificate_for_long()),
        ("followed", [&request[..], &[0]].concat()),
        ("request", request),
    ]
}

fn request() -> Vec<u8> {
    let info = value(SEQUENCE, &[value(INTEGER, &[0]), name("pi"), key(), value(CONTEXT_0, &[])].concat());
    value(SEQUENCE, &[info, algorithm(), signature()].concat())
}

fn certificate_for_long() -> Vec<u8> {
    certificate(&[1], GENERALIZED_TIME, "20991231235959Z")
}

fn certificate(serial: &[u8], kind: u8, ends: &str) -> Vec<u8> {
    let version = value(CONTEXT_0, &value(INTEGER, &[2]));
    let validity = value(SEQUENCE, &[value(UTC_TIME, b"260101000000Z"), value(kind, ends.as_bytes())].concat());
    let constraints = [value(OBJECT_ID, BASIC_CONSTRAINTS), value(BOOLEAN, &[0xff]), value(OCTET_STRING, &value(SEQUENCE, &[]))].concat();
    let names = value(SEQUENCE, &value(DNS_NAME, b"0123456789abcdef0123456789abcdef.device.shardhost"));
    let alternative = [value(OBJECT_ID, ALTERNATIVE_NAMES), value(OCTET_STRING, &names)].concat();
    let extensions = value(CONTEXT_3, &value(SEQUENCE, &[value(SEQUENCE, &alternative), value(SEQUENCE, &constraints)].concat()));
    let info = [version, value(INTEGER, serial), algorithm(), name("shed"), validity, name("pi"), key(), extensions].concat();
    value(SEQUENCE, &[value(SEQUENCE, &info), algorithm(), signature()].concat())
}

fn name(common: &str) -> Vec<u8> {
    let attribute = value(SEQUENCE, &[value(OBJECT_ID, COMMON_NAME), value(UTF8_STRING, common.as_bytes())].concat());
    value(SEQUENCE, &value(SET, &attribute))
}

fn key() -> Vec<u8> {
    let algorithm = value(SEQUENCE, &KEY_OF.map(|id| value(OBJECT_ID, id)).concat());
    value(SEQUENCE, &[algorithm, bits(&[4; 65])].concat())
}

fn algorithm() -> Vec<u8> {
    value(SEQUENCE, &value(OBJECT_ID, SIGNED_BY))
}

fn signature() -> Vec<u8> {
    bits(&value(SEQUENCE, &[value(INTEGER, &[7; 32]), value(INTEGER, &[8; 32])].concat()))
}

fn bits(bytes: &[u8]) -> Vec<u8> {
    value(BIT_STRING, &[&[0], bytes].concat())
}

/// A tag, a length in the shortest form, and what is in it.
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).expect("seeds are small").to_be_bytes();
    let length = match (high, low) {
        (0, ..0x80) => vec![low],
        (0, _) => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag], &length[..], content].concat()
}

//! Reads the two DER structures that hosts hand to each other: signing requests (PKCS#10, RFC 2986) and certificates (X.509,
//! RFC 5280). Bytes from anyone come here, so reading is total: it gives nothing for what is not exactly such a structure. What is
//! read is not yet proved; signatures and chains are the business of whoever asks.

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
/// Version of a certificate, attributes of a request.
const CONTEXT_0: u8 = 0xa0;
/// Extensions of a certificate.
const CONTEXT_3: u8 = 0xa3;
/// A DNS name among the alternative names.
const DNS_NAME: u8 = 0x82;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// A signing request. Its subject and attributes are nobody's business.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What the signature is over.
    pub signed: &'a [u8],
    /// Algorithm of the signature.
    pub algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
    /// Algorithm of the public key.
    pub key_algorithm: &'a [u8],
    /// The public key.
    pub key: &'a [u8],
}

/// A certificate.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// Its number, big endian.
    pub serial: &'a [u8],
    /// From when on it counts, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// Until when.
    pub not_after_ms: u64,
    /// The public key with its algorithm, as a whole.
    pub key_info: &'a [u8],
    subject: Values<'a>,
    extensions: Values<'a>,
}

/// Reads a signing request; nothing for anything else, or with bytes left over.
pub fn request(der: &[u8]) -> Option<Request<'_>> {
    let mut outer = Values(der).only(SEQUENCE)?;
    let info = outer.next()?;
    let (algorithm, signature) = (outer.take(SEQUENCE)?.0, outer.bits()?);
    outer.end()?;
    let mut parts = Values(info.whole).only(SEQUENCE)?;
    if parts.take(INTEGER)?.0 != [0] {
        return None;
    }
    let _subject = parts.take(SEQUENCE)?;
    let mut key_info = parts.take(SEQUENCE)?;
    let _attributes = parts.take(CONTEXT_0)?;
    parts.end()?;
    let (key_algorithm, key) = (key_info.take(SEQUENCE)?.0, key_info.bits()?);
    key_info.end()?;
    Some(Request { signed: info.whole, algorithm, signature, key_algorithm, key })
}

/// Reads a certificate; nothing for anything else, or with bytes left over.
pub fn certificate(der: &[u8]) -> Option<Certificate<'_>> {
    let mut outer = Values(der).only(SEQUENCE)?;
    let mut parts = outer.take(SEQUENCE)?;
    let (_algorithm, _signature) = (outer.take(SEQUENCE)?, outer.bits()?);
    outer.end()?;
    let _version = parts.take(CONTEXT_0)?;
    let serial = parts.take(INTEGER)?.0;
    let (_algorithm, _issuer) = (parts.take(SEQUENCE)?, parts.take(SEQUENCE)?);
    let mut validity = parts.take(SEQUENCE)?;
    let (not_before_ms, not_after_ms) = (moment(&validity.next()?)?, moment(&validity.next()?)?);
    validity.end()?;
    let subject = parts.take(SEQUENCE)?;
    let key_info = parts.next().filter(|value| value.tag == SEQUENCE)?.whole;
    let extensions = parts.take(CONTEXT_3)?.only(SEQUENCE)?;
    parts.end()?;
    Some(Certificate { serial, not_before_ms, not_after_ms, key_info, subject, extensions })
}

impl<'a> Certificate<'a> {
    /// The subject, if it is a common name and nothing else.
    pub fn common_name(&self) -> Option<&'a str> {
        let mut attribute = self.subject.only(SET)?.only(SEQUENCE)?;
        let (kind, name) = (attribute.take(OBJECT_ID)?.0, attribute.take(UTF8_STRING)?.0);
        attribute.end()?;
        std::str::from_utf8(name).ok().filter(|_| kind == COMMON_NAME)
    }

    /// The alternative name, if it is a DNS name and there is no other.
    pub fn dns_name(&self) -> Option<&'a str> {
        let mut extensions = self.extensions;
        let mut found = None;
        while let Some(mut extension) = extensions.take(SEQUENCE) {
            let kind = extension.take(OBJECT_ID)?.0;
            let _critical = extension.take(BOOLEAN);
            let value = extension.take(OCTET_STRING)?;
            extension.end()?;
            if kind == ALTERNATIVE_NAMES && found.replace(value).is_some() {
                return None;
            }
        }
        extensions.end()?;
        std::str::from_utf8(found?.only(SEQUENCE)?.only(DNS_NAME)?.0).ok()
    }
}

/// Values one after another.
#[derive(Clone, Copy, Debug)]
struct Values<'a>(&'a [u8]);

/// One value.
#[derive(Clone, Copy, Debug)]
struct Value<'a> {
    tag: u8,
    content: &'a [u8],
    /// With its tag and length.
    whole: &'a [u8],
}

impl<'a> Values<'a> {
    /// The next value. Tags of more than one byte and lengths of more than two do not occur in what is read here.
    fn next(&mut self) -> Option<Value<'a>> {
        let all = self.0;
        let (length, rest) = match all.get(1..)? {
            [length, rest @ ..] if *length < 0x80 => (usize::from(*length), rest),
            [0x81, length, rest @ ..] if *length >= 0x80 => (usize::from(*length), rest),
            [0x82, high, low, rest @ ..] if *high > 0 => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            _ => return None,
        };
        let tag = *all.first().filter(|tag| **tag & 0x1f != 0x1f)?;
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Value { tag, content, whole: &all[..all.len() - rest.len()] })
    }

    /// What is in the next value if it has this tag; otherwise the value stays.
    fn take(&mut self, tag: u8) -> Option<Self> {
        let mut rest = *self;
        let value = rest.next().filter(|value| value.tag == tag)?;
        *self = rest;
        Some(Self(value.content))
    }

    /// The same, when nothing may follow.
    fn only(mut self, tag: u8) -> Option<Self> {
        let inner = self.take(tag)?;
        self.end().map(|()| inner)
    }

    /// Whole bytes in a bit string.
    fn bits(&mut self) -> Option<&'a [u8]> {
        match self.take(BIT_STRING)?.0 {
            [0, bytes @ ..] => Some(bytes),
            _ => None,
        }
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, in milliseconds since 1970; nothing for earlier moments.
fn moment(value: &Value<'_>) -> Option<u64> {
    let digits = value.content.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let number = |digits: &[u8]| digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    let (year, rest) = match (value.tag, digits.len()) {
        (UTC_TIME, 12) => (number(&digits[..2]), &digits[2..]),
        (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let year = match value.tag {
        UTC_TIME if year < 50 => year + 2_000,
        UTC_TIME => year + 1_900,
        _ => year,
    };
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| number(&rest[at..at + 2]));
    let sound = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 60;
    sound.then(|| (((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1_000)
}

/// Days since 1970 by the proleptic Gregorian calendar.
/// Source: H. Hinnant, chrono-compatible low-level date algorithms, `days_from_civil`.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // The year begins in March, so that its odd day is the last one.
    let (year, shifted) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_as_a_calendar_has_them() {
        let cases = [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "000229235959Z", Some(951_868_799_000)),
            (UTC_TIME, "260301120005Z", Some(1_772_366_405_000)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999_000)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799_000)),
            (UTC_TIME, "500101000000Z", None),
            (GENERALIZED_TIME, "19691231235959Z", None),
            (UTC_TIME, "20500101000000Z", None),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "700100000000Z", None),
            (UTC_TIME, "700101240000Z", None),
            (UTC_TIME, "700101000000", None),
            (UTC_TIME, "7001010000+1Z", None),
            (INTEGER, "700101000000Z", None),
        ];
        for (tag, text, expected) in cases {
            let value = Value { tag, content: text.as_bytes(), whole: &[] };
            assert_eq!(moment(&value), expected, "{text}");
        }
    }

    #[test]
    fn a_length_is_written_in_one_way_only_and_never_reaches_past_the_end() {
        let long = [&[SEQUENCE, 0x81, 0x80][..], &[0; 0x80]].concat();
        let longer = [&[SEQUENCE, 0x82, 0x01, 0x00][..], &[0; 0x100]].concat();
        for (der, length) in [(&[SEQUENCE, 0][..], 0), (&[SEQUENCE, 1, 0], 1), (&long, 0x80), (&longer, 0x100)] {
            assert_eq!(Values(der).only(SEQUENCE).map(|inner| inner.0.len()), Some(length), "{der:?}");
        }
        let bad: [&[u8]; 10] = [
            &[],
            &[SEQUENCE],
            &[SEQUENCE, 1],
            &[SEQUENCE, 0x80, 0, 0],
            &[SEQUENCE, 0x81, 1, 0],
            &[SEQUENCE, 0x82, 0, 1, 0],
            &[SEQUENCE, 0x83, 0, 0, 1, 0],
            &[SEQUENCE, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x3f, 0x20, 0],
            &[SEQUENCE, 0, 0],
        ];
        for der in bad {
            assert!(Values(der).only(SEQUENCE).is_none(), "{der:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(der in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(request(&der).is_none() && certificate(&der).is_none(), "three layers were guessed");
        }
    }
}

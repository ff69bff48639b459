//! The join token: what a person carries from the central to a new device, so that each can prove itself to the other. As text
//! it is `shj1.` and 80 characters of base64url: the token's id, a secret, the fingerprint of the central's authority, and a
//! checksum that tells a mistyped token from a wrong one. Says nothing about whether a token is still good: the central knows.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Fault};

/// What every join token of this form starts with.
pub const PREFIX: &str = "shj1.";
/// Characters of a whole token.
pub const TOKEN_CHARS: usize = PREFIX.len() + CONTENT_CHARS;

const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 16;
const FINGERPRINT_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;
const CONTENT_BYTES: usize = ID_BYTES + SECRET_BYTES + FINGERPRINT_BYTES + CHECKSUM_BYTES;
/// Three bytes are four characters, and nothing is left over.
const CONTENT_CHARS: usize = CONTENT_BYTES / 3 * 4;

/// A join token, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinToken {
    /// Which one it is; no secret.
    pub id: TokenId,
    /// What proves the device to the central.
    pub secret: TokenSecret,
    /// What proves the central to the device.
    pub fingerprint: Fingerprint,
}

/// Names a token: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TokenId(pub [u8; ID_BYTES]);

/// Whoever has it may enrol. Never printed but within a token's text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenSecret(pub [u8; SECRET_BYTES]);

/// The SHA-256 of a certificate in DER; prints as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; FINGERPRINT_BYTES]);

/// Why a text is no join token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenProblem {
    /// It starts otherwise.
    Prefix { found: String },
    /// A character that base64url does not have; counted from 1.
    Character { position: usize, found: char },
    /// Characters are missing or too many.
    Length { found: usize },
    /// It was mistyped, or put together from two.
    Checksum { stated: u32, found: u32 },
}

impl JoinToken {
    /// Reads a token; white space around it is left out. Never panics, whatever the text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let content = content_of(text.trim())?;
        let (head, checksum) = content.split_at(CONTENT_BYTES - CHECKSUM_BYTES);
        let (stated, found) = (number(checksum), checksum_of(head));
        if stated != found {
            return Err(Fault::JoinToken(TokenProblem::Checksum { stated, found }).into());
        }
        let (id, rest) = head.split_at(ID_BYTES);
        let (secret, fingerprint) = rest.split_at(SECRET_BYTES);
        Ok(Self { id: TokenId(array(id)), secret: TokenSecret(array(secret)), fingerprint: Fingerprint(array(fingerprint)) })
    }

    /// The token as people carry it. It holds the secret.
    pub fn text(&self) -> String {
        let mut content = [&self.id.0[..], &self.secret.0, &self.fingerprint.0].concat();
        let checksum = checksum_of(&content);
        content.extend(checksum.to_be_bytes());
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(content))
    }
}

impl TokenId {
    /// Reads 16 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let digits = text.len() == 2 * ID_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let fault = || Error::from(Fault::TokenId { text: text.chars().take(4 * ID_BYTES).collect() });
        let number = u64::from_str_radix(text, 16).ok().filter(|_| digits).ok_or_else(fault)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl TokenSecret {
    /// What is kept of it. It is random and long, so a plain digest cannot be turned back.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// Reads what it prints, 64 hexadecimal digits; none for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 2 * FINGERPRINT_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; FINGERPRINT_BYTES];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(not shown)")
    }
}

impl fmt::Display for TokenProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix { found } => write!(f, "it starts with `{found}`, a join token with `{PREFIX}`"),
            Self::Character { position, found } => write!(f, "its character {position} is `{found}`, a join token has letters, digits, `-` and `_` there"),
            Self::Length { found } if *found < TOKEN_CHARS => write!(f, "it has {found} characters, a whole one has {TOKEN_CHARS}; its end is missing"),
            Self::Length { found } => write!(f, "it has {found} characters, a whole one has {TOKEN_CHARS}"),
            Self::Checksum { stated, found } => write!(f, "its checksum is {stated:08x}, its content gives {found:08x}; it was mistyped"),
        }
    }
}

/// The bytes behind the prefix.
fn content_of(text: &str) -> Result<[u8; CONTENT_BYTES], Error> {
    let fault = |problem| Error::from(Fault::JoinToken(problem));
    let chars = || text.chars().count();
    let Some(content) = text.strip_prefix(PREFIX) else {
        // No more than the prefix is repeated: what follows may be somebody's secret.
        return Err(fault(TokenProblem::Prefix { found: text.chars().take(PREFIX.len()).collect() }));
    };
    let known = |found: char| found.is_ascii_alphanumeric() || matches!(found, '-' | '_');
    if let Some((index, found)) = content.chars().enumerate().find(|(_, found)| !known(*found)) {
        return Err(fault(TokenProblem::Character { position: PREFIX.len() + index + 1, found }));
    }
    if content.len() != CONTENT_CHARS {
        return Err(fault(TokenProblem::Length { found: chars() }));
    }
    let bytes = URL_SAFE_NO_PAD.decode(content).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| fault(TokenProblem::Length { found: chars() }))
}

fn checksum_of(content: &[u8]) -> u32 {
    number(&Sha256::digest(content)[..CHECKSUM_BYTES])
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(array(bytes))
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("cut to this length by the caller")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> impl Strategy<Value = JoinToken> {
        (any::<[u8; 8]>(), any::<[u8; 16]>(), any::<[u8; 32]>()).prop_map(|(id, secret, fingerprint)| JoinToken {
            id: TokenId(id),
            secret: TokenSecret(secret),
            fingerprint: Fingerprint(fingerprint),
        })
    }

    fn refusal(text: &str) -> String {
        JoinToken::parse(text).expect_err(text).to_string()
    }

    proptest! {
        #[test]
        fn a_token_reads_back_what_it_was_written_from(token in token(), before in "[ \n\t]{0,3}", after in "[ \n\t]{0,3}") {
            let text = token.text();
            prop_assert_eq!(text.len(), TOKEN_CHARS);
            prop_assert_eq!(JoinToken::parse(&format!("{before}{text}{after}")), Ok(token));
        }

        #[test]
        fn no_text_makes_it_panic_and_what_is_taken_is_the_text_of_a_token(text in "\\PC*") {
            if let Ok(token) = JoinToken::parse(&text) {
                prop_assert_eq!(token.text(), text.trim());
            }
        }

        #[test]
        fn no_end_that_follows_the_prefix_makes_it_panic(content in "[A-Za-z0-9_-]{0,100}") {
            prop_assert!(JoinToken::parse(&format!("{PREFIX}{content}")).is_err(), "a checksum was guessed");
        }

        #[test]
        fn one_changed_character_is_noticed(token in token(), position in 0..TOKEN_CHARS, other in "[A-Za-z0-9_.-]") {
            let mut text = token.text();
            text.replace_range(position..=position, &other);
            prop_assert_eq!(JoinToken::parse(&text).is_ok(), text == token.text());
        }

        #[test]
        fn a_token_that_was_cut_off_is_told_from_a_wrong_one(token in token(), kept in 0..TOKEN_CHARS) {
            let text = token.text();
            let refusal = refusal(&text[..kept]);
            let expected = if kept < PREFIX.len() { "it starts with" } else { "its end is missing" };
            prop_assert!(refusal.contains(expected), "{}", refusal);
        }

        #[test]
        fn a_fingerprint_reads_back_what_it_prints_and_nothing_else(bytes in any::<[u8; 32]>(), text in "[0-9a-g+é]{60,66}") {
            prop_assert_eq!(Fingerprint::parse(&Fingerprint(bytes).to_string()), Some(Fingerprint(bytes)));
            let is_one = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            prop_assert_eq!(Fingerprint::parse(&text).is_some(), is_one);
        }

        #[test]
        fn an_id_reads_back_what_it_prints(id in any::<[u8; 8]>()) {
            prop_assert_eq!(TokenId::parse(&TokenId(id).to_string()), Ok(TokenId(id)));
        }
    }

    #[test]
    fn each_fault_is_said_in_words() {
        let token = JoinToken { id: TokenId([1; 8]), secret: TokenSecret([2; 16]), fingerprint: Fingerprint([3; 32]) };
        let text = token.text();
        let swapped = text.replacen("AQE", "AQI", 1);
        let cases = [
            ("sha256:0011", "the join token cannot be used: it starts with `sha25`, a join token with `shj1.`"),
            ("", "the join token cannot be used: it starts with ``, a join token with `shj1.`"),
            ("shj1.é", "the join token cannot be used: its character 6 is `é`, a join token has letters, digits, `-` and `_` there"),
            (&text[..40], "the join token cannot be used: it has 40 characters, a whole one has 85; its end is missing"),
            (&format!("{text}A"), "the join token cannot be used: it has 86 characters, a whole one has 85"),
        ];
        for (text, expected) in cases {
            assert_eq!(refusal(text), expected);
        }
        assert!(refusal(&swapped).ends_with("; it was mistyped"), "{}", refusal(&swapped));
    }

    #[test]
    fn the_text_of_a_token_does_not_change_from_release_to_release() {
        let token = JoinToken { id: TokenId([0x11; 8]), secret: TokenSecret([0x22; 16]), fingerprint: Fingerprint::of(b"certificate") };
        let text = "shj1.EREREREREREiIiIiIiIiIiIiIiIiIiIiA9Zt0Ig1wco_EozOrNHzGslBYwlrIPRFroQoW8CDLXKiFeJK";
        assert_eq!(token.text(), text);
        assert_eq!(token.id.to_string(), "1111111111111111");
    }

    #[test]
    fn a_text_that_is_no_id_is_named() {
        for text in ["", "0123456789abcde", "0123456789abcdefg", "+123456789abcdef", "é123456789abcde"] {
            let error = TokenId::parse(text).expect_err("no id").to_string();
            assert_eq!(error, format!("`{text}` is no token id, which is 16 hexadecimal digits"));
        }
    }

    #[test]
    fn a_secret_is_not_shown_by_accident() {
        let token = JoinToken { id: TokenId([1; 8]), secret: TokenSecret([2; 16]), fingerprint: Fingerprint([3; 32]) };
        assert!(format!("{token:?}").contains("TokenSecret(not shown)"));
    }
}

//! Join tokens and what is within them, as people type them: a text that is read prints back the same.

#![no_main]

use host_wire::join::{Fingerprint, JoinToken, TokenId, TokenSecret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        read(text);
    }
    // Nobody guesses a checksum, so whole tokens are made of the bytes.
    if let Some(token) = token_of(bytes) {
        assert_eq!(JoinToken::parse(&token.text()), Ok(token));
    }
});

fn read(text: &str) {
    if let Ok(token) = JoinToken::parse(text) {
        assert_eq!(token.text(), text.trim());
    }
    if let Ok(id) = TokenId::parse(text) {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
    if let Some(fingerprint) = Fingerprint::parse(text) {
        assert_eq!(fingerprint.to_string(), text.to_ascii_lowercase());
    }
}

fn token_of(bytes: &[u8]) -> Option<JoinToken> {
    let (id, rest) = bytes.split_first_chunk()?;
    let (secret, rest) = rest.split_first_chunk()?;
    let fingerprint = rest.first_chunk()?;
    Some(JoinToken { id: TokenId(*id), secret: TokenSecret(*secret), fingerprint: Fingerprint(*fingerprint) })
}

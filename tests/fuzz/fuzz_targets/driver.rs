//! What driver processes say to their host: whatever is taken is written as the same bytes again, and nothing larger than the frame comes
//! out of it.

#![no_main]

use bytes::Bytes;
use host_driver::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = Message::decode(Bytes::copy_from_slice(bytes)) else { return };
    let frame = message.encode();
    // Entries of maps may come in any order or twice, so the first frame may differ from the bytes; the second may not.
    assert!(frame.len() <= bytes.len(), "{} bytes have become {}", bytes.len(), frame.len());
    let again = Message::decode(frame.clone().into()).expect("just encoded");
    assert_eq!(again.encode(), frame);
});

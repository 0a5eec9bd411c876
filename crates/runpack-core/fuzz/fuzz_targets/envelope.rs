//! An envelope that parses is written and read again the same, and is believed only for what was signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runpack_core::sign::{Envelope, Statement, VerifyingKey};

/// The key whose only signature is in the corpus.
const PUBLIC: &str = include_str!("../public.pem");
const SIGNED: &[u8] = include_bytes!("../corpus/envelope/signed.json");

fuzz_target!(|bytes: &[u8]| {
    if let Ok(statement) = Statement::parse(bytes) {
        assert_eq!(statement.payload(), bytes);
    }
    let Ok(envelope) = Envelope::parse(bytes) else {
        return;
    };
    let written = envelope.to_bytes();
    assert_eq!(Envelope::parse(&written).as_ref(), Ok(&envelope));
    let statement = envelope.statement();
    assert_eq!(
        Statement::parse(statement.payload()).as_ref(),
        Ok(statement)
    );

    let key = VerifyingKey::from_pem(PUBLIC).expect("a key");
    if envelope.verify(&key, statement.pack_id()).is_ok() {
        let signed = Envelope::parse(SIGNED).expect("an envelope");
        assert_eq!(statement, signed.statement());
    }
});

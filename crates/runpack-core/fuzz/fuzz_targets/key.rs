//! A key that parses is the key of what it says: one location, one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runpack_core::key::Location;

fuzz_target!(|key: &str| {
    if let Some(location) = Location::parse(key) {
        assert_eq!(location.key().expect("a key that was read").as_str(), key);
        assert!(key.len() <= 1_024 && key.is_ascii());
        for component in key.split('/') {
            assert!(!matches!(component, "" | "." | ".."), "{key}");
        }
    }
});

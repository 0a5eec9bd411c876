//! A name is plain ASCII and its own only spelling; an original that has a name has one that parses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runpack_core::name::{ArtifactName, COMPONENT_BYTES_MAX, NAME_BYTES_MAX};

fn hold(name: &ArtifactName) {
    let text = name.as_str();
    assert!(text.is_ascii() && text.len() <= NAME_BYTES_MAX);
    assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    assert!(!text.contains(['\\', ':', '*', '?', '"', '<', '>', '|', '&', '$', '`', '\'']));
    for component in name.components() {
        assert!(!component.is_empty() && component.len() <= COMPONENT_BYTES_MAX);
        assert!(!matches!(component, "." | ".."));
        assert!(!component.starts_with([' ', '-']) && !component.ends_with([' ', '.']));
    }
    assert_eq!(text.parse().as_ref(), Ok(name));
    assert_eq!(name.to_string(), text);
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(name) = str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse().ok())
    {
        hold(&name);
    }
    if let Ok(name) = ArtifactName::from_original(bytes.split(|byte| *byte == b'/')) {
        hold(&name);
    }
});

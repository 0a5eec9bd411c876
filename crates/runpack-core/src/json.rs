//! Strict JSON: what `serde_json` lets through and the format does not (specification, section 3).
//!
//! Two passes over the same bytes. [`check`] walks any document and refuses duplicate members,
//! numbers that are not plain integers up to 2^53-1, and depth; it sees every level, also those that
//! a typed parse would skip. [`matches_canonical`] writes a parsed value again and compares with the
//! input as it goes, so the canonical form is never held in memory.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};

/// The largest integer that every JSON implementation reads exactly: 2^53-1 (RFC 7493, section 2.2).
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The most members an object may have. Stops an object made to exhaust the search for duplicates.
const MEMBERS_MAX: usize = 4_096;

/// Not a strict JSON document.
#[derive(Debug, thiserror::Error)]
#[error("not strict JSON: {0}")]
pub struct SyntaxError(#[from] serde_json::Error);

/// Refuses everything that is not one strict JSON object, and gives its `format` member if it is a string.
pub(crate) fn check(bytes: &[u8], depth_max: u32) -> Result<Option<String>, SyntaxError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut format = None;
    let top = Node {
        depth_left: depth_max,
        top: Some(&mut format),
    };
    top.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(format)
}

/// One value of a document; `top` is there for the outermost, which must be an object.
struct Node<'a> {
    depth_left: u32,
    top: Option<&'a mut Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.top.is_some() {
            deserializer.deserialize_map(self)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl Node<'_> {
    fn inner<E: de::Error>(&self) -> Result<Node<'static>, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Node {
                depth_left,
                top: None,
            }),
            None => Err(E::custom("nested too deep")),
        }
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.top.is_some() {
            "an object"
        } else {
            "strict JSON"
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let inner = self.inner()?;
        let mut seen = HashSet::new();
        let mut top = self.top;
        while let Some(name) = map.next_key::<String>()? {
            let node = Node {
                depth_left: inner.depth_left,
                top: None,
            };
            let text = map.next_value_seed(node)?;
            if let Some(format) = top.as_deref_mut()
                && name == "format"
            {
                *format = text;
            }
            if !seen.insert(name) {
                return Err(de::Error::custom("a member stands twice"));
            }
            if seen.len() > MEMBERS_MAX {
                return Err(de::Error::custom("an object has too many members"));
            }
        }
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let inner = self.inner()?;
        while seq
            .next_element_seed(Node {
                depth_left: inner.depth_left,
                top: None,
            })?
            .is_some()
        {}
        Ok(None)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        // Only the short `format` is ever looked at: a long text is not worth a copy.
        Ok((text.len() <= 64).then(|| text.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        if number <= INTEGER_MAX {
            Ok(None)
        } else {
            Err(E::custom("an integer above 2^53-1"))
        }
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
        Err(E::custom("a negative number"))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Err(E::custom("a number that is not a plain integer"))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether `value`, written in the order of its fields, is exactly `bytes`.
///
/// The types of the format declare their fields in canonical order and hold no floats, so this is
/// RFC 8785; a property test holds it against an independent implementation.
pub(crate) fn matches_canonical(value: &impl Serialize, bytes: &[u8]) -> bool {
    let mut expected = Expected(bytes);
    serde_json::to_writer(&mut expected, value).is_ok() && expected.0.is_empty()
}

/// A writer that accepts only the bytes it expects.
struct Expected<'a>(&'a [u8]);

impl Write for Expected<'_> {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        match self.0.strip_prefix(written) {
            Some(rest) => {
                self.0 = rest;
                Ok(written.len())
            }
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `Deserialize` by way of `FromStr`, without a copy of the text.
pub(crate) fn from_string<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Text<T>(PhantomData<T>);

    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b01_to_b08_strictness() {
        let deep = format!("{}{}{}", "{\"a\":".repeat(16), "1", "}".repeat(16));
        let too_deep = format!("{}{}{}", "{\"a\":".repeat(17), "1", "}".repeat(17));
        let bomb = "[".repeat(1_000_000);
        for good in ["{}", " {\"a\" : 1}\n", "{\"a\":9007199254740991}", &deep] {
            assert!(check(good.as_bytes(), 16).is_ok(), "{good}");
        }
        for bad in [
            "",
            "[]",
            "1",
            "null",
            "{\"a\":1,\"a\":2}",
            "{\"a\":{\"b\":1,\"b\":1}}",
            "{\"a\":[{\"b\":1,\"\\u0062\":1}]}",
            "{\"a\":9007199254740992}",
            "{\"a\":-1}",
            "{\"a\":-0}",
            "{\"a\":1.0}",
            "{\"a\":1e0}",
            "{\"a\":1E400}",
            "{\"a\":NaN}",
            "{\"a\":01}",
            "{}x",
            "{}{}",
            "\u{feff}{}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\n\"}",
            "{'a':1}",
            "{\"a\":1,}",
            "{/**/}",
            &too_deep,
            &bomb,
        ] {
            let shown: String = bad.chars().take(60).collect();
            assert!(check(bad.as_bytes(), 16).is_err(), "{shown}");
        }
        assert!(check(b"{\"a\":\"\xff\"}", 16).is_err());
    }

    #[test]
    fn the_format_is_found_wherever_it_stands() {
        let found = |text: &str| check(text.as_bytes(), 16).unwrap();
        assert_eq!(found("{\"z\":1,\"format\":\"x\"}").as_deref(), Some("x"));
        assert_eq!(found("{\"format\":1}"), None);
        assert_eq!(found("{\"a\":{\"format\":\"x\"}}"), None);
    }
}

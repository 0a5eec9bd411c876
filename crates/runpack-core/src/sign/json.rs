//! Strict JSON for envelope and statement, whose predicate is free: any number is allowed, a duplicate
//! member, a second document or depth is not (threats B01, B02, B07, B08).
//!
//! A part that nobody looks at is walked and not kept: a predicate may have a hundred thousand objects.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// How deep a document may nest, the object itself being 1.
const DEPTH_MAX: u32 = 16;

/// A value as far as anybody looks at it.
#[derive(Debug)]
pub(super) enum Value {
    Object(Object),
    Array(Vec<Value>),
    Text(String),
    /// A number, `true`, `false` or `null`, or a part that was not to be kept.
    Other,
}

/// The members of an object.
pub(super) type Object = BTreeMap<String, Value>;

impl Value {
    pub(super) fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn into_object(self) -> Option<Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    pub(super) fn into_array(self) -> Option<Vec<Self>> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }
}

/// Reads one strict JSON object.
pub(super) fn parse(bytes: &[u8]) -> Result<Object, serde_json::Error> {
    parse_kept(bytes, Kept::All)
}

/// Reads one strict JSON object, of which one member is checked like the rest and comes as
/// [`Value::Other`].
pub(super) fn parse_without(
    bytes: &[u8],
    member: &'static str,
) -> Result<Object, serde_json::Error> {
    parse_kept(bytes, Kept::AllBut(member))
}

fn parse_kept(bytes: &[u8], kept: Kept) -> Result<Object, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Node {
        depth_left: DEPTH_MAX,
        kept,
    }
    .deserialize(&mut deserializer)?;
    deserializer.end()?;
    value
        .into_object()
        .ok_or_else(|| de::Error::custom("not an object"))
}

/// What of a value is kept.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    All,
    /// All but this member of the object itself.
    AllBut(&'static str),
    Nothing,
}

#[derive(Clone, Copy)]
struct Node {
    depth_left: u32,
    kept: Kept,
}

impl Node {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        let kept = match self.kept {
            Kept::AllBut(_) => Kept::All,
            kept => kept,
        };
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left, kept }),
            None => Err(E::custom("nested too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut members = Object::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(match self.kept {
                Kept::AllBut(left_out) if name == left_out => Node {
                    kept: Kept::Nothing,
                    ..inner
                },
                _ => inner,
            })?;
            if members.insert(name, value).is_some() {
                return Err(de::Error::custom("a member stands twice"));
            }
        }
        Ok(match self.kept {
            Kept::Nothing => Value::Other,
            _ => Value::Object(members),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            if self.kept != Kept::Nothing {
                items.push(item);
            }
        }
        Ok(Value::Array(items))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(match self.kept {
            Kept::Nothing => Value::Other,
            _ => Value::Text(text.to_owned()),
        })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }
}

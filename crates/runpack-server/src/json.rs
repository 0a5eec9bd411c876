//! Reading what clients send as JSON: strictly, and with the place of what is wrong.
//!
//! `serde_json` keeps the last of two members of one name, reads an array where a struct is expected, and nests as deep as
//! it is told to. So a document is walked once before it is read into a type: threats C27, C28 and C30.

use std::collections::HashSet;
use std::fmt;

use runpack_core::display::Printable;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Nesting, the outermost value being 1. Stops a stack made to overflow.
const DEPTH_MAX: u32 = 64;
/// Members of one object. Stops an object made to exhaust the search for duplicates.
const MEMBERS_MAX: usize = 100_000;

/// Not what was expected, and where.
#[derive(Debug, thiserror::Error)]
#[error("{reason}, at=`{path}`")]
pub struct JsonError {
    /// The place: `metadata.build`, `artifact.steps[3]`; `.` for the document itself.
    pub path: String,
    /// What is wrong there. It repeats no value.
    pub reason: String,
}

impl JsonError {
    /// Something wrong at the member `path`.
    pub fn at(path: &str, reason: impl fmt::Display) -> Self {
        Self {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// Reads one strict JSON object.
///
/// # Errors
/// It is none, or not one of this type.
pub fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, JsonError> {
    walk(bytes)?;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| JsonError {
        path: Path::of(error.path()).to_string(),
        reason: reason(&error.into_inner()),
    })
}

/// What `serde_json` says, without the position, which the path tells better, and without the value, which is the
/// client's.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(said, _)| said);
    if let Some((_, expected)) = text.rsplit_once(", expected ")
        && text.starts_with("invalid ")
    {
        return format!("expected {expected}");
    }
    let short: String = text.chars().take(200).collect();
    Printable(&short).to_string()
}

fn walk(bytes: &[u8]) -> Result<(), JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut path = Path::default();
    let top = Node {
        depth_left: DEPTH_MAX,
        is_top: true,
        path: &mut path,
    };
    let walked = top
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    walked.map_err(|error| JsonError {
        path: path.to_string(),
        reason: reason(&error),
    })
}

/// Where the walk is. What was left in good order is taken off again, so that after an error it names the place.
#[derive(Debug, Default)]
struct Path(Vec<Segment>);

#[derive(Debug)]
enum Segment {
    Member(String),
    Element(usize),
}

impl Path {
    /// The place where a type was not what stood there. Its names are the client's, as long as they like.
    fn of(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment as Found;
        let segments = path.iter().filter_map(|segment| match segment {
            Found::Seq { index } => Some(Segment::Element(*index)),
            Found::Map { key } => Some(Segment::Member(key.clone())),
            Found::Enum { variant } => Some(Segment::Member(variant.clone())),
            Found::Unknown => None,
        });
        Self(segments.collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(".");
        }
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Member(name) => {
                    let dot = if at == 0 { "" } else { "." };
                    let shown: String = name.chars().take(80).collect();
                    write!(f, "{dot}{}", shown.escape_default())?;
                }
                Segment::Element(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// One value of a document.
struct Node<'a> {
    depth_left: u32,
    is_top: bool,
    path: &'a mut Path,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.is_top {
            deserializer.deserialize_map(self)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl Node<'_> {
    fn depth<E: de::Error>(&self) -> Result<u32, E> {
        self.depth_left
            .checked_sub(1)
            .ok_or_else(|| E::custom("nested too deep"))
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_top { "an object" } else { "JSON" })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let depth_left = self.depth()?;
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            self.path.0.push(Segment::Member(name.clone()));
            if !seen.insert(name) {
                return Err(de::Error::custom("a member stands twice"));
            }
            if seen.len() > MEMBERS_MAX {
                return Err(de::Error::custom("an object has too many members"));
            }
            map.next_value_seed(Node {
                depth_left,
                is_top: false,
                path: self.path,
            })?;
            self.path.0.pop();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let depth_left = self.depth()?;
        for index in 0.. {
            self.path.0.push(Segment::Element(index));
            let node = Node {
                depth_left,
                is_top: false,
                path: self.path,
            };
            let is_more = seq.next_element_seed(node)?.is_some();
            self.path.0.pop();
            if !is_more {
                break;
            }
        }
        Ok(())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') {
            return Err(E::custom("a text with a NUL"));
        }
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Envelope {
        #[serde(rename = "id")]
        _id: u8,
        #[serde(rename = "more", default)]
        _more: BTreeMap<String, String>,
    }

    #[test]
    fn c30_a_name_of_a_place_is_cut_and_escaped() {
        let text = format!(
            r#"{{"id":1,"more":{{"\u001b[2J{}":7}}}}"#,
            "x".repeat(1 << 20)
        );
        let error = read::<Envelope>(text.as_bytes()).unwrap_err();
        assert!(error.path.starts_with(r"more.\u{1b}[2Jxxx"), "{error}");
        assert!(error.path.len() < 200, "{error}");
    }

    #[test]
    fn c27_what_is_wrong_is_told_with_its_place_and_not_repeated() {
        let deep = format!(r#"{{"id":1,"more":{}"#, "[".repeat(80));
        for (text, path, reason) in [
            (r#"{"id":1,"id":2}"#, "id", "twice"),
            (r#"{"id":1,"more":{"a":"b","a":"c"}}"#, "more.a", "twice"),
            (
                r#"{"id":1,"more":{"a":[1,{"x":1,"x":2}]}}"#,
                "more.a[1].x",
                "twice",
            ),
            (r#"{"id":1,"other":3}"#, "other", "unknown field"),
            (r#"{"id":1,"more":{"a":7}}"#, "more.a", "expected a string"),
            (r#"{"id":300}"#, "id", "expected u8"),
            (r"[1]", ".", "expected an object"),
            (r#""secret""#, ".", "expected an object"),
            (r#"{"id":1} x"#, ".", "trailing"),
            ("{\"id\":1,\"more\":{\"a\":\"\\u0000\"}}", "more.a", "NUL"),
            (
                "{\"id\":1,\"more\":{\"a\":\"\\ud800\"}}",
                "more.a",
                "hex escape",
            ),
            ("\u{feff}{\"id\":1}", ".", "expected value"),
            (&deep, "more", "too deep"),
        ] {
            let error = read::<Envelope>(text.as_bytes()).unwrap_err();
            assert!(error.path.starts_with(path), "{text}: {error}");
            assert!(error.reason.contains(reason), "{text}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert!(read::<Envelope>(br#" {"id":1,"more":{}} "#).is_ok());
        assert!(read::<Envelope>(b"{\"id\":1,\"more\":{\"a\":\"\xff\"}}").is_err());
        assert!(read::<Envelope>(&[0xff, 0xfe, b'{', 0, b'}', 0]).is_err());
    }
}

//! The policy file as it is written: which keys there are. Every value is text; what it means is read above.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(default)]
    pub(super) tokens: Vec<Section<TokenSection>>,
    #[serde(default)]
    pub(super) issuers: Vec<Section<IssuerSection>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenSection {
    pub(super) name: String,
    pub(super) sha256: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) expires: Option<String>,
    pub(super) grants: Vec<Section<GrantSection>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerSection {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) jwks: String,
    pub(super) algorithms: Vec<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) typ: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) ca_file: Option<String>,
    pub(super) rules: Vec<Section<RuleSection>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleSection {
    pub(super) claims: BTreeMap<String, String>,
    pub(super) grants: Vec<Section<GrantSection>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantSection {
    pub(super) organization: String,
    pub(super) project: String,
    pub(super) may: Vec<String>,
}

/// A key that is there has a value: an empty `expires:` is no way to say never.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// Keys with values. A list of values in the order of the keys, which the library would take as well, is none.
pub(super) struct Section<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Keys<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys with values")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Keys(PhantomData)).map(Self)
    }
}

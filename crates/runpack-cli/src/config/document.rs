//! The file as it is written: which keys there are. Every value is text; what it means is read above.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::lifecycle::LifecycleSection;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(default, deserialize_with = "text")]
    pub(super) tenant: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) namespace: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) scenario: Option<String>,
    #[serde(default, deserialize_with = "section")]
    pub(super) runpacks: Option<Runpacks>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Runpacks {
    #[serde(default, deserialize_with = "text")]
    pub(super) store: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) auto_push: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) verify_on_push: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) catalog: Option<String>,
    #[serde(default, deserialize_with = "section")]
    pub(super) file: Option<FileSection>,
    #[serde(default, deserialize_with = "section")]
    pub(super) s3: Option<S3Section>,
    #[serde(default, deserialize_with = "section")]
    pub(super) lifecycle: Option<LifecycleSection>,
    pub(super) regions: Option<RegionsSection>,
    /// As `object_lock`.
    #[serde(default, deserialize_with = "anything")]
    pub(super) policy: Option<serde_json::Value>,
    #[serde(default, deserialize_with = "section")]
    pub(super) retention: Option<RetentionSection>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetentionSection {
    #[serde(default)]
    pub(super) classes: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) metadata_for: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) keep_inputs: Option<String>,
    pub(super) policies: Vec<PolicySection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicySection {
    pub(super) name: String,
    pub(super) keep_for: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) tenant: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) namespace: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) scenario: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSection {
    pub(super) root: String,
}

/// `runpacks.regions`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegionsSection {
    pub(super) stores: BTreeMap<String, RegionSection>,
    pub(super) routes: Vec<RouteSection>,
    #[serde(default)]
    pub(super) residency: Option<Vec<ResidencySection>>,
}

/// One of `runpacks.regions.stores`: a directory, or a bucket with the keys of `runpacks.s3`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegionSection {
    #[serde(default, deserialize_with = "text")]
    pub(super) root: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) endpoint: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) bucket: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) region: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) path_prefix: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) path_style: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) sse: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) sse_kms_key: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) expected_owner: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) ca_file: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) allow_plain_http: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) create_only: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) location: Option<String>,
    #[serde(default)]
    pub(super) replicas: Vec<String>,
    #[serde(default)]
    pub(super) fall_back_on: Vec<String>,
}

/// One of `runpacks.regions.routes`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteSection {
    pub(super) tenant: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) namespace: Option<String>,
    pub(super) region: String,
}

/// One of `runpacks.regions.residency`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResidencySection {
    pub(super) tenant: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) namespace: Option<String>,
    pub(super) regions: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct S3Section {
    #[serde(default, deserialize_with = "text")]
    pub(super) endpoint: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) bucket: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) region: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) path_prefix: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) path_style: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) sse: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) sse_kms_key: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) expected_owner: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) ca_file: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) allow_plain_http: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) create_only: Option<String>,
    /// Whatever it says, it is never ignored: null is something that it says.
    #[serde(default, deserialize_with = "anything")]
    pub(super) object_lock: Option<serde_json::Value>,
}

/// A key that is there has a value: `tenant:` alone is no way to say nothing.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

fn anything<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(deserializer).map(Some)
}

/// As [`text`], for a section: the library takes nothing for an empty one.
fn section<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    struct Section<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Section<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("keys below this one")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_any(Section(PhantomData)).map(Some)
}

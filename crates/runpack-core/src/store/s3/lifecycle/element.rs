//! Which elements an answer about a lifecycle has beside those that the SDK passes on. Such a set must not be sent back: what
//! is not known would be left out of somebody's rule, and might be what keeps it from removing everything.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// The elements of a set of rules that the SDK reads and writes (Amazon S3 API, `GetBucketLifecycleConfiguration`).
const KNOWN: [&str; 26] = [
    "?xml",
    "LifecycleConfiguration",
    "Rule",
    "ID",
    "Status",
    "Prefix",
    "Filter",
    "And",
    "Tag",
    "Key",
    "Value",
    "ObjectSizeGreaterThan",
    "ObjectSizeLessThan",
    "Expiration",
    "Days",
    "Date",
    "ExpiredObjectDeleteMarker",
    "Transition",
    "StorageClass",
    "NoncurrentVersionTransition",
    "NoncurrentDays",
    "NewerNoncurrentVersions",
    "NoncurrentVersionExpiration",
    "AbortIncompleteMultipartUpload",
    "DaysAfterInitiation",
    "TransitionDefaultMinimumObjectSize",
];
/// So many are named; more are as many reasons to send nothing.
const NAMED_MAX: usize = 8;
const NAME_BYTES_MAX: usize = 64;

/// Hears the names of elements.
#[derive(Debug, Clone, Default)]
pub(super) struct Elements(Arc<Mutex<Vec<String>>>);

impl Elements {
    /// Those of the last answer that are not known.
    pub(super) fn unknown(&self) -> Vec<String> {
        let unknown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unknown.clone()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Elements {
    fn name(&self) -> &'static str {
        "runpack-elements"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        let unknown = unknown(&String::from_utf8_lossy(body));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = unknown;
        Ok(())
    }
}

/// The names of elements in a text of XML that are not known, each once. Comments and the like are not known either.
fn unknown(xml: &str) -> Vec<String> {
    let mut unknown: Vec<String> = Vec::new();
    for tag in xml.split('<').skip(1) {
        let tag = tag.strip_prefix('/').unwrap_or(tag);
        let end = tag.find(|c: char| c.is_whitespace() || matches!(c, '>' | '/'));
        let name = tag.get(..end.unwrap_or(tag.len())).unwrap_or_default();
        // A prefix for a namespace says nothing of the element.
        let name = name.rsplit_once(':').map_or(name, |(_, name)| name);
        if KNOWN.contains(&name) || unknown.len() >= NAMED_MAX {
            continue;
        }
        let name: String = name.chars().take(NAME_BYTES_MAX).collect();
        if !unknown.contains(&name) {
            unknown.push(name);
        }
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l10_elements_that_nobody_knows_are_named() {
        let known = "<?xml version=\"1.0\"?>\n<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                     <Rule><ID>a &lt;b&gt;</ID><Filter><Prefix/></Filter><s3:Status>Enabled</s3:Status></Rule></LifecycleConfiguration>";
        assert_eq!(unknown(known), [""; 0]);
        for (xml, names) in [
            (
                "<Rule><DelMarkerExpiration><Days>1</Days></DelMarkerExpiration></Rule>",
                vec!["DelMarkerExpiration"],
            ),
            (
                "<Rule><AllVersionsExpired/><Zone x='1'/></Rule>",
                vec!["AllVersionsExpired", "Zone"],
            ),
            ("<Rule><!-- note --></Rule>", vec!["!--"]),
            ("<", vec![""]),
        ] {
            assert_eq!(unknown(xml), names, "{xml}");
        }
        let many: Vec<String> = (0..100).map(|n| format!("<X{n}/>")).collect();
        assert_eq!(unknown(&many.concat()).len(), NAMED_MAX);
    }
}

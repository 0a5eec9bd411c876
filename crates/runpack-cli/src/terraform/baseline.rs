//! The baseline of a bucket, as a module with variables.

use runpack_core::store::s3::{BucketName, TlsVersion, transport_statements};
use serde_json::Value;

use super::quoted;

/// The module; in it stand the default of the bucket and the statements of its policy.
const MODULE: &str = include_str!("baseline.tf.in");

/// The module. `bucket` is what the variable is where nobody gives one.
pub(crate) fn baseline(bucket: &BucketName, tls_min: TlsVersion) -> String {
    // JSON is an expression of HCL, and what is a template in it is meant to be one.
    let statements = Value::Array(transport_statements("${var.bucket}", Some(tls_min)));
    let statements = serde_json::to_string_pretty(&statements).unwrap_or_default();
    MODULE
        .replace("@BUCKET@", &quoted(bucket.as_str()))
        .replace("@STATEMENTS@", &statements.replace('\n', "\n    "))
}

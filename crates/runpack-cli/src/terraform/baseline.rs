//! The baseline of a bucket, as a module with variables.

use runpack_core::store::s3::{Baseline, BucketName, Encryption, transport_statements};
use serde_json::Value;

use super::quoted;

/// The module; in it stand the defaults of its variables and the statements of the bucket's policy.
const MODULE: &str = include_str!("baseline.tf.in");

/// The module. What is wanted of the bucket is what the variables are where nobody gives them.
pub(crate) fn baseline(bucket: &BucketName, wanted: &Baseline) -> String {
    // JSON is an expression of HCL, and what is a template in it is meant to be one.
    let scope = ("${data.aws_partition.current.partition}", "${var.bucket}");
    let statements = Value::Array(transport_statements(scope, Some(wanted.tls_min)));
    let statements = serde_json::to_string_pretty(&statements).unwrap_or_default();
    let (encryption, key) = match &wanted.encryption {
        Encryption::OfBucket => (None, None),
        Encryption::SseS3 => (Some("AES256"), None),
        Encryption::SseKms(key) => (Some("aws:kms"), key.as_deref()),
    };
    let log = wanted.access_log.as_ref();
    let log_prefix = log.map_or("access/", |log| log.prefix.as_str());
    MODULE
        .replace("@STATEMENTS@", &statements.replace('\n', "\n    "))
        .replace("@BUCKET@", &quoted(bucket.as_str()))
        .replace("@ENCRYPTION@", &or_null(encryption))
        .replace("@LOG_BUCKET@", &or_null(log.map(|log| log.bucket.as_str())))
        // Last what may hold any text.
        .replace("@KMS_KEY@", &or_null(key))
        .replace("@LOG_PREFIX@", &quoted(log_prefix))
}

fn or_null(text: Option<&str>) -> String {
    text.map_or_else(|| "null".to_owned(), quoted)
}

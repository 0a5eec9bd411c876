//! A store in a bucket of any S3-compatible service.

mod settings;

pub use settings::{
    Addressing, BucketName, CreateOnly, Credentials, Deadlines, Encryption, Endpoint, PathPrefix,
    PlainHttp, S3Settings, Secret, SettingError,
};

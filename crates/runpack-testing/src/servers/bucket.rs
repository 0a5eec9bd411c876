//! Buckets of a test's own, and whatever an administrator or an attacker does to what is in them.
//!
//! Nothing here goes through the store under test: names are whole names of objects, and every call speaks to
//! the server itself.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, CompletedMultipartUpload, CompletedPart, VersioningConfiguration,
};
use bytes::Bytes;
use runpack_core::store::s3::{self, LockMode, PathPrefix, S3Settings, Secret};

use super::Server;

/// What a bucket does beyond keeping objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketKind {
    /// Nothing.
    Plain,
    /// It keeps versions.
    Versioned,
    /// It keeps versions and can lock them.
    Locked,
    /// It locks every version for so many days unless the write says otherwise.
    LockedByDefault(LockMode, u16),
}

/// A version of an object, or a marker that hides those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawVersion {
    /// The object's name.
    pub name: String,
    /// The version's.
    pub version: String,
    /// Its size; 0 for a marker.
    pub bytes: u64,
    /// Whether it is what a reader gets who names no version.
    pub is_latest: bool,
    /// Whether it is a marker.
    pub is_marker: bool,
}

/// A bucket that no other test uses.
#[derive(Debug, Clone)]
pub struct TestBucket {
    /// Its name.
    pub name: String,
    server: Server,
}

impl Server {
    /// Makes a bucket by a name that nobody else has.
    pub async fn bucket(&self, how: BucketKind) -> TestBucket {
        let random = || RandomState::new().build_hasher().finish();
        let bucket = TestBucket {
            name: format!("test-{:016x}{:016x}", random(), random()),
            server: self.clone(),
        };
        let client = bucket.client();
        let is_locked = matches!(how, BucketKind::Locked | BucketKind::LockedByDefault(..));
        client
            .create_bucket()
            .bucket(&bucket.name)
            .set_object_lock_enabled_for_bucket(is_locked.then_some(true))
            .send()
            .await
            .unwrap();
        match how {
            BucketKind::Plain | BucketKind::Locked => {}
            BucketKind::Versioned => bucket.set_versioning(BucketVersioningStatus::Enabled).await,
            BucketKind::LockedByDefault(mode, days) => bucket.lock_by_default(mode, days).await,
        }
        bucket
    }
}

impl TestBucket {
    /// The server that it is on.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// How a store uses it, in plain HTTP.
    pub fn settings(&self) -> S3Settings {
        self.settings_at(&self.server.endpoint)
    }

    /// The same by another way: a proxy's endpoint.
    pub fn settings_at(&self, endpoint: &str) -> S3Settings {
        let mut settings = S3Settings::new(self.name.parse().unwrap());
        settings.endpoint = Some(endpoint.parse().unwrap());
        settings.region = Some(self.server.region.clone());
        settings.credentials = keys(&self.server.access_key, &self.server.secret_key);
        settings
    }

    /// The same in TLS.
    ///
    /// # Panics
    /// The server has no TLS.
    pub fn settings_in_tls(&self) -> S3Settings {
        let mut settings = self.settings_at(self.server.tls_endpoint.as_deref().unwrap());
        settings.ca_pem = self
            .server
            .ca_pem
            .as_ref()
            .map(|file| fs::read(file).unwrap());
        settings
    }

    /// The same as the other user.
    ///
    /// # Panics
    /// The server has no other user.
    pub fn settings_of_other_user(&self) -> S3Settings {
        let mut settings = self.settings();
        let (access_key, secret_key) = (&self.server.alt_access_key, &self.server.alt_secret_key);
        settings.credentials = keys(
            access_key.as_deref().unwrap(),
            secret_key.as_deref().unwrap(),
        );
        settings
    }

    /// The same below a prefix.
    pub fn settings_below(&self, prefix: &str) -> S3Settings {
        let mut settings = self.settings();
        settings.path_prefix = prefix.parse::<PathPrefix>().unwrap();
        settings
    }

    /// Writes an object over whatever there is, and yields its version where the bucket has versions.
    pub async fn put_raw(&self, name: &str, bytes: impl Into<Bytes>) -> Option<String> {
        let put = self.client().put_object().bucket(&self.name).key(name);
        let body = ByteStream::from(bytes.into());
        put.body(body).send().await.unwrap().version_id
    }

    /// The bytes of an object; nothing where there is none.
    pub async fn read_raw(&self, name: &str) -> Option<Bytes> {
        self.read(name, None).await
    }

    /// The bytes of a version.
    pub async fn read_version_raw(&self, name: &str, version: &str) -> Option<Bytes> {
        self.read(name, Some(version)).await
    }

    async fn read(&self, name: &str, version: Option<&str>) -> Option<Bytes> {
        let get = self.client().get_object().bucket(&self.name).key(name);
        match get.set_version_id(version.map(str::to_owned)).send().await {
            Ok(answer) => Some(answer.body.collect().await.unwrap().into_bytes()),
            Err(error) if matches!(error.code(), Some("NoSuchKey" | "NoSuchVersion")) => None,
            Err(error) => panic!("{}", DisplayErrorContext(&error)),
        }
    }

    /// The metadata of an object, sorted.
    pub async fn metadata_raw(&self, name: &str) -> Vec<(String, String)> {
        let head = self.client().head_object().bucket(&self.name).key(name);
        let answer = head.send().await.unwrap();
        let mut metadata: Vec<_> = answer.metadata.unwrap_or_default().into_iter().collect();
        metadata.sort();
        metadata
    }

    /// Deletes an object; where there are versions, hides it behind a marker.
    pub async fn delete_raw(&self, name: &str) {
        let delete = self.client().delete_object().bucket(&self.name).key(name);
        delete.send().await.unwrap();
    }

    /// Deletes a version or a marker for good.
    ///
    /// # Errors
    /// The server's code, if it does not: `AccessDenied` for a locked one.
    pub async fn delete_version_raw(&self, name: &str, version: &str) -> Result<(), String> {
        let delete = self.client().delete_object().bucket(&self.name).key(name);
        code(delete.version_id(version).send().await)
    }

    /// The names of all objects, sorted.
    pub async fn list_raw(&self) -> Vec<String> {
        let list = self.client().list_objects_v2().bucket(&self.name);
        let mut pages = list.into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            names.extend(
                page.unwrap()
                    .contents
                    .into_iter()
                    .flatten()
                    .filter_map(|object| object.key),
            );
        }
        names.sort();
        names
    }

    /// All versions and markers of objects whose names start so, newest first for each name.
    pub async fn versions_raw(&self, start: &str) -> Vec<RawVersion> {
        let (client, mut versions) = (self.client(), Vec::new());
        let (mut name, mut version) = (None, None);
        loop {
            let list = client
                .list_object_versions()
                .bucket(&self.name)
                .prefix(start);
            let page = list.set_key_marker(name).set_version_id_marker(version);
            let page = page.send().await.unwrap();
            for found in page.versions.unwrap_or_default() {
                versions.push(RawVersion {
                    name: found.key.unwrap(),
                    version: found.version_id.unwrap(),
                    bytes: u64::try_from(found.size.unwrap_or(0)).unwrap(),
                    is_latest: found.is_latest == Some(true),
                    is_marker: false,
                });
            }
            for found in page.delete_markers.unwrap_or_default() {
                versions.push(RawVersion {
                    name: found.key.unwrap(),
                    version: found.version_id.unwrap(),
                    bytes: 0,
                    is_latest: found.is_latest == Some(true),
                    is_marker: true,
                });
            }
            if page.is_truncated != Some(true) {
                return versions;
            }
            (name, version) = (page.next_key_marker, page.next_version_id_marker);
        }
    }

    /// The uploads in parts that were begun and neither completed nor aborted: name and id, sorted.
    pub async fn uploads_raw(&self) -> Vec<(String, String)> {
        let list = self.client().list_multipart_uploads().bucket(&self.name);
        let found = list.send().await.unwrap();
        assert_ne!(
            found.is_truncated,
            Some(true),
            "more than a page of uploads"
        );
        let mut uploads: Vec<_> = found
            .uploads
            .into_iter()
            .flatten()
            .map(|upload| (upload.key.unwrap(), upload.upload_id.unwrap()))
            .collect();
        uploads.sort();
        uploads
    }

    /// Begins an upload in parts, and yields its id.
    pub async fn begin_upload_raw(&self, name: &str) -> String {
        let client = self.client();
        let begin = client
            .create_multipart_upload()
            .bucket(&self.name)
            .key(name);
        begin.send().await.unwrap().upload_id.unwrap()
    }

    /// Sends a part, numbered from 1, and yields its tag.
    pub async fn upload_part_raw(
        &self,
        name: &str,
        upload: &str,
        number: i32,
        bytes: impl Into<Bytes>,
    ) -> String {
        let part = self.client().upload_part().bucket(&self.name).key(name);
        let part = part.upload_id(upload).part_number(number);
        let answer = part.body(ByteStream::from(bytes.into())).send().await;
        answer.unwrap().e_tag.unwrap()
    }

    /// Makes an object of the parts with these tags.
    ///
    /// # Errors
    /// The server's code, if it does not.
    pub async fn complete_upload_raw(
        &self,
        name: &str,
        upload: &str,
        tags: &[String],
    ) -> Result<(), String> {
        let parts = (1..).zip(tags).map(|(number, tag)| {
            CompletedPart::builder()
                .part_number(number)
                .e_tag(tag)
                .build()
        });
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts.collect()))
            .build();
        let complete = self.client().complete_multipart_upload().bucket(&self.name);
        let complete = complete.key(name).upload_id(upload).multipart_upload(parts);
        code(complete.send().await)
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// The server's code, if it does not know it.
    pub async fn abort_upload_raw(&self, name: &str, upload: &str) -> Result<(), String> {
        let abort = self.client().abort_multipart_upload().bucket(&self.name);
        code(abort.key(name).upload_id(upload).send().await)
    }

    /// Sets the bucket's policy, in JSON.
    pub async fn set_policy_raw(&self, policy: &str) {
        let set = self.client().put_bucket_policy().bucket(&self.name);
        set.policy(policy).send().await.unwrap();
    }

    /// From now on no new versions are kept.
    pub async fn suspend_versions_raw(&self) {
        self.set_versioning(BucketVersioningStatus::Suspended).await;
    }

    /// Removes the bucket, which must be empty.
    pub async fn delete_bucket_raw(&self) {
        let delete = self.client().delete_bucket().bucket(&self.name);
        delete.send().await.unwrap();
    }

    async fn set_versioning(&self, status: BucketVersioningStatus) {
        let status = VersioningConfiguration::builder().status(status).build();
        let set = self.client().put_bucket_versioning().bucket(&self.name);
        set.versioning_configuration(status).send().await.unwrap();
    }

    /// A client of the runtime that asks: connections do not outlive one.
    pub(super) fn client(&self) -> Client {
        let server = &self.server;
        let keys = Credentials::new(&server.access_key, &server.secret_key, None, None, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(keys)
            .endpoint_url(&server.endpoint)
            .region(Region::new(server.region.clone()))
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Client::from_conf(config)
    }
}

fn keys(access_key: &str, secret_key: &str) -> s3::Credentials {
    s3::Credentials::Keys {
        access_key: access_key.to_owned(),
        secret_key: Secret::new(secret_key),
        session_token: None,
    }
}

/// What the server calls the error.
pub(super) fn code<T, E, R>(answer: Result<T, SdkError<E, R>>) -> Result<(), String>
where
    SdkError<E, R>: ProvideErrorMetadata + std::error::Error,
{
    match answer {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.code() {
            Some(code) => code.to_owned(),
            None => DisplayErrorContext(&error).to_string(),
        }),
    }
}

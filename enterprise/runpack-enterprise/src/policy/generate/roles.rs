//! What each role needs: writers, holders, auditors and cleaners, where they were named.

use serde_json::json;

use super::statements::{Draft, Resources};
use super::{Dialect, PrincipalArn};

impl Draft<'_> {
    /// What each role needs, where it was named.
    pub(super) fn allow(&mut self) {
        let input = self.input;
        let look = [
            "s3:ListBucket",
            "s3:ListBucketVersions",
            "s3:GetBucketVersioning",
            "s3:GetBucketObjectLockConfiguration",
        ];
        let read = [
            "s3:GetObject",
            "s3:GetObjectVersion",
            "s3:GetObjectRetention",
            "s3:GetObjectLegalHold",
        ];
        let write = [
            "s3:PutObject",
            "s3:PutObjectRetention",
            "s3:AbortMultipartUpload",
            "s3:ListMultipartUploadParts",
        ];
        let encryption = match input.dialect {
            Dialect::Ceph => "s3:GetBucketEncryption",
            Dialect::Aws | Dialect::MinIo => "s3:GetEncryptionConfiguration",
        };
        let mut audit = vec![
            encryption,
            "s3:GetBucketPolicy",
            "s3:GetLifecycleConfiguration",
            "s3:GetReplicationConfiguration",
        ];
        if input.dialect != Dialect::MinIo {
            audit.extend(["s3:GetBucketLogging", "s3:GetBucketPublicAccessBlock"]);
        }
        self.permit(
            "Writer",
            &input.writers,
            &[&look[..], &[encryption, "s3:ListBucketMultipartUploads"]].concat(),
            &[&read[..], &write].concat(),
        );
        self.permit(
            "Holder",
            &input.holders,
            &look,
            &[&read[..], &["s3:PutObjectLegalHold"]].concat(),
        );
        self.permit(
            "Auditor",
            &input.auditors,
            &[&look[..], &audit].concat(),
            &read,
        );
        self.permit(
            "Cleaner",
            &input.cleaners,
            &look,
            &[
                &read[..],
                &[
                    "s3:DeleteObject",
                    "s3:DeleteObjectVersion",
                    "s3:AbortMultipartUpload",
                ],
            ]
            .concat(),
        );
    }

    fn permit(
        &mut self,
        role: &str,
        principals: &[PrincipalArn],
        on_bucket: &[&str],
        on_objects: &[&str],
    ) {
        if principals.is_empty() {
            return;
        }
        if self.input.dialect == Dialect::MinIo {
            self.notes.push(format!("what a {} may do is left out: give it in a policy of its own, since this one is attached to everybody", role.to_ascii_lowercase()));
            return;
        }
        let arns: Vec<_> = principals.iter().map(PrincipalArn::as_str).collect();
        for (place, actions, resources) in [
            ("Bucket", on_bucket, Resources::Bucket),
            ("Objects", on_objects, Resources::Objects),
        ] {
            let mut statement = json!({
                "Sid": format!("Allow{role}{place}"),
                "Effect": "Allow",
                "Principal": {"AWS": arns},
                "Action": actions,
            });
            if let Some(members) = statement.as_object_mut() {
                self.add_resources(members, &resources);
            }
            self.statements.push(statement);
        }
    }
}

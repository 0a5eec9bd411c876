//! The statements, one by one, and what each server makes of them.

use serde_json::{Map, Value, json};

use super::{Dialect, PolicyInput, PrincipalArn, StatementKind, WriteLock};

/// A policy that is being written.
pub(super) struct Draft<'a> {
    pub(super) input: &'a PolicyInput,
    pub(super) statements: Vec<Value>,
    pub(super) notes: Vec<String>,
}

/// What a statement is about.
pub(super) enum Resources {
    /// All objects below the prefix.
    Objects,
    /// The same without what `store status` and a proof try things with.
    Evidence,
    /// The bucket itself.
    Bucket,
    /// The bucket and all its objects, also outside of the prefix.
    Everything,
}

impl<'a> Draft<'a> {
    pub(super) fn new(input: &'a PolicyInput) -> Self {
        Self {
            input,
            statements: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> (Vec<Value>, Vec<String>) {
        self.notes.push(match self.input.dialect {
            Dialect::Aws => "the root user of the account can always read, replace and delete the bucket policy".to_owned(),
            Dialect::Ceph => "the bucket's owner can always replace and delete the policy (measured on 20.2), and radosgw-admin is bound by none".to_owned(),
            Dialect::MinIo => "attach this to every user and group: a bucket policy of MinIO concerns requests without signature alone, and the root user is bound by none".to_owned(),
        });
        (self.statements, self.notes)
    }

    /// Adds the statement of this kind, or notes why there is none.
    pub(super) fn deny(&mut self, kind: StatementKind) {
        match kind {
            StatementKind::UnconditionalObjectCreation => self.unconditional_creation(),
            StatementKind::ObjectDeletion => {
                self.note_probes("nobody but a cleaner can remove the probes of `store status`");
                self.forbid(
                    kind,
                    &["s3:DeleteObject", "s3:DeleteObjectVersion"],
                    &Resources::Evidence,
                    json!({}),
                    &self.input.cleaners,
                );
            }
            StatementKind::ReplicationIntoStore => {
                if self.input.dialect == Dialect::Ceph {
                    self.note(kind, "is accepted; whether it stops a replication was not tried. Between zones of one realm no policy is asked");
                }
                self.forbid(
                    kind,
                    &[
                        "s3:ReplicateObject",
                        "s3:ReplicateDelete",
                        "s3:ReplicateTags",
                    ],
                    &Resources::Objects,
                    json!({}),
                    &[],
                );
            }
            StatementKind::StoreReconfiguration => self.reconfiguration(),
            StatementKind::InsecureTransport => {
                // Ceph does not say `false` over plain HTTP but nothing, and `Bool` would never act.
                let plain = json!({"BoolIfExists": {"aws:SecureTransport": "false"}});
                self.forbid(kind, &["s3:*"], &Resources::Everything, plain, &[]);
            }
            StatementKind::ShortRetention => self.short_retention(),
            StatementKind::Bypass => {
                if self.input.dialect == Dialect::Ceph {
                    self.note(kind, "does not reach deletions of many at once: Ceph asks no policy about the bypass there (measured on 20.2). Use compliance mode");
                }
                self.forbid(
                    kind,
                    &["s3:BypassGovernanceRetention"],
                    &Resources::Objects,
                    json!({}),
                    &[],
                );
            }
            StatementKind::HoldRelease => self.hold_release(),
        }
    }

    fn unconditional_creation(&mut self) {
        let kind = StatementKind::UnconditionalObjectCreation;
        if self.input.dialect != Dialect::Aws {
            self.note(kind, "is left out: this server does not understand `s3:if-none-match` in a policy. Versions protect in its place");
            return;
        }
        self.note_probes("`store status` cannot try an unconditional write");
        let condition = json!({
            "Null": {"s3:if-none-match": "true"},
            "Bool": {"s3:ObjectCreationOperation": "true"},
        });
        self.forbid(
            kind,
            &["s3:PutObject"],
            &Resources::Evidence,
            condition,
            &[],
        );
    }

    fn reconfiguration(&mut self) {
        let kind = StatementKind::StoreReconfiguration;
        let mut actions = vec![
            "s3:DeleteBucket",
            "s3:PutBucketObjectLockConfiguration",
            "s3:PutBucketVersioning",
            "s3:PutLifecycleConfiguration",
            "s3:PutReplicationConfiguration",
        ];
        match self.input.dialect {
            Dialect::Aws => actions.extend([
                "s3:PutBucketAcl",
                "s3:PutBucketOwnershipControls",
                "s3:PutBucketPublicAccessBlock",
                "s3:PutEncryptionConfiguration",
            ]),
            Dialect::Ceph => actions.extend([
                "s3:PutBucketAcl",
                "s3:PutBucketEncryption",
                "s3:PutBucketPublicAccessBlock",
            ]),
            Dialect::MinIo => {
                actions.extend(["s3:ForceDeleteBucket", "s3:PutEncryptionConfiguration"]);
            }
        }
        if self.input.administrators.is_empty() {
            self.note(kind, "does not cover the policy itself: name an administrator, or whoever may put the policy can take all of this away");
        } else {
            actions.extend(["s3:DeleteBucketPolicy", "s3:PutBucketPolicy"]);
        }
        if !self.input.path_prefix.as_str().is_empty() {
            self.note(
                kind,
                "concerns the whole bucket, also what is not below the prefix",
            );
        }
        self.forbid(
            kind,
            &actions,
            &Resources::Bucket,
            json!({}),
            &self.input.administrators,
        );
        if self.input.dialect == Dialect::Aws {
            // It gives an object that is there another key, and its lock does not see that.
            let sid = "DenyKeyChange";
            self.notes.push(format!("{sid} names an action of 2026 that was not tried: if the policy is refused for it, remove that statement"));
            self.push_deny(
                sid,
                &["s3:UpdateObjectEncryption"],
                &Resources::Objects,
                json!({}),
                &self.input.administrators,
            );
        }
    }

    fn short_retention(&mut self) {
        let kind = StatementKind::ShortRetention;
        let Some(days) = self.input.retention_days_min else {
            self.note(kind, "is left out: no least retention was given");
            return;
        };
        let mut actions = vec!["s3:PutObjectRetention"];
        match (self.input.dialect, self.input.write_lock) {
            (Dialect::Ceph, _) => {
                self.note(kind, "is left out: Ceph takes `s3:object-lock-remaining-retention-days` and never acts on it (measured on 20.2). Nothing at the server keeps a writer from a short lock");
                return;
            }
            (Dialect::Aws, WriteLock::FullAtOnce) => actions.push("s3:PutObject"),
            (Dialect::Aws, WriteLock::ShortFirst) => {
                self.note(kind, "does not cover the writing itself, at which artifacts are locked shortly and for the full time afterwards");
            }
            // There a write with a lock is asked for s3:PutObjectRetention as well, short or not.
            (Dialect::MinIo, WriteLock::ShortFirst) => {
                self.note(kind, "is left out: MinIO asks it of writes too, at which artifacts are locked shortly first");
                return;
            }
            (Dialect::MinIo, WriteLock::FullAtOnce) => {}
        }
        let short = json!({"NumericLessThan": {"s3:object-lock-remaining-retention-days": days.to_string()}});
        self.note_probes("`prove` cannot lock its canaries shortly, and nothing is exported under locks that are not proven");
        self.forbid(kind, &actions, &Resources::Evidence, short, &[]);
    }

    fn hold_release(&mut self) {
        let kind = StatementKind::HoldRelease;
        if self.input.holders.is_empty() {
            self.note(kind, "forbids it to everybody: no holder was named");
        }
        self.note_probes("only a holder can prove holds with `prove`");
        // Placing a hold stays free where the server can tell it from clearing one.
        let condition = match self.input.dialect {
            Dialect::Aws | Dialect::MinIo => {
                json!({"StringNotEquals": {"s3:object-lock-legal-hold": "ON"}})
            }
            Dialect::Ceph => {
                self.note(kind, "forbids placing holds too, except at the writing of an object: Ceph takes `s3:object-lock-legal-hold` and never acts on it (measured on 20.2)");
                json!({})
            }
        };
        self.forbid(
            kind,
            &["s3:PutObjectLegalHold"],
            &Resources::Evidence,
            condition,
            &self.input.holders,
        );
    }

    fn forbid(
        &mut self,
        kind: StatementKind,
        actions: &[&str],
        resources: &Resources,
        condition: Value,
        except: &[PrincipalArn],
    ) {
        if self.input.dialect == Dialect::MinIo && !except.is_empty() {
            self.note(kind, "has no exceptions in a policy of MinIO: leave this statement out of the policy of those");
        }
        self.push_deny(kind.sid(), actions, resources, condition, except);
    }

    fn push_deny(
        &mut self,
        sid: &str,
        actions: &[&str],
        resources: &Resources,
        mut condition: Value,
        except: &[PrincipalArn],
    ) {
        let arns: Vec<_> = except.iter().map(PrincipalArn::as_str).collect();
        let mut statement = json!({"Sid": sid, "Effect": "Deny", "Action": actions});
        let Some(members) = statement.as_object_mut() else {
            return;
        };
        match self.input.dialect {
            Dialect::MinIo => {}
            Dialect::Ceph if !arns.is_empty() => {
                // A condition on aws:PrincipalArn is taken and never acts.
                members.insert("NotPrincipal".to_owned(), json!({"AWS": arns}));
            }
            Dialect::Aws if !arns.is_empty() => {
                // With NotPrincipal every session of a role would have to be named.
                members.insert("Principal".to_owned(), json!("*"));
                if let Some(condition) = condition.as_object_mut() {
                    condition.insert("ArnNotEquals".to_owned(), json!({"aws:PrincipalArn": arns}));
                }
            }
            Dialect::Aws | Dialect::Ceph => {
                members.insert("Principal".to_owned(), json!("*"));
            }
        }
        self.add_resources(members, resources);
        if condition
            .as_object()
            .is_some_and(|members| !members.is_empty())
        {
            members.insert("Condition".to_owned(), condition);
        }
        if self.input.dialect == Dialect::Ceph && except.iter().any(PrincipalArn::is_role) {
            self.notes.push(format!(
                "{sid} excepts a role; at Ceph that was tried with users alone"
            ));
        }
        self.statements.push(statement);
    }

    pub(super) fn add_resources(&self, members: &mut Map<String, Value>, resources: &Resources) {
        let bucket = format!("arn:aws:s3:::{}", self.input.bucket);
        let below = format!("{bucket}/{}", self.input.path_prefix.as_str());
        let has_prefix = !self.input.path_prefix.as_str().is_empty();
        let (name, value) = match resources {
            Resources::Objects => ("Resource", json!(format!("{below}*"))),
            // With a prefix, all but the probes would also be what others keep in the bucket.
            Resources::Evidence if has_prefix => ("Resource", json!(format!("{below}*"))),
            // A user's policy concerns every bucket.
            Resources::Evidence if self.input.dialect == Dialect::MinIo => {
                ("Resource", json!(format!("{below}*")))
            }
            Resources::Evidence => ("NotResource", json!(format!("{below}_runpack/probe/*"))),
            Resources::Bucket => ("Resource", json!(bucket)),
            Resources::Everything => ("Resource", json!([bucket, format!("{bucket}/*")])),
        };
        members.insert(name.to_owned(), value);
    }

    fn note(&mut self, kind: StatementKind, text: &str) {
        self.notes.push(format!("{} {text}", kind.sid()));
    }

    fn note_probes(&mut self, text: &str) {
        if !self.input.path_prefix.as_str().is_empty() || self.input.dialect == Dialect::MinIo {
            self.notes
                .push(format!("probes cannot be excepted here, so {text}"));
        }
    }
}

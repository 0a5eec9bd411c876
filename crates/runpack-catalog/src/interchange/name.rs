//! Names of packs, artifacts and runs in other systems: each is made in one way, from what cannot be chosen freely.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::manifest::Subject;

/// Members of a subject that tell which run it is. Two packs that differ in others are of one run.
const IDENTITY: [&str; 7] = [
    "tenant",
    "namespace",
    "scenario",
    "run_id",
    "spec_hash",
    "step_id",
    "execution_id",
];
/// The work of a pipeline that no label names.
pub(super) const PIPELINE: &str = "pipeline";
/// What the digest of a run's id begins with, so that it is the digest of nothing else.
const RUN_DOMAIN: &[u8] = b"runpack/run-uuid/v1\0";

/// A run as a UUID: version 8 (RFC 9562, section 5.8 and appendix B.2), the first 122 bits of the SHA-256 of
/// `runpack/run-uuid/v1`, a zero byte, and the identity as canonical JSON (`Docs/spec/openlineage-v1.md`).
///
/// It comes from the identity and not from the pack id, so that whoever knows which run it is can name it before there is a
/// pack, and a step can name its pipeline's run.
pub(super) fn run_uuid(subject: &Subject) -> String {
    let members = subject.fields().into_iter();
    uuid_of(
        subject.kind(),
        members.filter(|(member, _)| IDENTITY.contains(member)),
    )
}

/// The run of the pipeline that a step is of.
pub(super) fn pipeline_uuid(tenant: &str, run_id: &str) -> String {
    let members = [("tenant", tenant.to_owned()), ("run_id", run_id.to_owned())];
    uuid_of(PIPELINE, members.into_iter())
}

fn uuid_of(kind: &str, members: impl Iterator<Item = (&'static str, String)>) -> String {
    let mut identity: BTreeMap<&str, String> = members.collect();
    identity.insert("kind", kind.to_owned());
    let mut named = RUN_DOMAIN.to_vec();
    // Ids and digests hold nothing that JSON has two spellings for, and a map of strings is always written.
    named.extend(serde_json::to_vec(&identity).unwrap_or_default());
    let mut bytes = [0u8; 16];
    for (byte, digested) in bytes.iter_mut().zip(Digest::of(&named).as_bytes()) {
        *byte = *digested;
    }
    let number = u128::from_be_bytes(bytes);
    let number = (number & !(0xf << 76)) | (0x8 << 76);
    let number = (number & !(0x3 << 62)) | (0x2 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        number >> 96,
        (number >> 80) & 0xffff,
        (number >> 64) & 0xffff,
        (number >> 48) & 0xffff,
        number & 0xffff_ffff_ffff
    )
}

/// Whose it is, as other systems name it: `TENANT/NAMESPACE` of a run, `TENANT` of a step, `executions` of an execution. No
/// pipeline's tenant is `executions` (specification, section 6), and a run has two parts.
pub(super) fn owner(subject: &Subject) -> String {
    match subject {
        Subject::Run {
            tenant, namespace, ..
        } => format!("{tenant}/{namespace}"),
        Subject::Execution { .. } => "executions".to_owned(),
        other => {
            let tenant = other
                .fields()
                .into_iter()
                .find(|(member, _)| *member == "tenant");
            tenant.map_or_else(|| other.kind().to_owned(), |(_, tenant)| tenant)
        }
    }
}

/// What is run again and again: a scenario, a step; an execution is itself.
pub(super) fn work(subject: &Subject) -> String {
    match subject {
        Subject::Run { scenario, .. } => scenario.to_string(),
        Subject::Step { step_id, .. } => step_id.to_string(),
        Subject::Pipeline { .. } => PIPELINE.to_owned(),
        Subject::Execution { execution_id } => execution_id.to_string(),
        other => other.kind().to_owned(),
    }
}

/// One run of it, for people.
pub(super) fn title(subject: &Subject) -> String {
    match subject {
        Subject::Run {
            scenario, run_id, ..
        } => format!("{scenario}, run {run_id}"),
        Subject::Step {
            step_id, run_id, ..
        } => format!("step {step_id} of run {run_id}"),
        Subject::Pipeline { run_id, .. } => format!("pipeline run {run_id}"),
        Subject::Execution { execution_id } => format!("execution {execution_id}"),
        other => other.kind().to_owned(),
    }
}

/// An artifact, wherever its pack lies: `HEX/NAME`, encoded, to follow `urn:runpack:artifact:sha256:`.
pub(super) fn artifact(pack: PackId, name: &str) -> String {
    format!("{}/{}", pack.digest(), encoded(name))
}

/// Text as a path of a URI (RFC 3986, section 3.3) that is a local part of a qualified name too (PROV-N, section 3.7.1):
/// what could mean something in either is percent-encoded, `%` itself among it.
pub(super) fn encoded(text: &str) -> String {
    let last = text.len().saturating_sub(1);
    let mut encoded = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let is_plain = match byte {
            b'_' | b'/' => true,
            // A local part begins with neither and does not end with a dot.
            b'-' => at > 0,
            b'.' => at > 0 && at < last,
            _ => byte.is_ascii_alphanumeric(),
        };
        if is_plain {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Subject {
        Subject::Run {
            tenant: "acme".parse().unwrap(),
            namespace: "prod".parse().unwrap(),
            scenario: "loan-approval".parse().unwrap(),
            run_id: "run-42".parse().unwrap(),
            spec_hash: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
        }
    }

    fn step() -> Subject {
        Subject::Step {
            tenant: "acme".parse().unwrap(),
            run_id: "run-42".parse().unwrap(),
            step_id: "train".parse().unwrap(),
        }
    }

    /// What the lines of Python in `Docs/spec/openlineage-v1.md` print.
    #[test]
    fn a_run_has_the_uuid_that_others_would_give_it() {
        assert_eq!(run_uuid(&run()), "ff2ec5d2-1706-8214-a0e1-25518f42f199");
        assert_eq!(run_uuid(&step()), "d7b10d0f-d006-89cf-a4d9-12707143d7b3");
        assert_eq!(
            pipeline_uuid("acme", "run-42"),
            "c4c1b864-1d41-875a-9397-811435aedf78"
        );
        let whole = Subject::Pipeline {
            tenant: "acme".parse().unwrap(),
            run_id: "run-42".parse().unwrap(),
        };
        assert_eq!(run_uuid(&whole), pipeline_uuid("acme", "run-42"));
    }

    #[test]
    fn what_could_mean_something_is_encoded_and_nothing_collides() {
        for (text, expected) in [
            ("a/b-c_d.e", "a/b-c_d.e"),
            ("-a.", "%2Da%2E"),
            (".", "%2E"),
            ("%2F", "%252F"),
            ("a b:c#d?e\"f", "a%20b%3Ac%23d%3Fe%22f"),
            ("Ü\u{202e}", "%C3%9C%E2%80%AE"),
        ] {
            assert_eq!(encoded(text), expected);
        }
    }
}

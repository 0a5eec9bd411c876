//! The rules: which paragraph asks for which capability. Paraphrased; the rule's own text counts.

use runpack_core::attestation::Predicate;
use serde::Serialize;

use super::Control;
use super::evaluate::Capability;

/// A set of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RuleSet {
    /// 17 CFR 240.17a-4(f), as amended in 2022.
    #[serde(rename = "sec-17a-4")]
    Sec17a4,
    /// FINRA Rule 4511.
    #[serde(rename = "finra-4511")]
    Finra4511,
    /// 17 CFR 1.31.
    #[serde(rename = "cftc-1-31")]
    Cftc131,
    /// Regulation (EU) 2024/1689.
    EuAiAct,
}

/// Not a set of rules that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a set of rules is one of sec-17a-4, finra-4511, cftc-1-31, eu-ai-act")]
pub struct UnknownRuleSet;

impl std::str::FromStr for RuleSet {
    type Err = UnknownRuleSet;

    fn from_str(text: &str) -> Result<Self, UnknownRuleSet> {
        Self::ALL
            .into_iter()
            .find(|set| set.as_str() == text)
            .ok_or(UnknownRuleSet)
    }
}

/// A paragraph and what it asks for.
#[derive(Debug)]
pub(super) struct Rule {
    /// The id as OSCAL wants it: a letter first, no parentheses.
    token: &'static str,
    id: &'static str,
    requirement: &'static str,
    capability: Capability,
    considerations: &'static [&'static str],
}

impl Rule {
    pub(super) fn assessed(&self, predicate: &Predicate) -> Control {
        let found = self.capability.found(predicate);
        Control {
            id: self.id,
            requirement: self.requirement,
            result: found.result,
            basis: found.basis,
            evidence: found.evidence,
            assessment: found.assessment,
            capabilities: self.capability.described(),
            considerations: self.considerations.to_vec(),
            token: self.token,
        }
    }
}

impl Capability {
    /// What the storage does for it.
    const fn described(self) -> &'static str {
        match self {
            Self::Immutable => {
                "Each object is written with a lock of its own, which is read back; in compliance mode the store lets nobody shorten or lift it. A probe tries what an attacker would."
            }
            Self::Retained { .. } => {
                "One end of retention for all objects of a pack, the manifest's not before any artifact's; it is extended and never shortened."
            }
            Self::Intact => {
                "One manifest commits to every byte; anybody can hash the objects again and compare, without trusting the store."
            }
            Self::Dated => {
                "Every version has an id of its own; times are those of the observer, the store and, where there is one, a time stamping authority."
            }
            Self::Accessible => {
                "Objects are plain files under keys that follow from the run's identity, and can be pulled with any S3 client."
            }
            Self::Redundant => {
                "The replication of the bucket is read and named; replicas are checked apart from this."
            }
            Self::Held => {
                "Holds are named by legal matter in a ledger; a hold is lifted only when no matter is left."
            }
            Self::Organizational => "None: this is outside of the storage.",
        }
    }
}

impl RuleSet {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sec17a4, Self::Finra4511, Self::Cftc131, Self::EuAiAct];

    /// As it is written on a command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sec17a4 => "sec-17a-4",
            Self::Finra4511 => "finra-4511",
            Self::Cftc131 => "cftc-1-31",
            Self::EuAiAct => "eu-ai-act",
        }
    }

    /// As people call it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Sec17a4 => {
                "SEC Rule 17a-4(f): electronic recordkeeping systems of broker-dealers"
            }
            Self::Finra4511 => "FINRA Rule 4511: books and records",
            Self::Cftc131 => "CFTC Rule 1.31: regulatory records",
            Self::EuAiAct => "Regulation (EU) 2024/1689 (AI Act): logs of high-risk AI systems",
        }
    }

    pub(super) const fn controls(self) -> &'static [Rule] {
        match self {
            Self::Sec17a4 => SEC,
            Self::Finra4511 => FINRA,
            Self::Cftc131 => CFTC,
            Self::EuAiAct => EU,
        }
    }
}

const ACCOUNT: &str = "Keep the account, its billing and its encryption keys in good standing: a closed account or a deleted key loses locked objects.";
const PERIOD: &str = "Set retention to the longest period that applies to the record, counted from when the rule counts it.";
const DEFAULT_HOLD: &str = "Record every hold, and its release, in the ledger: a hold that was never recorded is not seen here.";
const PULL: &str =
    "Keep a procedure, and people who know it, to hand records over with their manifests.";

const SEC: &[Rule] = &[
    Rule {
        token: "sec-17a-4.f.2.i.A",
        id: "17 CFR 240.17a-4(f)(2)(i)(A)",
        requirement: "Keep a complete time-stamped audit trail of modifications and deletions, as the alternative to a non-rewriteable, non-erasable format.",
        capability: Capability::Organizational,
        considerations: &["Only one of (A) and (B) is needed; the storage is laid out for (B)."],
    },
    Rule {
        token: "sec-17a-4.f.2.i.B",
        id: "17 CFR 240.17a-4(f)(2)(i)(B)",
        requirement: "Preserve records exclusively in a non-rewriteable, non-erasable format for the required period.",
        capability: Capability::Immutable,
        considerations: &[PERIOD, ACCOUNT],
    },
    Rule {
        token: "sec-17a-4.f.2.i.B.hold",
        id: "17 CFR 240.17a-4(f)(2)(i)(B), SEC release 34-47806",
        requirement: "Be able to keep a record beyond its period for a subpoena or legal hold.",
        capability: Capability::Held,
        considerations: &[DEFAULT_HOLD],
    },
    Rule {
        token: "sec-17a-4.f.2.ii",
        id: "17 CFR 240.17a-4(f)(2)(ii)",
        requirement: "Verify automatically the completeness and accuracy of the processes that store and retain records.",
        capability: Capability::Intact,
        considerations: &["Run verification on a schedule, and act on what it finds."],
    },
    Rule {
        token: "sec-17a-4.f.2.iii",
        id: "17 CFR 240.17a-4(f)(2)(iii)",
        requirement: "Where applicable, serialize original and duplicate units of media and time-date the required period.",
        capability: Capability::Dated,
        considerations: &[
            "Attach a time stamp of a trusted authority to attestations, and renew it before it runs out.",
        ],
    },
    Rule {
        token: "sec-17a-4.f.2.iv",
        id: "17 CFR 240.17a-4(f)(2)(iv)",
        requirement: "Be able to download and transfer records, in a form that people can read and one that programs can use.",
        capability: Capability::Accessible,
        considerations: &[PULL],
    },
    Rule {
        token: "sec-17a-4.f.2.v",
        id: "17 CFR 240.17a-4(f)(2)(v)",
        requirement: "Have a backup system, or other redundancy, that serves when the first is not available.",
        capability: Capability::Redundant,
        considerations: &["Replicate to a second account, with locks, and check the replicas."],
    },
    Rule {
        token: "sec-17a-4.f.3.iii",
        id: "17 CFR 240.17a-4(f)(3)(iii)",
        requirement: "Have an audit system that accounts for the input of records and changes to them, and keep its results as long.",
        capability: Capability::Organizational,
        considerations: &["Keep the audit log in a store with locks as well."],
    },
    Rule {
        token: "sec-17a-4.f.3.v",
        id: "17 CFR 240.17a-4(f)(3)(v)",
        requirement: "File an undertaking of a designated executive officer or third party.",
        capability: Capability::Organizational,
        considerations: &["File the undertaking with the examining authority."],
    },
];

const FINRA: &[Rule] = &[
    Rule {
        token: "finra-4511.a",
        id: "FINRA Rule 4511(a)",
        requirement: "Make and preserve the books and records that the rules require.",
        capability: Capability::Intact,
        considerations: &[
            "That every required record was made and exported is for the organization to see to.",
        ],
    },
    Rule {
        token: "finra-4511.b",
        id: "FINRA Rule 4511(b)",
        requirement: "Preserve for at least six years where no other period is set.",
        capability: Capability::Retained { days: 2_192 },
        considerations: &[PERIOD],
    },
    Rule {
        token: "finra-4511.c",
        id: "FINRA Rule 4511(c)",
        requirement: "Preserve in a format and media that meet SEC Rule 17a-4.",
        capability: Capability::Immutable,
        considerations: &["See the report by SEC Rule 17a-4(f).", ACCOUNT],
    },
];

const CFTC: &[Rule] = &[
    Rule {
        token: "cftc-1.31.b",
        id: "17 CFR 1.31(b)",
        requirement: "Keep a regulatory record for at least five years from its creation, or longer where a paragraph says so.",
        capability: Capability::Retained { days: 1_827 },
        considerations: &[PERIOD],
    },
    Rule {
        token: "cftc-1.31.c.1",
        id: "17 CFR 1.31(c)(1)",
        requirement: "Keep records in a form and manner that ensures their authenticity and reliability.",
        capability: Capability::Intact,
        considerations: &[
            "That the right records were exported is for the organization to see to.",
        ],
    },
    Rule {
        token: "cftc-1.31.c.2.i",
        id: "17 CFR 1.31(c)(2)(i)",
        requirement: "Have systems that maintain the security, signature and data of electronic records, and that make their authenticity and reliability sure.",
        capability: Capability::Immutable,
        considerations: &[ACCOUNT],
    },
    Rule {
        token: "cftc-1.31.c.2.ii",
        id: "17 CFR 1.31(c)(2)(ii)",
        requirement: "Be able to produce electronic records, and have them available in an emergency or other disruption.",
        capability: Capability::Redundant,
        considerations: &["Replicate to a second account, with locks, and check the replicas."],
    },
    Rule {
        token: "cftc-1.31.c.2.iii",
        id: "17 CFR 1.31(c)(2)(iii)",
        requirement: "Keep an up-to-date inventory of the systems that hold electronic records.",
        capability: Capability::Organizational,
        considerations: &["Name this store in the inventory."],
    },
    Rule {
        token: "cftc-1.31.d",
        id: "17 CFR 1.31(d)",
        requirement: "Produce records promptly on request, in a reasonable form and medium.",
        capability: Capability::Accessible,
        considerations: &[PULL],
    },
];

const EU: &[Rule] = &[
    Rule {
        token: "eu-ai-act.12.1",
        id: "Regulation (EU) 2024/1689, Article 12(1)",
        requirement: "Let a high-risk AI system record events (logs) automatically over its lifetime.",
        capability: Capability::Organizational,
        considerations: &[
            "That the system logs the right events is for its provider to see to; what is exported is kept as it was.",
        ],
    },
    Rule {
        token: "eu-ai-act.12.2",
        id: "Regulation (EU) 2024/1689, Article 12(2)",
        requirement: "Record events so that the functioning of the system can be traced.",
        capability: Capability::Intact,
        considerations: &["Which events these are is for the provider to say."],
    },
    Rule {
        token: "eu-ai-act.19.1",
        id: "Regulation (EU) 2024/1689, Article 19(1)",
        requirement: "Providers keep the logs under their control for a period that fits the purpose, at least six months.",
        capability: Capability::Retained { days: 184 },
        considerations: &[PERIOD, "Law on personal data may ask for less or for more."],
    },
    Rule {
        token: "eu-ai-act.26.6",
        id: "Regulation (EU) 2024/1689, Article 26(6)",
        requirement: "Deployers keep the logs under their control for a period that fits the purpose, at least six months.",
        capability: Capability::Retained { days: 184 },
        considerations: &[PERIOD, "Law on personal data may ask for less or for more."],
    },
    Rule {
        token: "eu-ai-act.19.1.access",
        id: "Regulation (EU) 2024/1689, Articles 19(1) and 21(2)",
        requirement: "Be able to give an authority, at its request, access to logs that are kept.",
        capability: Capability::Accessible,
        considerations: &[PULL],
    },
];

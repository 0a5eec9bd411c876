//! The bucket policy: who may still do what could remove or lose evidence.
//!
//! Each question is asked for everyone whom it makes a difference to ask about, and for every place where evidence can
//! lie. A bucket policy alone decides little: what it neither denies nor allows, the policies of users and roles may
//! allow, and those nobody looked at. So only a deny without gaps is silent here.

use std::collections::BTreeSet;

use super::super::condition::{Context, Said, Understood};
use super::super::document::{Effect, PolicyDocument, Statement};
use super::super::evaluate::{Outcome, Request};
use super::super::generate::{Dialect, PrincipalArn};
use super::super::pattern::Target;
use super::super::principal::{Principal, Who, askers};
use super::access_text::{QUESTIONS, Question, Reach, Role};
use super::finding::{LintCode, LintFinding, Severity};
use super::inputs::{Inputs, Observed};
use crate::retention::shown;

pub(super) fn judge(inputs: &Inputs, findings: &mut Vec<LintFinding>) {
    let empty = r#"{"Statement":[]}"#;
    let text = match &inputs.policy {
        Observed::Found(text) => text,
        Observed::Absent => {
            let text = "the bucket has no policy: nothing but its locks and the policies of users protects it";
            findings.push(LintFinding::configured(
                LintCode::PolicyAbsent,
                Severity::Medium,
                text,
                "set a bucket policy with the statements of the WORM guide",
            ));
            empty
        }
        Observed::NotObserved { why } => {
            findings.push(LintFinding::not_observed(
                LintCode::PolicyNotObserved,
                "the bucket policy",
                why,
                "grant s3:GetBucketPolicy",
            ));
            return;
        }
    };
    let policy = match PolicyDocument::parse(text) {
        Ok(policy) => policy,
        Err(error) => {
            findings.push(LintFinding::configured(
                LintCode::PolicyMalformed,
                Severity::High,
                error.to_string(),
                "write the policy so that it is understood whole; until then it counts for nothing",
            ));
            return;
        }
    };
    let mut lens = Lens::new(inputs, &policy);
    for question in QUESTIONS {
        lens.ask(question, findings);
    }
    for statement in policy.statements() {
        broad(statement, findings);
    }
    if lens.has_open {
        let mut finding = LintFinding::not_observed(
            LintCode::PolicyIdentitiesNotObserved,
            "what the policies of users and roles allow",
            "a bucket does not tell it",
            "deny it in the bucket policy, which binds them too",
        );
        finding.severity = Severity::Medium;
        if inputs.dialect == Dialect::MinIo {
            finding.what_to_do = "look at every user's and group's policy: a bucket policy of MinIO binds none of them";
        }
        findings.push(finding);
    }
}

/// A policy, and what it is asked about.
struct Lens<'a> {
    inputs: &'a Inputs,
    policy: &'a PolicyDocument,
    askers: BTreeSet<Who>,
    /// Every place where evidence can lie.
    evidence: Vec<Target>,
    bucket: Vec<Target>,
    /// Whether something was left to policies that nobody looked at.
    has_open: bool,
}

impl<'a> Lens<'a> {
    fn new(inputs: &'a Inputs, policy: &'a PolicyDocument) -> Self {
        let roles = &inputs.roles;
        let known = roles
            .holders
            .iter()
            .chain(&roles.cleaners)
            .chain(&roles.administrators);
        let known = known.map(|arn| arn.as_str().to_owned()).collect();
        let bucket = format!("arn:aws:s3:::{}", inputs.bucket);
        let below = format!("{bucket}/{}", inputs.path_prefix.as_str());
        // Keys begin with a letter or digit (specification, section 6), or are what Runpack keeps for itself; without
        // the probes, which are there to be removed.
        let own = ["audit/", "holds/", "live/", "receipts/", "refs/"]
            .map(|own| format!("{below}_runpack/{own}"));
        let first = ('0'..='9')
            .chain('A'..='Z')
            .chain('a'..='z')
            .map(|first| format!("{below}{first}"));
        Self {
            inputs,
            policy,
            askers: match inputs.dialect {
                // A bucket policy concerns requests without signature alone there.
                Dialect::MinIo => [Who::Anonymous].into(),
                Dialect::Aws | Dialect::Ceph => askers(policy, &known),
            },
            evidence: first.chain(own).map(Target::Below).collect(),
            bucket: vec![Target::Exactly(bucket)],
            has_open: inputs.dialect == Dialect::MinIo,
        }
    }

    fn ask(&mut self, question: &Question, findings: &mut Vec<LintFinding>) {
        if !question.dialects.contains(&self.inputs.dialect) {
            return;
        }
        let mut worst: Option<Outcome> = None;
        let mut who_may = BTreeSet::new();
        for who in &self.askers {
            if self.is_meant_to(who, question.role) {
                continue;
            }
            let outcome = self.outcome(question, who);
            // Without credentials nothing happens that no statement allows.
            if outcome == Outcome::Denied
                || (outcome == Outcome::Open && matches!(who, Who::Anonymous | Who::Elsewhere))
            {
                continue;
            }
            self.has_open |= outcome == Outcome::Open;
            if worst < Some(outcome) {
                worst = Some(outcome);
                who_may.clear();
            }
            if worst == Some(outcome) {
                who_may.insert(who.to_string());
            }
        }
        let Some(worst) = worst else {
            return;
        };
        let names: Vec<_> = who_may.into_iter().collect();
        let (severity, verb) = match worst {
            Outcome::Allowed => (question.allowed, "the bucket policy lets"),
            _ => (question.open, "no deny without gaps keeps"),
        };
        let text = format!(
            "{verb} {}: {}, actions=`{}`",
            names.join(", "),
            question.harm,
            question.actions.join(" ")
        );
        findings.push(LintFinding::configured(
            question.code,
            severity,
            text,
            question.what_to_do,
        ));
    }

    /// The worst that may become of any request of the question.
    fn outcome(&self, question: &Question, who: &Who) -> Outcome {
        let targets = match question.reach {
            Reach::Evidence => &self.evidence,
            Reach::Bucket => &self.bucket,
        };
        let mut worst = Outcome::Denied;
        for context in self.contexts(question) {
            for action in question.actions {
                for target in targets {
                    let request = Request {
                        who,
                        action,
                        target,
                        context: &context,
                        account: self.inputs.account.as_deref(),
                    };
                    worst = worst.max(self.policy.answer(&request).outcome());
                }
            }
        }
        worst
    }

    /// What a request says that does the harm. Whoever does it speaks TLS, unless that is the question.
    fn contexts(&self, question: &Question) -> Vec<Context> {
        let understood = match self.inputs.dialect {
            Dialect::Ceph => Understood::Transport,
            Dialect::Aws | Dialect::MinIo => Understood::All,
        };
        let known = |text: &str| Said::Known(text.to_owned());
        let base = Context::new(understood);
        let safe = base.clone().with("aws:SecureTransport", known("true"));
        match question.code {
            // Ceph does not say `false` but nothing.
            LintCode::PolicyInsecureTransport => match self.inputs.dialect {
                Dialect::Ceph => vec![base.with("aws:SecureTransport", Said::Absent)],
                Dialect::Aws | Dialect::MinIo => {
                    vec![base.with("aws:SecureTransport", known("false"))]
                }
            },
            LintCode::PolicyShadowing => {
                let creates = safe.with("s3:if-none-match", Said::Absent);
                vec![creates.with("s3:ObjectCreationOperation", known("true"))]
            }
            LintCode::PolicyHoldRelease => {
                vec![safe.with("s3:object-lock-legal-hold", known("OFF"))]
            }
            LintCode::PolicyShortRetention => {
                let days = self
                    .inputs
                    .wanted
                    .map_or(1, |(_, wanted)| wanted.days_min());
                // Less than a day off: the time that is left has begun to run when the store counts it.
                let short = days.saturating_sub(2).to_string();
                vec![safe.with(
                    "s3:object-lock-remaining-retention-days",
                    Said::Known(short),
                )]
            }
            LintCode::PolicyCustomerKeys => {
                vec![safe.with(
                    "s3:x-amz-server-side-encryption-customer-algorithm",
                    known("AES256"),
                )]
            }
            _ => vec![safe],
        }
    }

    /// Whether whoever asks was said to be meant to do it.
    fn is_meant_to(&self, who: &Who, role: Option<Role>) -> bool {
        let Who::Named(Principal::Aws(arn)) = who else {
            return false;
        };
        let roles = &self.inputs.roles;
        let meant = match role {
            None => return false,
            Some(Role::Holder) => &roles.holders,
            Some(Role::Cleaner) => &roles.cleaners,
            Some(Role::Administrator) => &roles.administrators,
        };
        meant
            .iter()
            .map(PrincipalArn::as_str)
            .any(|meant| meant == arn)
    }
}

/// Statements that allow more than anybody can oversee.
fn broad(statement: &Statement, findings: &mut Vec<LintFinding>) {
    if statement.effect != Effect::Allow {
        return;
    }
    let label = statement.label();
    if statement.principals.is_negated()
        || statement.actions.is_negated()
        || statement.resources.is_negated()
    {
        let text = format!(
            "a statement allows all but what it names, so whatever is added later is allowed, statement=`{label}`"
        );
        findings.push(LintFinding::configured(
            LintCode::PolicyNegatedAllow,
            Severity::High,
            text,
            "name what is allowed: Principal, Action and Resource",
        ));
    }
    if statement.principals.named().contains(&Principal::Anyone)
        && !statement.principals.is_negated()
    {
        let conditions: Vec<_> = statement
            .conditions
            .iter()
            .map(|condition| shown(&condition.key))
            .collect();
        let (severity, but) = if conditions.is_empty() {
            (Severity::High, "without condition".to_owned())
        } else {
            (
                Severity::Medium,
                format!("under conditions alone, keys=`{}`", conditions.join(" ")),
            )
        };
        let text = format!(
            "a statement allows everybody something, {but}, statement=`{label}` actions=`{}`",
            statement
                .actions
                .named()
                .iter()
                .map(|action| shown(action))
                .collect::<Vec<_>>()
                .join(" ")
        );
        findings.push(LintFinding::configured(
            LintCode::PolicyWildcardAllow,
            severity,
            text,
            "name the principals",
        ));
    }
}

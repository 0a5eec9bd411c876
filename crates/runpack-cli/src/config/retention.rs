//! `runpacks.retention`: which packs are kept for how long.

use std::collections::BTreeMap;

use runpack_core::retention::{Keep, Policy, RetentionPolicies, SubjectKind};

use super::Read;
use super::document::{PolicySection, RetentionSection};
use crate::duration::parse_duration;
use crate::failure::Failure;

const KEEP_FOR: &str = "runpacks.retention.policies.keep_for";
const HOW_LONG: &str = "write a length of time from 30d to 365d, the name of a class, or `forever`";

impl Read<'_> {
    pub(super) fn retention(
        &self,
        section: RetentionSection,
    ) -> Result<RetentionPolicies, Failure> {
        let mut classes = BTreeMap::new();
        for (name, text) in section.classes {
            // A name that reads as a time would hide one.
            let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic());
            if !is_name || name == "forever" {
                let rule = "the name of a class begins with a letter, and is not `forever`";
                return Err(self.wrong("runpacks.retention.classes", &name, rule));
            }
            let keep = self.keep("runpacks.retention.classes", &text, &BTreeMap::new())?;
            classes.insert(name, keep);
        }
        let policies = section.policies.into_iter();
        let policies = policies.map(|policy| self.policy(policy, &classes));
        let policies = policies.collect::<Result<_, _>>()?;
        let mut policies = RetentionPolicies::new(policies).map_err(|error| {
            Failure::new(
                error.to_string(),
                "correct `policies` below `runpacks.retention`",
            )
        })?;
        if let Some(text) = &section.metadata_for {
            let seconds = parse_duration(text)
                .map_err(|rule| self.wrong("runpacks.retention.metadata_for", text, &rule))?;
            policies = policies.with_metadata_seconds(seconds.seconds());
        }
        let keep_inputs = section.keep_inputs.as_deref();
        let keep_inputs = keep_inputs.map(|text| self.flag("runpacks.retention.keep_inputs", text));
        if keep_inputs.transpose()? == Some(false) {
            policies = policies.letting_inputs_go();
        }
        Ok(policies)
    }

    fn policy(
        &self,
        section: PolicySection,
        classes: &BTreeMap<String, Keep>,
    ) -> Result<Policy, Failure> {
        let keep = self.keep(KEEP_FOR, &section.keep_for, classes)?;
        let name = self.parsed(
            "runpacks.retention.policies.name",
            Some(section.name.clone()),
        )?;
        let name = name.ok_or_else(|| {
            let rule = "give the policy a name";
            self.wrong("runpacks.retention.policies.name", &section.name, rule)
        })?;
        let policy = Policy::new(name, keep).map_err(|error| {
            self.wrong(KEEP_FOR, &section.keep_for, HOW_LONG)
                .because(&error)
        })?;
        let kind = section.kind.map(|text| {
            let kind = SubjectKind::ALL
                .into_iter()
                .find(|kind| kind.as_str() == text);
            let rule = "a kind is `run`, `step`, `pipeline` or `execution`";
            kind.ok_or_else(|| self.wrong("runpacks.retention.policies.kind", &text, rule))
        });
        Ok(policy
            .with_tenant(self.parsed("runpacks.retention.policies.tenant", section.tenant)?)
            .with_namespace(
                self.parsed("runpacks.retention.policies.namespace", section.namespace)?,
            )
            .with_scenario(self.parsed("runpacks.retention.policies.scenario", section.scenario)?)
            .with_kind(kind.transpose()?))
    }

    fn keep(
        &self,
        key: &str,
        text: &str,
        classes: &BTreeMap<String, Keep>,
    ) -> Result<Keep, Failure> {
        if text == "forever" {
            return Ok(Keep::Forever);
        }
        if let Some(keep) = classes.get(text) {
            return Ok(*keep);
        }
        match parse_duration(text) {
            Ok(seconds) => Ok(Keep::Seconds(seconds.seconds())),
            Err(_) => Err(self.wrong(key, text, HOW_LONG)),
        }
    }
}

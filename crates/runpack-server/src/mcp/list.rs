//! `runpack_list`: which packs there are.

use rmcp::model::JsonObject;

use super::Work;
use super::answer::{Answer, LINES_MAX, Listed, PackListed, add};
use super::ask::{ListAsked, read};
use super::call::{Session, Told};
use crate::access::Scope;
use crate::api::query::{parse, parse_some};
use crate::packs::{PackSummary, Runs};
use crate::problem::Problem;

/// How many packs an answer has where nothing is asked.
const PAGE: usize = 20;

impl Work {
    pub(super) async fn list(
        &self,
        session: &Session,
        arguments: JsonObject,
        told: &mut Told,
    ) -> Result<Answer, Problem> {
        let asked: ListAsked = read(arguments)?;
        told.object.clone_from(&asked.tenant);
        let runs = Runs {
            tenant: parse("tenant", &asked.tenant)?,
            namespace: parse_some("namespace", asked.namespace.as_deref())?,
            scenario: parse_some("scenario", asked.scenario.as_deref())?,
            run_id: parse_some("run_id", asked.run_id.as_deref())?,
        };
        let is_gap = (runs.namespace.is_none() && runs.scenario.is_some())
            || (runs.scenario.is_none() && runs.run_id.is_some());
        if is_gap {
            return Err(Problem::bad_request(
                "`scenario` goes with `namespace`, and `run_id` with `scenario`",
            ));
        }
        let scope = Scope {
            organization: runs.tenant.as_str().into(),
            project: runs.namespace.as_ref().map(|one| one.as_str().into()),
        };
        session.may_read(&scope, told)?;
        let limit = asked.limit.map_or(PAGE.min(self.limits.page_max), |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        if !(1..=self.limits.page_max).contains(&limit) {
            let detail = format!("`limit` is 1 to {}", self.limits.page_max);
            return Err(Problem::bad_request(detail));
        }
        let page = self
            .packs
            .list(&runs, asked.after.as_deref(), limit)
            .await?;
        let listed = Listed {
            packs: page.packs.iter().map(PackListed::of).collect(),
            next: page.next,
        };
        Ok(Answer::new(listed.text(), &listed))
    }
}

impl PackListed {
    fn of(pack: &PackSummary) -> Self {
        let fields = pack.subject.fields().into_iter();
        Self {
            pack_id: pack.pack_id.to_string(),
            subject: fields.map(|(name, id)| (name.to_owned(), id)).collect(),
            created_at: pack.created_at.to_string(),
            artifacts: pack.artifacts,
            bytes: pack.bytes,
        }
    }
}

impl Listed {
    fn text(&self) -> String {
        let mut text = format!("{} packs\n", self.packs.len());
        for pack in self.packs.iter().take(LINES_MAX) {
            let id = |name: &str| pack.subject.get(name).map_or("", String::as_str);
            add(
                &mut text,
                format_args!(
                    "- {} run {}/{}/{}/{}, made {}, {} artifacts, {} bytes\n",
                    pack.pack_id,
                    id("tenant"),
                    id("namespace"),
                    id("scenario"),
                    id("run_id"),
                    pack.created_at,
                    pack.artifacts,
                    pack.bytes
                ),
            );
        }
        if self.packs.len() > LINES_MAX {
            text.push_str("- the others are in the structured answer\n");
        }
        if self.next.is_some() {
            text.push_str("There are more: call again with `after` set to `next`.\n");
        }
        text
    }
}

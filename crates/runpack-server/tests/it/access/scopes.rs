//! A caller may do exactly what the grants say.

use std::sync::Arc;

use proptest::prelude::*;
use runpack_server::access::{Access, Caller, Grant, Limits, NewToken, Scope, Verb};

use super::{NOW, SetClock, with_bearer};

const NAMES: [&str; 4] = ["acme", "acme2", "web", "Web"];

fn any_name() -> impl Strategy<Value = Box<str>> {
    prop::sample::select(&NAMES[..]).prop_map(Into::into)
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let verbs = prop::sample::select(vec![
        vec![Verb::Read],
        vec![Verb::Write],
        vec![Verb::Read, Verb::Write],
    ]);
    let project = prop::option::of(any_name());
    (any_name(), project, verbs).prop_map(|(organization, project, verbs)| Grant {
        organization,
        project,
        verbs: verbs.into(),
    })
}

/// Every single thing that a grant allows, listed.
fn allowed(grants: &[Grant]) -> Vec<(Verb, Scope)> {
    let mut all = Vec::new();
    for grant in grants {
        for verb in &grant.verbs {
            let projects: Vec<Option<Box<str>>> = match &grant.project {
                Some(project) => vec![Some(project.clone())],
                None => NAMES
                    .iter()
                    .map(|name| Some((*name).into()))
                    .chain([None])
                    .collect(),
            };
            all.extend(projects.into_iter().map(|project| {
                let organization = grant.organization.clone();
                (
                    *verb,
                    Scope {
                        organization,
                        project,
                    },
                )
            }));
        }
    }
    all
}

proptest! {
    #[test]
    fn c24_a_caller_may_do_exactly_what_the_grants_say(
        grants in prop::collection::vec(any_grant(), 0..5),
    ) {
        let allowed = allowed(&grants);
        let caller = Caller::new("token:ci", Arc::from(grants));
        for verb in [Verb::Read, Verb::Write] {
            for organization in NAMES {
                for project in NAMES.map(Some).into_iter().chain([None]) {
                    let scope = Scope {
                        organization: organization.into(),
                        project: project.map(Into::into),
                    };
                    let expected = allowed.contains(&(verb, scope.clone()));
                    prop_assert_eq!(caller.may(verb, &scope), expected);
                }
            }
        }
    }
}

#[tokio::test]
async fn c24_what_the_policy_grants_is_what_the_caller_has() {
    let token = NewToken::generate().unwrap();
    let policy = format!(
        "tokens:\n  - name: ci\n    sha256: {}\n    grants:\n      \
         - {{organization: acme, project: web, may: [write]}}\n      \
         - {{organization: other, project: \"*\", may: [read]}}\n",
        token.sha256()
    );
    let access = Access::parse(&policy, SetClock::new(NOW), Limits::default()).unwrap();
    let caller = with_bearer(&access, token.secret()).await.unwrap();
    let may = |verb, organization: &str, project: Option<&str>| {
        let scope = Scope {
            organization: organization.into(),
            project: project.map(Into::into),
        };
        caller.may(verb, &scope)
    };
    assert!(may(Verb::Write, "acme", Some("web")));
    assert!(!may(Verb::Read, "acme", Some("web")));
    assert!(!may(Verb::Write, "acme", Some("Web")));
    assert!(!may(Verb::Write, "acme", None));
    assert!(!may(Verb::Write, "ACME", Some("web")));
    assert!(may(Verb::Read, "other", Some("anything")));
    assert!(may(Verb::Read, "other", None));
    assert!(!may(Verb::Write, "other", Some("anything")));
    assert!(!may(Verb::Read, "other2", None));
}

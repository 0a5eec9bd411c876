//! Nobody reads or writes outside their scope: every subject, every object, every route of the OpenAPI document.
//!
//! What is expected is one small rule over the grants ([`expected`]). A route that has no row in [`ROUTES`] fails the test,
//! so that none is served without having been tried.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a failed assertion is how a test speaks"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use runpack_core::store::{ObjectRef, StoreError};
use runpack_server::audit::{Entry, Outcome};
use runpack_server::links::Links;
use runpack_testing::block_on;
use serde_json::{Value, json};

use crate::support::*;

/// What is done with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Read,
    /// To what the body says whose it is.
    Write,
    /// To what is there, by its id.
    WriteTo,
}

/// What kind of thing a route is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Record,
    Execution,
    Pack,
}

const ROUTES: &[(&str, &str, Verb, Kind)] = &[
    ("post", "/v1/records", Verb::Write, Kind::Record),
    (
        "get",
        "/v1/records/{organization}/{project}/{service}",
        Verb::Read,
        Kind::Record,
    ),
    (
        "get",
        "/v1/records/{organization}/{project}/{service}/latest",
        Verb::Read,
        Kind::Record,
    ),
    (
        "get",
        "/v1/records/{organization}/{project}/{service}/runs/{run_id}",
        Verb::Read,
        Kind::Record,
    ),
    (
        "get",
        "/v1/records/{organization}/{project}/{service}/diffs",
        Verb::Read,
        Kind::Record,
    ),
    ("post", "/v1/executions", Verb::Write, Kind::Execution),
    ("get", "/v1/executions", Verb::Read, Kind::Execution),
    (
        "get",
        "/v1/executions/{execution_id}",
        Verb::Read,
        Kind::Execution,
    ),
    (
        "post",
        "/v1/executions/{execution_id}/complete",
        Verb::WriteTo,
        Kind::Execution,
    ),
    (
        "post",
        "/v1/executions/{execution_id}/fail",
        Verb::WriteTo,
        Kind::Execution,
    ),
    (
        "get",
        "/v1/executions/{execution_id}/artifacts",
        Verb::Read,
        Kind::Execution,
    ),
    (
        "put",
        "/v1/executions/{execution_id}/artifacts/{name}",
        Verb::WriteTo,
        Kind::Execution,
    ),
    (
        "get",
        "/v1/executions/{execution_id}/artifacts/{name}",
        Verb::Read,
        Kind::Execution,
    ),
    (
        "patch",
        "/v1/executions/{execution_id}/uploads/{name}",
        Verb::WriteTo,
        Kind::Execution,
    ),
    (
        "head",
        "/v1/executions/{execution_id}/uploads/{name}",
        Verb::WriteTo,
        Kind::Execution,
    ),
    (
        "post",
        "/v1/executions/{execution_id}/logs/{log}",
        Verb::WriteTo,
        Kind::Execution,
    ),
    (
        "get",
        "/v1/executions/{execution_id}/logs/{log}",
        Verb::Read,
        Kind::Execution,
    ),
    ("post", "/v1/packs", Verb::Write, Kind::Pack),
    ("get", "/v1/packs", Verb::Read, Kind::Pack),
    ("get", "/v1/packs/{pack_id}", Verb::Read, Kind::Pack),
    (
        "get",
        "/v1/packs/{pack_id}/artifacts/{name}",
        Verb::Read,
        Kind::Pack,
    ),
    ("get", "/v1/packs/{pack_id}/bundle", Verb::Read, Kind::Pack),
    ("post", "/v1/packs/{pack_id}/verify", Verb::Read, Kind::Pack),
    ("post", "/v1/packs/{pack_id}/links", Verb::Read, Kind::Pack),
];

/// Who calls, and what they were granted; a name without grants is not in the policy.
const SUBJECTS: &[(&str, &[GrantText])] = &[
    ("nobody", &[]),
    ("stranger", &[]),
    ("web-reader", &[("acme", "web", "r")]),
    ("web-writer", &[("acme", "web", "w")]),
    ("web-both", &[("acme", "web", "rw")]),
    ("acme-reader", &[("acme", "*", "r")]),
    ("acme-writer", &[("acme", "*", "w")]),
    ("acme-both", &[("acme", "*", "rw")]),
    ("other-web", &[("other", "web", "rw")]),
    (
        "twins",
        &[
            ("Acme", "web", "rw"),
            ("acme", "Web", "rw"),
            ("acme-x", "*", "rw"),
        ],
    ),
];

/// Whose the objects are; without a project it belongs to the organization as a whole.
const OWNERS: &[(&str, Option<&str>)] = &[
    ("acme", Some("web")),
    ("acme", Some("app")),
    ("other", Some("web")),
    ("acme", None),
];

/// Whether one of these grants covers it: the rule.
fn may(grants: &[GrantText], verb: char, (organization, project): (&str, Option<&str>)) -> bool {
    grants.iter().any(|(of, within, verbs)| {
        *of == organization && (*within == "*" || Some(*within) == project) && verbs.contains(verb)
    })
}

fn may_anywhere(grants: &[GrantText], verb: char) -> bool {
    grants.iter().any(|(_, _, verbs)| verbs.contains(verb))
}

/// The status of a request that is not done, or `None` for one that is.
fn expected(grants: &[GrantText], verb: Verb, owner: (&str, Option<&str>)) -> Option<u16> {
    let (reads, writes) = (may(grants, 'r', owner), may(grants, 'w', owner));
    match verb {
        _ if grants.is_empty() => Some(401),
        Verb::Read if reads => None,
        Verb::Write | Verb::WriteTo if writes => None,
        Verb::Write => Some(403),
        // Whoever may see it is told why not, and whoever may not is told that it is not there.
        Verb::WriteTo if reads => Some(403),
        Verb::Read | Verb::WriteTo => Some(404),
    }
}

/// A store that signs, so that the route to links has an answer.
#[derive(Debug)]
struct Signs;

#[async_trait]
impl Links for Signs {
    async fn sign(
        &self,
        object: &ObjectRef,
        valid_for: Duration,
    ) -> Result<(String, Duration), StoreError> {
        let url = format!("https://bucket.example/{}?signed", object.key);
        Ok((url, valid_for))
    }
}

/// The things of one owner.
#[derive(Debug, Clone, Default)]
struct Things {
    run_id: String,
    /// An execution that runs, and one that is complete.
    open: String,
    complete: String,
    pack_id: String,
    artifact: &'static str,
}

/// What stands for the same, and is not there.
fn absent() -> Things {
    Things {
        run_id: "absent".into(),
        open: NO_EXECUTION.into(),
        complete: NO_EXECUTION.into(),
        pack_id: format!("sha256:{}", "0".repeat(64)),
        artifact: "spec.json",
    }
}

fn all_powerful() -> (&'static str, &'static [GrantText]) {
    ("root", &[("acme", "*", "rw"), ("other", "*", "rw")])
}

async fn server() -> (Server, Files) {
    let files = Files::new().await;
    let mut setup = Setup::over(&files.store);
    let mut tokens: Vec<_> = SUBJECTS
        .iter()
        .copied()
        .filter(|(_, grants)| !grants.is_empty())
        .collect();
    tokens.push(all_powerful());
    setup.policy = policy(&tokens);
    setup.links = Some(Arc::new(Signs));
    (Server::start(setup).await, files)
}

async fn open_execution(server: &Server, organization: &str, project: &str) -> String {
    let ask = post("/v1/executions").json(&opening_of(organization, project));
    server
        .tell(ask.by("root"))
        .await
        .expect(201)
        .text("execution_id")
}

/// Makes something of every kind for this owner.
async fn furnish(server: &Server, (organization, project): (&str, Option<&str>)) -> Things {
    let mut things = absent();
    let bundle = match project {
        Some(project) => Bundle::of_run(organization, project, "r-1", &[]),
        None => Bundle::of_step(organization, "r-1"),
    };
    server.tell(bundle.send().by("root")).await.expect(201);
    things.pack_id = bundle.pack_id();
    let Some(project) = project else {
        things.artifact = "outputs/model.bin";
        return things;
    };
    things.run_id = "r-1".into();
    let record = record_of(organization, project, "r-1");
    server
        .tell(post("/v1/records").json(&record).by("root"))
        .await
        .expect(201);
    things.open = open_execution(server, organization, project).await;
    things.complete = open_execution(server, organization, project).await;
    let at = format!("/v1/executions/{}", things.complete);
    let put =
        ask("PUT", format!("{at}/artifacts/trace/a.bin")).bytes("application/octet-stream", "abc");
    server.tell(put.by("root")).await.expect(201);
    let end = post(format!("{at}/complete")).json(&json!({"result": "passed"}));
    server.tell(end.by("root")).await.expect(200);
    things
}

/// The request of a route, about these things; `fresh` makes ids that nobody used before.
fn request(
    (method, path): (&str, &str),
    (organization, project): (&str, Option<&str>),
    things: &Things,
    fresh: &str,
) -> Ask {
    let project = project.unwrap_or("web");
    let is_read = method == "get";
    let execution = if is_read && !path.ends_with("{log}") {
        &things.complete
    } else {
        &things.open
    };
    let name = if path.starts_with("/v1/packs") {
        things.artifact
    } else if is_read {
        "trace/a.bin"
    } else {
        fresh
    };
    let mut filled = path
        .replace("{organization}", organization)
        .replace("{project}", project)
        .replace("{service}", "build")
        .replace("{run_id}", &things.run_id)
        .replace("{execution_id}", execution)
        .replace("{name}", name)
        .replace("{log}", "stdout")
        .replace("{pack_id}", &things.pack_id);
    match path {
        "/v1/executions" if is_read => {
            write!(filled, "?organization={organization}&project={project}").unwrap();
        }
        "/v1/packs" if is_read => {
            write!(filled, "?tenant={organization}&namespace={project}").unwrap();
        }
        _ => {}
    }
    let asked = ask(&method.to_uppercase(), filled);
    match (method, path) {
        ("post", "/v1/records") => asked.json(&record_of(organization, project, fresh)),
        ("post", "/v1/executions") => asked.json(&opening_of(organization, project)),
        ("post", "/v1/packs") => {
            let bundle = Bundle::of_run(organization, project, fresh, &[]);
            asked.bytes("application/gzip", bundle.bytes)
        }
        ("post", _) if path.ends_with("/complete") => asked.json(&json!({"result": "passed"})),
        ("post", _) if path.ends_with("/fail") => asked.json(&json!({"message": "no disk"})),
        ("post", _) if path.ends_with("{log}") => asked.bytes("text/plain", "line\n"),
        ("post", _) if path.ends_with("/links") => asked.json(&json!({})),
        ("put", _) => asked.bytes("application/octet-stream", fresh.to_owned()),
        ("patch", _) => asked
            .header("upload-offset", "0")
            .bytes("application/octet-stream", fresh.to_owned()),
        _ => asked,
    }
}

/// Whether this route is about such an owner: only packs of steps belong to an organization as a whole.
fn concerns((_, path, verb, kind): (&str, &str, Verb, Kind), project: Option<&str>) -> bool {
    project.is_some() || (kind == Kind::Pack && verb == Verb::Read && path.contains("{pack_id}"))
}

/// An answer but for what differs by chance.
fn told(answer: &Answer) -> (u16, BTreeMap<String, String>, Vec<u8>) {
    let headers = answer
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "x-request-id" | "date"))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (answer.status, headers.collect(), answer.body.to_vec())
}

#[test]
fn every_route_of_the_document_is_tried() {
    let document: Value = serde_json::from_str(&runpack_server::api::openapi()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            documented.insert((method.clone(), path.clone()));
        }
    }
    let tried: BTreeSet<_> = ROUTES
        .iter()
        .map(|(method, path, ..)| ((*method).to_owned(), (*path).to_owned()))
        // It is about nobody but the caller.
        .chain([("get".to_owned(), "/v1/caller".to_owned())])
        .collect();
    assert_eq!(tried, documented);
}

#[test]
fn a_caller_learns_of_their_own_grants_alone() {
    block_on(async {
        let (server, _files) = server().await;
        for (subject, grants) in SUBJECTS {
            let answer = server.tell(get("/v1/caller").by(subject)).await;
            if grants.is_empty() {
                answer.expect(401);
                continue;
            }
            let answer = answer.expect(200);
            assert_eq!(answer.text("name"), format!("token:{subject}"));
            let told = answer.value()["grants"].as_array().unwrap().len();
            assert_eq!(told, grants.len(), "{subject}");
        }
        server.end().await;
    });
}

#[test]
fn c24_nobody_reads_or_writes_outside_their_scope() {
    block_on(async {
        let (server, _files) = server().await;
        let mut things = Vec::new();
        for owner in OWNERS {
            things.push((*owner, furnish(&server, *owner).await));
        }
        let mut refused = Vec::new();
        let mut number = 0;
        for (subject, grants) in SUBJECTS {
            for route @ (method, path, verb, _) in ROUTES {
                for (owner, things) in &things {
                    if !concerns(*route, owner.1) {
                        continue;
                    }
                    number += 1;
                    let fresh = format!("fresh-{number}");
                    let mut things = things.clone();
                    if *verb == Verb::WriteTo {
                        things.open = open_execution(&server, owner.0, owner.1.unwrap()).await;
                    }
                    let by = |asked: Ask| match *subject {
                        "nobody" => asked.unknown(),
                        name => asked.by(name),
                    };
                    let asked = by(request((method, path), *owner, &things, &fresh));
                    let answer = server.tell(asked).await;
                    let what = format!("{subject} {method} {path} of {owner:?}: {answer:?}");
                    let Some(status) = expected(grants, *verb, *owner) else {
                        assert!(
                            (200..300).contains(&answer.status) && !answer.is_cut,
                            "{what}"
                        );
                        continue;
                    };
                    assert_eq!(answer.status, status, "{what}");
                    if status == 404 && path.contains('{') {
                        let absent = by(request((method, path), *owner, &absent(), &fresh));
                        let absent = server.tell(absent).await;
                        assert_eq!(told(&absent), told(&answer), "{what}");
                    }
                    if status != 401 {
                        let id = answer.header("x-request-id").unwrap().to_owned();
                        // What somebody sends who may write nowhere is not read, and no pack is looked for by somebody who
                        // may read nowhere, so whose it is is not known.
                        let is_read = match (*method, *path) {
                            ("post", "/v1/packs" | "/v1/records") => may_anywhere(grants, 'w'),
                            (_, path) if path.starts_with("/v1/packs/") => {
                                may_anywhere(grants, 'r')
                            }
                            _ => true,
                        };
                        let owner = is_read.then_some(*owner);
                        refused.push(Refused {
                            id,
                            subject,
                            owner,
                            status,
                        });
                    }
                }
            }
        }
        assert!(number > 600, "{number}");
        assert_refused(&server.end().await, &refused);
    });
}

struct Refused {
    id: String,
    subject: &'static str,
    owner: Option<(&'static str, Option<&'static str>)>,
    status: u16,
}

/// Every refusal is there, with who it was, and whose it would have been.
fn assert_refused(entries: &[Entry], refused: &[Refused]) {
    let by_request: BTreeMap<_, _> = entries
        .iter()
        .filter_map(|entry| Some((entry.request.as_deref()?, entry)))
        .collect();
    for refusal in refused {
        let entry = by_request[&*refusal.id];
        assert_eq!(entry.outcome, Outcome::Refused, "{entry:?}");
        assert_eq!(entry.status, refusal.status, "{entry:?}");
        assert_eq!(
            entry.caller,
            Some(format!("token:{}", refusal.subject)),
            "{entry:?}"
        );
        assert!(!entry.object.is_empty(), "{entry:?}");
        if let Some((organization, project)) = refusal.owner {
            let detail = |name| entry.detail.get(name).map(|text| &**text);
            assert_eq!(detail("organization"), Some(organization), "{entry:?}");
            assert_eq!(detail("project"), project, "{entry:?}");
        }
    }
    // Those whom nobody knows are counted: none of them fills the log.
    let strangers = entries
        .iter()
        .filter(|entry| entry.action == "access.refused");
    let strangers: Vec<_> = strangers.collect();
    assert!((10..=20).contains(&strangers.len()), "{}", strangers.len());
    assert!(
        strangers
            .iter()
            .any(|entry| entry.detail.contains_key("counts"))
    );
}

#[test]
fn c24_lists_never_show_what_is_out_of_scope() {
    block_on(async {
        let (server, _files) = server().await;
        let mut open = Vec::new();
        for (organization, project) in [("acme", "web"), ("acme", "app"), ("other", "web")] {
            let id = open_execution(&server, organization, project).await;
            open.push((id, organization, project));
            let bundle = Bundle::of_run(organization, project, "r-1", &[]);
            server.tell(bundle.send().by("root")).await.expect(201);
        }
        for (subject, grants) in SUBJECTS.iter().filter(|(_, grants)| !grants.is_empty()) {
            for organization in ["acme", "other"] {
                // Of the whole organization: each sees what they may read.
                let path = format!("/v1/executions?organization={organization}");
                let answer = server.tell(get(path).by(subject)).await;
                let visible: BTreeSet<_> = open
                    .iter()
                    .filter(|(_, of, project)| {
                        *of == organization && may(grants, 'r', (of, Some(project)))
                    })
                    .map(|(id, ..)| id.clone())
                    .collect();
                if grants
                    .iter()
                    .any(|(of, _, verbs)| *of == organization && verbs.contains('r'))
                {
                    let listed = answer.expect(200).value();
                    let listed = listed["executions"].as_array().unwrap().iter();
                    let listed: BTreeSet<_> = listed
                        .map(|one| one["execution_id"].as_str().unwrap().to_owned())
                        .collect();
                    assert_eq!(listed, visible, "{subject} {organization}");
                } else {
                    assert_eq!(
                        (answer.status, visible.len()),
                        (404, 0),
                        "{subject} {organization}"
                    );
                }
                // Packs of a whole tenant are for whoever may read all of it.
                let answer = server
                    .tell(get(format!("/v1/packs?tenant={organization}")).by(subject))
                    .await;
                let reads = may(grants, 'r', (organization, None));
                assert_eq!(
                    answer.status,
                    if reads { 200 } else { 404 },
                    "{subject} {organization}"
                );
            }
        }
        server.end().await;
    });
}

#[test]
fn c01_nothing_is_read_of_who_may_write_nowhere() {
    block_on(async {
        let files = Files::new().await;
        let mut setup = Setup::over(&files.store);
        setup.policy = policy(&[("ci", &[("acme", "*", "r")])]);
        let server = Server::start(setup).await;
        for (path, media_type) in [
            ("/v1/records", "application/json"),
            ("/v1/packs", "application/gzip"),
        ] {
            let mut wire = Wire::to(&server).await;
            let media_type = format!("Content-Type: {media_type}");
            let lines = [
                &*media_type,
                "Content-Length: 1000000",
                "Expect: 100-continue",
            ];
            wire.head(&format!("POST {path}"), &lines).await;
            // Not even told to send it.
            let text = wire.rest().await;
            assert!(text.starts_with("HTTP/1.1 403 "), "{text}");
        }
        server.end().await;
    });
}

#[test]
fn a_page_of_another_host_writes_nothing_with_the_login_of_who_looks_at_it() {
    block_on(async {
        let (server, _files) = server().await;
        let things = furnish(&server, ("acme", Some("web"))).await;
        let host = server.address.to_string();
        let own = format!("http://{host}");
        let port = server.address.port();
        let other_port = format!("http://{}:{}", server.address.ip(), port ^ 1);
        let cases: &[(&[(&'static str, &str)], bool)] = &[
            (&[], true),
            (&[("origin", &*own)], true),
            (&[("origin", "https://evil.example")], false),
            (&[("origin", &*other_port)], false),
            (&[("origin", "null")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (
                &[("sec-fetch-site", "cross-site"), ("origin", &*own)],
                false,
            ),
            (
                &[("sec-fetch-site", "same-origin"), ("origin", &*own)],
                true,
            ),
            // A proxy may say another host than the browser knows.
            (
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "https://runpack.example"),
                ],
                true,
            ),
            (&[("sec-fetch-site", "none")], true),
        ];
        let log = format!("/v1/executions/{}/logs/stdout", things.open);
        let verify = format!("/v1/packs/{}/verify", things.pack_id);
        let mut refused = 0;
        for (headers, is_taken) in cases {
            let with = |ask: Ask| {
                headers
                    .iter()
                    .fold(ask.by("root"), |ask, (name, value)| ask.header(name, value))
            };
            let append = with(post(&log).bytes("text/plain", "line\n"));
            for (ask, status) in [(append, 201), (with(post(&verify)), 200)] {
                let answer = server.tell(ask).await;
                if *is_taken {
                    assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
                } else {
                    assert_eq!(answer.expect(403).problem(), "forbidden", "{headers:?}");
                    refused += 1;
                }
            }
            // What changes nothing is nobody's to forbid: the page that asked cannot read it.
            server.tell(with(get("/v1/caller"))).await.expect(200);
        }
        let text = server.tell(get(&log).by("root")).await.expect(200).body;
        let taken = cases.iter().filter(|(_, is_taken)| *is_taken).count();
        assert_eq!(text, "line\n".repeat(taken));
        let entries = server.end().await;
        let told: Vec<_> = entries
            .iter()
            .filter(|entry| entry.action == "access.refused")
            .collect();
        assert!(!told.is_empty() && told.len() <= refused, "{told:?}");
        assert!(
            told.iter()
                .any(|entry| format!("{:?}", entry.detail).contains("foreign-origin"))
        );
    });
}

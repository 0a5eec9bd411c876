//! Routes: which one is taken, what is refused when it is read, and where nothing may be written.

use proptest::prelude::*;
use runpack_core::key::Location;
use serde_json::json;

use super::*;

fn routing(value: &Value) -> Routing {
    Routing::parse(value).unwrap()
}

fn refused(value: &Value) -> String {
    Routing::parse(value).unwrap_err().to_string()
}

fn run(tenant: &str, namespace: &str) -> Subject {
    Subject::Run {
        tenant: tenant.parse().unwrap(),
        namespace: namespace.parse().unwrap(),
        scenario: "loan".parse().unwrap(),
        run_id: "run-1".parse().unwrap(),
        spec_hash: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
    }
}

fn step(tenant: &str) -> Subject {
    Subject::Step {
        tenant: tenant.parse().unwrap(),
        run_id: "run-1".parse().unwrap(),
        step_id: "build".parse().unwrap(),
    }
}

fn execution() -> Subject {
    Subject::Execution {
        execution_id: "01JD4Y9R3X0000000000000000".parse().unwrap(),
    }
}

fn store(bucket: &str) -> StoreIdentity {
    StoreIdentity {
        bucket: bucket.parse().unwrap(),
        path_prefix: PathPrefix::default(),
        endpoint: None,
        region: None,
    }
}

fn four() -> Routing {
    routing(&json!({
        "routes": [
            {"tenant": "*", "bucket": "any-any"},
            {"tenant": "acme", "bucket": "acme-any"},
            {"tenant": "*", "namespace": "prod", "bucket": "any-prod"},
            {"tenant": "acme", "namespace": "prod", "bucket": "acme-prod"},
        ],
    }))
}

#[test]
fn the_most_specific_route_wins() {
    let routing = four();
    for (subject, bucket) in [
        (run("acme", "prod"), "acme-prod"),
        (run("acme", "test"), "acme-any"),
        (run("other", "prod"), "any-prod"),
        (run("other", "test"), "any-any"),
        (run("ACME", "prod"), "any-prod"),
        (step("acme"), "acme-any"),
        (step("other"), "any-any"),
        (execution(), "any-any"),
    ] {
        assert_eq!(
            routing.route(&subject).unwrap().bucket().as_str(),
            bucket,
            "{subject:?}"
        );
    }
}

#[test]
fn what_no_route_takes_goes_nowhere() {
    let only = json!({"tenant": "acme", "namespace": "prod", "bucket": "acme-prod"});
    let strict = routing(&json!({"routes": [only]}));
    for subject in [
        run("acme", "test"),
        run("other", "prod"),
        step("acme"),
        execution(),
    ] {
        assert!(strict.route(&subject).is_err(), "{subject:?}");
        assert!(
            strict.admits(&subject, &store("acme-prod")).is_err(),
            "{subject:?}"
        );
    }
    assert_eq!(
        strict.route(&run("acme", "test")).unwrap_err().to_string(),
        "no route of runpacks.policy takes this, so it is written nowhere: add a route or a default, tenant=`acme` namespace=`test`"
    );
    let lenient = routing(&json!({"routes": [only], "default": {"bucket": "the-rest"}}));
    assert_eq!(
        lenient.route(&execution()).unwrap().bucket().as_str(),
        "the-rest"
    );
    assert_eq!(
        lenient
            .route(&run("acme", "prod"))
            .unwrap()
            .bucket()
            .as_str(),
        "acme-prod"
    );
}

#[test]
fn a_route_says_what_packs_are_locked_with() {
    let routing = routing(&json!({"default": {
        "bucket": "evidence", "path_prefix": "team/a", "region": "eu-central-1", "endpoint": "https://s3.example.com",
        "mode": "compliance", "retain_for": "7y", "legal_hold": {"matter": "m-1"},
    }}));
    let route = routing.route(&execution()).unwrap();
    let terms = route.terms().unwrap();
    assert_eq!(
        terms.until(),
        crate::terms::RetainUntil::For("7y".parse().unwrap())
    );
    assert_eq!(
        terms.legal_hold().map(crate::matter::Matter::as_str),
        Some("m-1")
    );
    assert_eq!(route.path(), "runpacks.policy.default");
    assert_eq!(route.region().map(Region::as_str), Some("eu-central-1"));
    assert_eq!(route.path_prefix().as_str(), "team/a/");
}

#[test]
fn errors_name_the_key_and_say_what_to_write() {
    let acme = |more: Value| {
        let mut route = json!({"tenant": "acme", "bucket": "evidence"});
        route
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"routes": [{"tenant": "first", "bucket": "first-one"}, route]})
    };
    for (value, message) in [
        (
            json!([]),
            "runpacks.policy: write keys below this one, found a list",
        ),
        (
            json!({}),
            "runpacks.policy: there is no route, so nothing can be written: add one to routes, or a default",
        ),
        (
            json!({"routes": {}}),
            "runpacks.policy.routes: write a list of routes, found keys",
        ),
        (
            json!({"routes": ["x"]}),
            "runpacks.policy.routes[0]: write keys below this one, found a text",
        ),
        (
            json!({"routes": [{"bucket": "evidence"}]}),
            "runpacks.policy.routes[0].tenant: say whose packs it takes: a tenant, or \"*\" for all",
        ),
        (
            json!({"routes": [{"tenant": "acme"}]}),
            "runpacks.policy.routes[0].bucket: this key is missing, add it",
        ),
        (
            json!({"rules": []}),
            "runpacks.policy.rules: no such key here, there are routes and default",
        ),
        (
            acme(json!({"region": "EU"})),
            "runpacks.policy.routes[1].region: a region is 1 to 63 lower-case letters, digits and dashes, such as eu-central-1, found=`EU`",
        ),
        (
            acme(json!({"region": 1})),
            "runpacks.policy.routes[1].region: write a text, in quotes where it looks like something else, found a number",
        ),
        (
            acme(json!({"tenant": "acme*"})),
            "runpacks.policy.routes[1].tenant: write \"*\" or an id: an id is 1 to 128 letters, digits and `.` `_` `-`, and starts with a letter or digit, id=`acme*`",
        ),
        (
            acme(json!({"tenant": "first"})),
            "runpacks.policy.routes[1]: this repeats runpacks.policy.routes[0], remove one, tenant=`first` namespace=`*`",
        ),
        (
            acme(json!({"mode": "compliance"})),
            "runpacks.policy.routes[1].retain_for: a mode needs to know for how long, add a retention such as 7y",
        ),
        (
            acme(json!({"retain_for": "7y"})),
            "runpacks.policy.routes[1].mode: retain_for and legal_hold need a mode, add governance or compliance",
        ),
        (
            acme(json!({"legal_hold": {"matter": "m"}})),
            "runpacks.policy.routes[1].mode: retain_for and legal_hold need a mode, add governance or compliance",
        ),
        (
            acme(json!({"retention": "7y"})),
            "runpacks.policy.routes[1].retention: no such key here, there are tenant, namespace, bucket, path_prefix, region, endpoint, mode, retain_for and legal_hold",
        ),
        (
            json!({"default": {"tenant": "acme", "bucket": "evidence"}}),
            "runpacks.policy.default.tenant: no such key here, there are bucket, path_prefix, region, endpoint, mode, retain_for and legal_hold",
        ),
    ] {
        assert_eq!(refused(&value), message, "{value}");
    }
    for bad in [
        acme(json!({"bucket": "s3://evidence"})),
        acme(json!({"endpoint": "https://user@host"})),
        acme(json!({"path_prefix": "../up"})),
        acme(json!({"namespace": ""})),
        acme(json!({"namespace": null})),
    ] {
        assert!(
            refused(&bad).starts_with("runpacks.policy.routes[1]."),
            "{bad}"
        );
    }
}

#[test]
fn routes_that_contradict_each_other_are_both_named() {
    for (value, message) in [
        (
            json!({"routes": [
                {"tenant": "*", "namespace": "prod", "bucket": "any-prod"},
                {"tenant": "acme", "bucket": "acme-any"},
            ]}),
            "runpacks.policy.routes[0]: it and the route of tenant=`acme` namespace=`*` are equally specific, add a route, tenant=`acme` namespace=`prod`",
        ),
        (
            json!({"routes": [
                {"tenant": "a", "bucket": "evidence", "region": "eu-central-1"},
                {"tenant": "b", "bucket": "evidence", "region": "us-east-1"},
            ]}),
            "runpacks.policy.routes[1].region: a bucket is in one region, and runpacks.policy.routes[0] names another, correct one",
        ),
    ] {
        assert_eq!(refused(&value), message, "{value}");
    }
}

type Change = fn(&mut StoreIdentity);

#[test]
fn data_is_written_to_the_place_of_its_route_alone() {
    let routing = routing(&json!({"routes": [
        {"tenant": "acme", "bucket": "acme-eu", "region": "eu-central-1", "path_prefix": "p"},
        {"tenant": "other", "bucket": "other-us", "endpoint": "https://s3.example.com"},
    ]}));
    let acme = StoreIdentity {
        bucket: "acme-eu".parse().unwrap(),
        path_prefix: "p".parse().unwrap(),
        endpoint: None,
        region: Some("eu-central-1".parse().unwrap()),
    };
    let subject = run("acme", "prod");
    routing.admits(&subject, &acme).unwrap();
    let other = StoreIdentity {
        endpoint: Some("https://s3.example.com".parse().unwrap()),
        ..store("other-us")
    };
    routing.admits(&run("other", "prod"), &other).unwrap();

    let changes: [(Change, &str); 6] = [
        (
            |store| store.region = None,
            "wanted_region=`eu-central-1` found_region=`not known`",
        ),
        (
            |store| store.region = Some("us-east-1".parse().unwrap()),
            "wanted_region=`eu-central-1` found_region=`us-east-1`",
        ),
        (
            |store| store.bucket = "acme-us".parse().unwrap(),
            "wanted_bucket=`acme-eu` found_bucket=`acme-us`",
        ),
        (
            |store| store.path_prefix = PathPrefix::default(),
            "wanted_path_prefix=`p/` found_path_prefix=``",
        ),
        (
            |store| store.path_prefix = "p/q".parse().unwrap(),
            "wanted_path_prefix=`p/` found_path_prefix=`p/q/`",
        ),
        (
            |store| store.endpoint = Some("https://s3.example.com".parse().unwrap()),
            "wanted_endpoint=`Amazon S3` found_endpoint=`https://s3.example.com`",
        ),
    ];
    for (change, message) in changes {
        let mut elsewhere = acme.clone();
        change(&mut elsewhere);
        let error = routing
            .admits(&subject, &elsewhere)
            .unwrap_err()
            .to_string();
        assert!(error.ends_with(message), "{error}");
        let location = Location::manifest(&subject);
        assert!(routing.admits_location(&location, &elsewhere).is_err());
    }
    // The other tenant's store, however right it is for the other.
    assert!(routing.admits(&subject, &other).is_err());
    assert!(routing.admits(&run("other", "prod"), &acme).is_err());
}

#[test]
fn a_key_says_whose_it_is_or_is_refused() {
    let routing = routing(&json!({"routes": [{"tenant": "acme", "bucket": "acme-eu"}]}));
    let here = store("acme-eu");
    let admits = |key: &str, store: &StoreIdentity| {
        let location = Location::parse(key).unwrap();
        let found = routing.admits_location(&location, store);
        assert_eq!(routing.admits_key(&location.key().unwrap(), store), found);
        found
    };
    let zeros = "0".repeat(64);
    for mine in [
        format!("tenant/acme/namespace/prod/scenario/loan/run/run-1/{zeros}/manifest.json"),
        format!("acme/pipelines/{zeros}/definition.yaml"),
        format!("_runpack/refs/{zeros}"),
        "_runpack/probe/p-1".to_owned(),
    ] {
        assert_eq!(admits(&mine, &here), Ok(()), "{mine}");
        assert!(admits(&mine, &store("acme-us")).is_err(), "{mine}");
    }
    for nobodys in [
        format!("tenant/other/namespace/prod/scenario/loan/run/run-1/{zeros}/manifest.json"),
        format!("2026/11/run-1/{zeros}.tar.gz"),
        "v1/org=acme/project=web/service=api/latest.json".to_owned(),
        "executions/01JD4Y9R3X0000000000000000/manifest.json".to_owned(),
    ] {
        assert!(admits(&nobodys, &here).is_err(), "{nobodys}");
    }
}

/// The rule once more, by trying every route.
fn reference<'a>(
    routes: &'a [(&str, &str, String)],
    tenant: &str,
    namespace: &str,
) -> Vec<&'a str> {
    let fits = |pattern: &str, id: &str| pattern == "*" || pattern == id;
    let exact =
        |route: &(&str, &str, String)| [route.0, route.1].iter().filter(|id| **id != "*").count();
    let fitting = routes
        .iter()
        .filter(|route| fits(route.0, tenant) && fits(route.1, namespace));
    let best = fitting.clone().map(exact).max();
    fitting
        .filter(|route| Some(exact(route)) == best)
        .map(|route| route.2.as_str())
        .collect()
}

proptest! {
    #[test]
    fn a_configuration_that_is_taken_is_never_ambiguous(
        written in proptest::collection::btree_set((prop::sample::select(vec!["*", "a", "b"]), prop::sample::select(vec!["*", "x", "y"])), 1..9),
        tenant in prop::sample::select(vec!["a", "b", "c"]),
        namespace in prop::sample::select(vec!["x", "y", "z"]),
    ) {
        let routes: Vec<_> = written.into_iter().enumerate()
            .map(|(index, (tenant, namespace))| (tenant, namespace, format!("bucket-{index}")))
            .collect();
        let document: Vec<Value> = routes.iter()
            .map(|(tenant, namespace, bucket)| json!({"tenant": tenant, "namespace": namespace, "bucket": bucket}))
            .collect();
        let best = reference(&routes, tenant, namespace);
        if let Ok(routing) = Routing::parse(&json!({"routes": document})) {
            prop_assert!(best.len() <= 1);
            let subject = run(tenant, namespace);
            let found = routing.route(&subject).ok().map(|route| route.bucket().as_str());
            prop_assert_eq!(found, best.first().copied());
        } else {
            // Some owner has two routes that are equally specific.
            let is_ambiguous = ["a", "b"].iter().any(|tenant| {
                ["x", "y"].iter().any(|namespace| reference(&routes, tenant, namespace).len() > 1)
            });
            prop_assert!(is_ambiguous);
        }
    }
}

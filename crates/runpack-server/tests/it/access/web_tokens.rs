//! JSON Web Tokens, good and hostile, against a policy and a real host of keys. What is hostile differs from what is good
//! in one thing, and its signature holds wherever that thing is not the signature.

use std::sync::Arc;

use ring::hmac;
use runpack_core::time::Timestamp;
use runpack_server::access::{Access, Caller, Limits, Reason, Refusal, Scope, Verb};
use serde_json::{Value, json};

use super::host::{Host, Key, encode, key_set};
use super::{NOW, SetClock, headers, with_bearer};

const GITHUB: &str = "https://token.actions.githubusercontent.com";
const CLOUDFLARE: &str = "https://acme.cloudflareaccess.com";
const AUDIENCE: &str = "https://runpack.example.org";

struct World {
    host: Host,
    rsa: Key,
    p256: Key,
    clock: Arc<SetClock>,
    access: Access,
}

impl World {
    async fn new() -> Self {
        let (rsa, p256) = (Key::rsa("rsa-1"), Key::p256("p256-1"));
        let host = Host::start(key_set(&[&rsa, &p256])).await;
        let clock = SetClock::new(NOW);
        let url = host.url();
        let policy = format!(
            r#"
issuers:
  - name: github
    kind: github-actions
    issuer: "{GITHUB}"
    audience: "{AUDIENCE}"
    jwks: "{url}"
    algorithms: [RS256]
    rules:
      - claims: {{repository_id: "123", repository_owner_id: "45", event_name: push, ref: refs/heads/main}}
        grants: [{{organization: acme, project: web, may: [write]}}]
      - claims: {{repository_id: "123", repository_owner_id: "45", event_name: push, ref: "refs/tags/v*"}}
        grants: [{{organization: acme, project: releases, may: [write]}}]
  - name: people
    kind: cloudflare-access
    issuer: "{CLOUDFLARE}"
    audience: 32eafc7626e737dc
    jwks: "{url}"
    algorithms: [RS256]
    rules:
      - claims: {{email: ann@example.org}}
        grants: [{{organization: acme, project: "*", may: [read]}}]
      - claims: {{common_name: e3b0.access}}
        grants: [{{organization: acme, project: web, may: [write]}}]
  - name: house
    kind: oidc
    issuer: "https://id.example.org"
    audience: "{AUDIENCE}"
    jwks: "{url}"
    algorithms: [ES256]
    typ: at+jwt
    rules:
      - claims: {{sub: robot}}
        grants: [{{organization: acme, project: web, may: [read]}}]
      - claims: {{sub: robot, team: infra}}
        grants: [{{organization: acme, project: infra, may: [write]}}]
      - claims: {{email: ann@example.org}}
        grants: [{{organization: acme, project: mail, may: [read]}}]
"#
        );
        let access = Access::parse(&policy, clock.clone(), Limits::default()).unwrap();
        Self {
            host,
            rsa,
            p256,
            clock,
            access,
        }
    }

    async fn bearer(&self, token: &str) -> Result<Caller, Refusal> {
        with_bearer(&self.access, token).await
    }

    /// What becomes of the good token with other claims.
    async fn with_claims(&self, change: impl FnOnce(&mut Value)) -> Result<Caller, Refusal> {
        let mut claims = github_claims();
        change(&mut claims);
        self.bearer(&self.rsa.sign(&claims)).await
    }

    /// What becomes of the good token with another header.
    async fn with_header(&self, change: impl FnOnce(&mut Value)) -> Result<Caller, Refusal> {
        let mut header = self.rsa.header();
        change(&mut header);
        let token = self
            .rsa
            .sign_text(&header.to_string(), &github_claims().to_string());
        self.bearer(&token).await
    }

    async fn assertion(&self, claims: &Value) -> Result<Caller, Refusal> {
        let token = self.rsa.sign(claims);
        self.access
            .authenticate(&headers(&[("cf-access-jwt-assertion", &token)]))
            .await
    }
}

fn github_claims() -> Value {
    json!({
        "iss": GITHUB, "aud": AUDIENCE, "sub": "repo:acme/web:ref:refs/heads/main", "jti": "1",
        "iat": NOW - 5, "nbf": NOW - 305, "exp": NOW + 300,
        "repository": "acme/web", "repository_id": "123",
        "repository_owner": "acme", "repository_owner_id": "45",
        "event_name": "push", "ref": "refs/heads/main", "ref_type": "branch", "run_attempt": "1",
    })
}

fn cloudflare_claims() -> Value {
    json!({
        "iss": CLOUDFLARE, "aud": ["32eafc7626e737dc"], "sub": "7335d417-61da-459d-899c-0a01c76a2f94",
        "email": "ann@example.org", "type": "app", "country": "DE", "identity_nonce": "6ei69kawdKzMIAPF",
        "iat": NOW, "nbf": NOW, "exp": NOW + 24 * 3600,
    })
}

fn assert_refused(outcome: Result<Caller, Refusal>, reason: Reason, what: &str) -> Refusal {
    let refusal = outcome.expect_err(what);
    assert_eq!(refusal.reason(), reason, "{what}: {refusal}");
    assert_eq!(refusal.status(), 401, "{what}: {refusal}");
    refusal
}

fn may(caller: &Caller, verb: Verb, project: &str) -> bool {
    let scope = Scope {
        organization: "acme".into(),
        project: Some(project.into()),
    };
    caller.may(verb, &scope)
}

#[tokio::test]
async fn good_tokens_are_taken_and_named() {
    let world = World::new().await;
    let caller = world.with_claims(|_| {}).await.unwrap();
    assert_eq!(caller.name(), "github:repo:acme/web:ref:refs/heads/main");
    assert!(may(&caller, Verb::Write, "web"));
    assert!(!may(&caller, Verb::Read, "web"));
    assert!(!may(&caller, Verb::Write, "releases"));

    for change in [
        |claims: &mut Value| claims["aud"] = json!([AUDIENCE]),
        |claims: &mut Value| {
            claims.as_object_mut().unwrap().remove("nbf");
        },
        |claims: &mut Value| {
            claims.as_object_mut().unwrap().remove("iat");
        },
        |claims: &mut Value| {
            claims["iat"] = json!(NOW - 60);
            claims["exp"] = json!(NOW - 29);
        },
        |claims: &mut Value| claims["iat"] = json!(NOW + 30),
    ] {
        world.with_claims(change).await.unwrap();
    }
    for change in [
        |header: &mut Value| {
            header.as_object_mut().unwrap().remove("typ");
        },
        |header: &mut Value| header["x5t"] = json!("ykNaY4qM_ta4k2TgZOCEYLkcYlA"),
    ] {
        world.with_header(change).await.unwrap();
    }

    let tag = world
        .with_claims(|claims| claims["ref"] = json!("refs/tags/v1.2"))
        .await
        .unwrap();
    assert!(may(&tag, Verb::Write, "releases") && !may(&tag, Verb::Write, "web"));
    assert_eq!(world.host.asked(), 1);
}

#[tokio::test]
async fn what_several_rules_grant_counts_together() {
    let world = World::new().await;
    let claims = json!({
        "iss": "https://id.example.org", "aud": AUDIENCE, "sub": "robot", "exp": NOW + 60, "team": "infra",
    });
    let mut header = world.p256.header();
    header["typ"] = json!("at+jwt");
    let sign = |claims: &Value| {
        world
            .p256
            .sign_text(&header.to_string(), &claims.to_string())
    };
    let caller = world.bearer(&sign(&claims)).await.unwrap();
    assert_eq!(caller.name(), "house:robot");
    assert!(may(&caller, Verb::Read, "web") && may(&caller, Verb::Write, "infra"));
    assert!(!may(&caller, Verb::Write, "web") && !may(&caller, Verb::Read, "mail"));

    // An address that its issuer did not verify is nobody's.
    let mut ann = claims.clone();
    ann["sub"] = json!("u-77 \u{fc}'");
    ann["email"] = json!("ann@example.org");
    for unverified in [json!(null), json!(false), json!("true"), json!(1)] {
        ann["email_verified"] = unverified;
        let refusal = assert_refused(world.bearer(&sign(&ann)).await, Reason::NoRule, "email");
        assert_eq!(refusal.claimed(), Some("house:u-77 \\u{fc}\\'"));
    }
    ann["email_verified"] = json!(true);
    let caller = world.bearer(&sign(&ann)).await.unwrap();
    assert!(may(&caller, Verb::Read, "mail"));
}

#[tokio::test]
async fn tokens_of_cloudflare_access_come_in_their_header_and_no_other() {
    let world = World::new().await;
    let claims = cloudflare_claims();
    let caller = world.assertion(&claims).await.unwrap();
    assert_eq!(caller.name(), "people:7335d417-61da-459d-899c-0a01c76a2f94");
    assert!(may(&caller, Verb::Read, "anything"));

    let mut service = claims.clone();
    service["sub"] = json!("");
    service["common_name"] = json!("e3b0.access");
    service.as_object_mut().unwrap().remove("email");
    let caller = world.assertion(&service).await.unwrap();
    assert_eq!(caller.name(), "people:common_name:e3b0.access");
    assert!(may(&caller, Verb::Write, "web") && !may(&caller, Verb::Read, "web"));

    let token = world.rsa.sign(&claims);
    assert_refused(world.bearer(&token).await, Reason::BadToken, "as a bearer");
    let outcome = world.assertion(&github_claims()).await;
    assert_refused(outcome, Reason::BadToken, "of GitHub, as an assertion");
    for (sent, reason) in [
        (
            vec![
                ("cf-access-jwt-assertion", token.as_str()),
                ("cf-access-jwt-assertion", token.as_str()),
            ],
            Reason::BadCredentials,
        ),
        // What the client sends itself counts, and it alone.
        (
            vec![
                ("cf-access-jwt-assertion", token.as_str()),
                ("authorization", "Bearer rp_guess"),
            ],
            Reason::BadToken,
        ),
        (
            vec![
                ("cf-access-jwt-assertion", token.as_str()),
                ("authorization", ""),
            ],
            Reason::BadCredentials,
        ),
    ] {
        let outcome = world.access.authenticate(&headers(&sent)).await;
        assert_refused(outcome, reason, "two headers");
    }
}

#[tokio::test]
async fn c09_a_token_without_a_signature_is_none() {
    let world = World::new().await;
    for alg in ["none", "None", "nOnE", "NONE", ""] {
        let outcome = world.with_header(|header| header["alg"] = json!(alg)).await;
        assert_refused(outcome, Reason::BadToken, alg);
    }
    let good = world.rsa.sign(&github_claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let mut flipped = signature.to_owned();
    let first = if flipped.starts_with('A') { "B" } else { "A" };
    flipped.replace_range(..1, first);
    let of_another = Key::p256("rsa-1").sign(&github_claims());
    let header = json!({"alg": "none", "kid": "rsa-1"}).to_string();
    let unsigned = format!(
        "{}.{}.",
        encode(header),
        encode(github_claims().to_string())
    );
    for token in [
        format!("{signed}."),
        signed.to_owned(),
        format!("{signed}.{flipped}"),
        format!("{signed}.{}", encode([0; 256])),
        format!("{signed}.{signature}="),
        format!("{signed}.{signature}."),
        format!("{good}.{signature}"),
        format!(".{signed}.{signature}"),
        format!("{signed}.{}", signature.replace('_', "/").replace('-', "+")),
        of_another,
        unsigned,
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
    ] {
        // A signature that happens to have neither letter is the good one still.
        if token != good {
            assert_refused(world.bearer(&token).await, Reason::BadToken, &token);
        }
    }
    assert!(world.bearer(&good).await.is_ok());
}

#[tokio::test]
async fn c10_an_algorithm_that_is_not_the_issuers_is_refused() {
    let world = World::new().await;
    // Signed with what everybody knows, as if it were a shared secret.
    let n = world.rsa.jwk()["n"].as_str().unwrap().to_owned();
    let jwk = world.rsa.jwk().to_string();
    let pem = include_str!("../fixtures/access-rsa-2048.pem");
    for secret in [n.as_bytes(), jwk.as_bytes(), pem.as_bytes(), b""] {
        let header = json!({"alg": "HS256", "kid": "rsa-1", "typ": "JWT"}).to_string();
        let signed = format!("{}.{}", encode(header), encode(github_claims().to_string()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let token = format!("{signed}.{}", encode(hmac::sign(&key, signed.as_bytes())));
        assert_refused(world.bearer(&token).await, Reason::BadToken, "HS256");
    }
    for alg in [
        "HS256", "RS384", "RS512", "PS256", "ES384", "EdDSA", "rs256", "RS256 ",
    ] {
        let outcome = world.with_header(|header| header["alg"] = json!(alg)).await;
        assert_refused(outcome, Reason::BadToken, alg);
    }
    // A genuine key of the issuer, and an algorithm that is taken, but not from it.
    let outcome = world.bearer(&world.p256.sign(&github_claims())).await;
    let refusal = assert_refused(outcome, Reason::BadToken, "ES256");
    assert!(refusal.detail().contains("alg=`ES256`"), "{refusal}");
    // The right algorithm over a key of another kind.
    let outcome = world
        .with_header(|header| header["kid"] = json!("p256-1"))
        .await;
    let refusal = assert_refused(outcome, Reason::BadToken, "key of another kind");
    assert!(refusal.detail().contains("another algorithm"), "{refusal}");
}

#[tokio::test]
async fn c11_an_end_that_is_no_whole_number_of_seconds_in_reach_is_refused() {
    let world = World::new().await;
    let good = github_claims().to_string();
    let exp = format!("\"exp\":{}", NOW + 300);
    assert!(good.contains(&exp));
    for value in [
        "null",
        "\"9999999999\"",
        "-1",
        "1e300",
        "1.5e9",
        "1795176300.0",
        "1795176300.5",
        "[]",
        "{}",
        "true",
        "253402300800",
        "18446744073709551615",
        "18446744073709551616",
        "-0",
        "99999999999999999999999999",
    ] {
        let claims = good.replace(&exp, &format!("\"exp\":{value}"));
        let token = world
            .rsa
            .sign_text(&world.rsa.header().to_string(), &claims);
        let refusal = assert_refused(world.bearer(&token).await, Reason::BadClaims, value);
        assert_eq!(
            refusal.claimed(),
            Some("github:repo:acme/web:ref:refs/heads/main")
        );
    }
    let outcome = world
        .with_claims(|claims| {
            claims.as_object_mut().unwrap().remove("exp");
        })
        .await;
    assert_refused(outcome, Reason::BadClaims, "without an end");
    let expired: [(u64, &str); 3] = [
        (0, "1970"),
        (NOW - 3600, "an hour ago"),
        (NOW - 30, "the leeway"),
    ];
    for (exp, what) in expired {
        let outcome = world
            .with_claims(|claims| {
                claims["exp"] = json!(exp);
                claims["iat"] = json!(exp.saturating_sub(60));
                claims["nbf"] = json!(exp.saturating_sub(60));
            })
            .await;
        assert_refused(outcome, Reason::Expired, what);
    }
    let end = world
        .with_claims(|claims| claims["exp"] = json!(253_402_300_799_u64))
        .await;
    assert_refused(end, Reason::BadClaims, "lives for thousands of years");
    let day = |seconds: u64| {
        move |claims: &mut Value| claims["exp"] = json!(NOW - 5 + 24 * 3600 + seconds)
    };
    assert!(world.with_claims(day(0)).await.is_ok());
    assert_refused(
        world.with_claims(day(1)).await,
        Reason::BadClaims,
        "a day and a second",
    );
    let outcome = world
        .with_claims(|claims| {
            claims["iat"] = json!(NOW);
            claims["exp"] = json!(NOW - 1);
        })
        .await;
    assert_refused(outcome, Reason::BadClaims, "ends before it begins");
    let outcome = world
        .with_claims(|claims| {
            claims["exp"] = json!(NOW + 24 * 3600 + 1);
            claims.as_object_mut().unwrap().remove("iat");
        })
        .await;
    assert_refused(outcome, Reason::BadClaims, "a day and a second are left");
}

#[tokio::test]
async fn c12_a_token_whose_time_has_not_come_is_refused() {
    let world = World::new().await;
    for (nbf, reason) in [
        (json!(NOW + 31), Reason::NotYetValid),
        (json!(NOW + 86_400), Reason::NotYetValid),
        (json!("0"), Reason::BadClaims),
        (json!(null), Reason::BadClaims),
        (json!(1.5), Reason::BadClaims),
        (json!(-1), Reason::BadClaims),
    ] {
        let what = nbf.to_string();
        let outcome = world.with_claims(|claims| claims["nbf"] = nbf).await;
        assert_refused(outcome, reason, &what);
    }
    let leeway = world
        .with_claims(|claims| claims["nbf"] = json!(NOW + 30))
        .await;
    assert!(leeway.is_ok());
}

#[tokio::test]
async fn c13_a_token_that_was_made_in_the_future_is_refused() {
    let world = World::new().await;
    for (iat, reason) in [
        (json!(NOW + 31), Reason::NotYetValid),
        (json!(NOW + 100 * 365 * 86_400), Reason::NotYetValid),
        (json!("now"), Reason::BadClaims),
        (json!(null), Reason::BadClaims),
        (json!(1e300), Reason::BadClaims),
    ] {
        let what = iat.to_string();
        let outcome = world.with_claims(|claims| claims["iat"] = iat).await;
        assert_refused(outcome, reason, &what);
    }
}

#[tokio::test]
async fn c14_an_issuer_that_is_not_one_text_or_not_exactly_ours_is_refused() {
    let world = World::new().await;
    for iss in [
        json!([GITHUB]),
        json!([GITHUB, "https://evil.example"]),
        json!({"iss": GITHUB}),
        json!(null),
        json!(1),
        json!(format!("{GITHUB}/")),
        json!(GITHUB.to_uppercase()),
        json!(format!("{GITHUB}.evil.example")),
        json!(""),
    ] {
        let what = iss.to_string();
        let outcome = world.with_claims(|claims| claims["iss"] = iss).await;
        assert_refused(outcome, Reason::BadToken, &what);
    }
    // Twice, so that two readers may read two things.
    let header = world.rsa.header().to_string();
    for claims in [
        github_claims()
            .to_string()
            .replacen('{', "{\"iss\":\"https://evil.example\",", 1),
        github_claims().to_string().replacen('{', "{\"exp\":1,", 1),
        format!("[{}]", github_claims()),
        format!("{} ,", github_claims()),
        format!("\u{feff}{}", github_claims()),
        "null".to_owned(),
        String::new(),
    ] {
        let outcome = world.bearer(&world.rsa.sign_text(&header, &claims)).await;
        assert_refused(outcome, Reason::BadToken, &claims);
    }
}

#[tokio::test]
async fn c15_a_header_that_asks_for_other_rules_is_refused() {
    let world = World::new().await;
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("cty", json!("JWT")),
        ("unknown", json!(1)),
    ] {
        let outcome = world.with_header(|header| header[name] = value).await;
        assert_refused(outcome, Reason::BadToken, name);
    }
    let claims = github_claims().to_string();
    for header in [
        r#"{"alg":"none","alg":"RS256","kid":"rsa-1"}"#,
        r#"{"alg":"RS256","kid":"rsa-1","kid":"rsa-1"}"#,
        r#"["RS256","rsa-1"]"#,
        r#"{"alg":["RS256"],"kid":"rsa-1"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"kid":"rsa-1"}"#,
        r#"{"alg":"RS256","kid":"rsa-1"}{}"#,
        "{}",
        "",
    ] {
        let outcome = world.bearer(&world.rsa.sign_text(header, &claims)).await;
        assert_refused(outcome, Reason::BadToken, header);
    }
}

#[tokio::test]
async fn c16_a_token_of_another_class_is_refused() {
    let world = World::new().await;
    for typ in [
        json!("at+jwt"),
        json!("dpop+jwt"),
        json!("application/jwt"),
        json!("logout+jwt"),
        json!("jwt"),
        json!(""),
        json!(null),
        json!(["JWT"]),
    ] {
        let what = typ.to_string();
        let outcome = world.with_header(|header| header["typ"] = typ).await;
        assert_refused(outcome, Reason::BadToken, &what);
    }
    // Where the policy names a class, an ordinary token is of another.
    let claims =
        json!({"iss": "https://id.example.org", "aud": AUDIENCE, "sub": "robot", "exp": NOW + 60});
    let outcome = world.bearer(&world.p256.sign(&claims)).await;
    assert_refused(outcome, Reason::BadToken, "JWT for at+jwt");
}

#[tokio::test]
async fn c17_a_token_does_not_bring_its_key() {
    let world = World::new().await;
    let evil = Key::p256("evil");
    let evil_host = Host::start(key_set(&[&evil])).await;
    for (name, value) in [
        ("jku", json!(evil_host.url())),
        ("x5u", json!(evil_host.url())),
        ("jwk", evil.jwk()),
        ("x5c", json!(["MIIB"])),
    ] {
        let outcome = world
            .with_header(|header| header[name] = value.clone())
            .await;
        assert_refused(outcome, Reason::BadToken, name);
    }
    assert_eq!(evil_host.asked(), 0);
}

#[tokio::test]
async fn c36_no_address_of_a_token_is_ever_asked() {
    let world = World::new().await;
    let evil = Key::p256("evil");
    let evil_host = Host::start(key_set(&[&evil])).await;
    let url = evil_host.url();
    for name in ["iss", "aud", "sub", "ref", "repository", "jku", "jwks_uri"] {
        let outcome = world.with_claims(|claims| claims[name] = json!(url)).await;
        assert!(outcome.is_err() || ["repository", "jku", "jwks_uri", "sub"].contains(&name));
    }
    let outcome = world.with_header(|header| header["kid"] = json!(url)).await;
    assert_refused(outcome, Reason::BadToken, "kid");
    assert_eq!(evil_host.asked(), 0);
}

#[tokio::test]
async fn c18_the_id_of_a_key_is_only_looked_up_and_never_long() {
    let world = World::new().await;
    for kid in [
        "../../../../dev/null",
        "rsa-1' OR '1'='1",
        "RSA-1",
        "rsa-1 ",
        "",
        "\u{0}",
        "__proto__",
    ] {
        let outcome = world.with_header(|header| header["kid"] = json!(kid)).await;
        assert_refused(outcome, Reason::BadToken, kid);
    }
    for (bytes, reason) in [
        (256, Reason::BadToken),
        (257, Reason::BadToken),
        (5_000, Reason::BadToken),
        (8 << 10, Reason::BadCredentials),
        (1 << 20, Reason::BadCredentials),
    ] {
        let long = "k".repeat(bytes);
        let outcome = world
            .with_header(|header| header["kid"] = json!(long))
            .await;
        let refusal = assert_refused(outcome, reason, "long");
        assert!(refusal.detail().len() < 300, "{refusal}");
    }
    let outcome = world
        .with_header(|header| header["kid"] = json!(["rsa-1"]))
        .await;
    assert_refused(outcome, Reason::BadToken, "a list");
    // Deep, and still within the size.
    let deep = format!("{{\"iss\":{}1{}}}", "[".repeat(2_000), "]".repeat(2_000));
    let outcome = world
        .bearer(&world.rsa.sign_text(&world.rsa.header().to_string(), &deep))
        .await;
    assert_refused(outcome, Reason::BadToken, "deep");
}

#[tokio::test]
async fn c22_a_token_for_another_audience_is_refused_and_named() {
    let world = World::new().await;
    for aud in [
        json!("https://github.com/acme"),
        json!("sts.amazonaws.com"),
        json!(format!("{AUDIENCE}/")),
        json!(AUDIENCE.to_uppercase()),
        json!([]),
        json!([AUDIENCE, "sts.amazonaws.com"]),
        json!([AUDIENCE, AUDIENCE]),
        json!([[AUDIENCE]]),
        json!({"aud": AUDIENCE}),
        json!(null),
        json!(""),
    ] {
        let what = aud.to_string();
        let outcome = world.with_claims(|claims| claims["aud"] = aud).await;
        let refusal = assert_refused(outcome, Reason::WrongAudience, &what);
        assert_eq!(
            refusal.claimed(),
            Some("github:repo:acme/web:ref:refs/heads/main")
        );
    }
    let outcome = world
        .with_claims(|claims| {
            claims.as_object_mut().unwrap().remove("aud");
        })
        .await;
    assert_refused(outcome, Reason::WrongAudience, "for nobody");

    for (aud, is_taken) in [
        (json!(["32eafc7626e737dc", "another-app"]), true),
        (json!("32eafc7626e737dc"), true),
        (json!(["another-app"]), false),
        (json!(["32eafc7626e737dc0"]), false),
        (json!(["32eafc7626e737dc", 7]), false),
    ] {
        let mut claims = cloudflare_claims();
        claims["aud"] = aud.clone();
        assert_eq!(world.assertion(&claims).await.is_ok(), is_taken, "{aud}");
    }
}

#[tokio::test]
async fn c23_a_run_counts_by_numbers_event_and_ref_and_never_by_name() {
    let world = World::new().await;
    for (claim, value) in [
        // The name is the same: the repository was deleted and registered again, or moved.
        ("repository_id", json!("124")),
        ("repository_owner_id", json!("46")),
        ("repository_id", json!(123)),
        ("repository_id", json!(["123"])),
        ("repository_id", json!("0123")),
        ("repository_id", json!(" 123")),
        ("repository_id", json!(null)),
        ("event_name", json!("pull_request_target")),
        ("event_name", json!("workflow_run")),
        ("event_name", json!("pull_request")),
        ("event_name", json!("Push")),
        ("ref", json!("refs/heads/mains")),
        ("ref", json!("refs/heads/mai")),
        ("ref", json!("refs/pull/7/merge")),
        ("ref", json!("refs/heads/v1")),
        ("ref", json!("refs/tags/")),
        ("ref", json!("refs/tags/w1")),
    ] {
        let what = format!("{claim} {value}");
        let outcome = world.with_claims(|claims| claims[claim] = value).await;
        let refusal = assert_refused(outcome, Reason::NoRule, &what);
        assert_eq!(
            refusal.claimed(),
            Some("github:repo:acme/web:ref:refs/heads/main")
        );
    }
    for claim in ["repository_id", "repository_owner_id", "event_name", "ref"] {
        let outcome = world
            .with_claims(|claims| {
                claims.as_object_mut().unwrap().remove(claim);
            })
            .await;
        assert_refused(outcome, Reason::NoRule, claim);
    }
    // The name counts for nothing, either way.
    let renamed = world
        .with_claims(|claims| claims["repository"] = json!("acme/renamed"))
        .await;
    assert!(renamed.is_ok());
}

#[tokio::test]
async fn a_subject_that_cannot_be_a_name_is_refused() {
    let world = World::new().await;
    for sub in [
        json!(""),
        json!(null),
        json!(["repo:acme/web"]),
        json!(1),
        json!("a\nb"),
        json!("a\u{1b}[31m"),
        json!("a\u{9b}"),
        json!("s".repeat(257)),
    ] {
        let what = sub.to_string();
        let outcome = world.with_claims(|claims| claims["sub"] = sub).await;
        assert_refused(outcome, Reason::BadClaims, &what);
    }
    let longest = world
        .with_claims(|claims| claims["sub"] = json!("s".repeat(256)))
        .await;
    assert!(longest.is_ok());
}

#[tokio::test]
async fn c25_the_same_token_again_is_the_same_caller() {
    let world = World::new().await;
    let token = world.rsa.sign(&github_claims());
    let first = world.bearer(&token).await.unwrap();
    let again = world.bearer(&token).await.unwrap();
    assert_eq!(first.name(), again.name());
    assert_eq!(first.grants(), again.grants());
}

#[tokio::test]
async fn t01_a_clock_that_jumps_ends_tokens_and_touches_no_keys() {
    let world = World::new().await;
    let token = world.rsa.sign(&github_claims());
    assert!(world.bearer(&token).await.is_ok());
    world.clock.set(0);
    let outcome = world.bearer(&token).await;
    assert_refused(outcome, Reason::NotYetValid, "1970");
    world.clock.set(Timestamp::MAX.unix_seconds());
    assert_refused(world.bearer(&token).await, Reason::Expired, "9999");
    world.clock.set(NOW);
    assert!(world.bearer(&token).await.is_ok());
    assert_eq!(world.host.asked(), 1);
}

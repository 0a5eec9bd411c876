//! Policies that are refused, and what is said about them.

use super::*;

const TOKEN: &str = r#"
  - name: ci
    sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    expires: "2027-01-01T00:00:00Z"
    grants: [{organization: acme, project: web, may: [read, write]}]
"#;

const GITHUB: &str = r#"
  - name: github
    kind: github-actions
    issuer: "https://token.actions.githubusercontent.com"
    audience: "https://runpack.example.org"
    jwks: "http://127.0.0.1:1/keys"
    algorithms: [RS256]
    rules:
      - claims: {repository_id: "123", repository_owner_id: "45", event_name: push, ref: refs/heads/main}
        grants: [{organization: acme, project: web, may: [write]}]
"#;

const CLOUDFLARE: &str = r#"
  - name: people
    kind: cloudflare-access
    issuer: "https://acme.cloudflareaccess.com"
    audience: "32eafc7626e737dc"
    jwks: "http://[::1]:1/keys"
    algorithms: [RS256, ES256]
    rules:
      - claims: {email: ann@example.org}
        grants: [{organization: acme, project: "*", may: [read]}]
"#;

fn good() -> String {
    format!("tokens:{TOKEN}issuers:{GITHUB}{CLOUDFLARE}")
}

fn parse(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(text, Path::new(""), &Limits::default(), None)
}

#[test]
fn a_policy_is_what_it_says() {
    let policy = parse(&good()).unwrap();
    assert_eq!(policy.tokens.0.len(), 1);
    assert_eq!(policy.issuers.len(), 2);
    assert_eq!(policy.takes_assertions(), Assertions::Taken);
    let policy = parse(&format!("issuers:{GITHUB}")).unwrap();
    assert_eq!(policy.takes_assertions(), Assertions::Ignored);
    // Several tokens of one name, for rotation.
    let second = TOKEN
        .replace("9f86", "0000")
        .replace("    expires: \"2027-01-01T00:00:00Z\"\n", "");
    let policy = parse(&format!("tokens:{TOKEN}{second}")).unwrap();
    assert_eq!(policy.tokens.0.len(), 2);
}

#[test]
fn what_is_wrong_with_a_policy_is_told_with_its_place() {
    let good = good();
    let told: Vec<String> = [
        ("may: [read, write]", "may: [read, own]"),
        ("may: [read, write]", "may: []"),
        ("may: [read, write]", "may: [read, read]"),
        (
            "[{organization: acme, project: web, may: [read, write]}]",
            "[]",
        ),
        (
            "organization: acme, project: web, may: [read",
            "organization: \"*\", project: web, may: [read",
        ),
        ("project: web, may: [read", "project: a/b, may: [read"),
        ("name: ci", "name: \"c i\""),
        ("9f86d0", "9F86D0"),
        ("9f86d0", "rp_86d"),
        ("2027-01-01T00:00:00Z", "2027-01-01"),
        ("name: github", "name: token"),
        ("name: github", "name: people"),
        ("name: github", "name: git:hub"),
        (
            "https://acme.cloudflareaccess.com",
            "https://token.actions.githubusercontent.com",
        ),
        ("kind: github-actions", "kind: github"),
        ("kind: github-actions", "kind: oidc"),
        ("algorithms: [RS256]", "algorithms: [HS256]"),
        ("algorithms: [RS256]", "algorithms: [RS256, none]"),
        ("algorithms: [RS256]", "algorithms: []"),
        ("http://127.0.0.1:1/keys", "http://192.0.2.1/keys"),
        (
            "http://127.0.0.1:1/keys",
            "http://127.0.0.1.example.org/keys",
        ),
        ("http://127.0.0.1:1/keys", "http://localhost/keys"),
        (
            "http://127.0.0.1:1/keys",
            "https://user:secret@example.org/keys",
        ),
        ("http://127.0.0.1:1/keys", "https://example.org/keys#part"),
        ("http://127.0.0.1:1/keys", "file:///etc/keys"),
        ("http://127.0.0.1:1/keys", "/keys"),
        (
            "audience: \"https://runpack.example.org\"",
            "audience: \"\"",
        ),
        (
            "audience: \"https://runpack.example.org\"",
            "audience: \"a b\"",
        ),
        ("{email: ann@example.org}", "{}"),
        ("{email: ann@example.org}", "{email: \"*@example.org\"}"),
        ("{email: ann@example.org}", "{email: \"ann*\"}"),
        ("{email: ann@example.org}", "{email: \"\"}"),
        ("{email: ann@example.org}", "{country: DE}"),
        ("kind: cloudflare-access", "kind: oidc\n    typ: \"\""),
    ]
    .into_iter()
    .map(|(from, to)| {
        assert!(good.contains(from), "{from}");
        let error = parse(&good.replacen(from, to, 1))
            .expect_err(to)
            .to_string();
        format!("{to}\n    {error}")
    })
    .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn c23_a_rule_that_strangers_could_meet_is_refused() {
    let good = format!("issuers:{GITHUB}");
    assert!(parse(&good).is_ok());
    let told: Vec<String> = [
        ("repository_id: \"123\", ", ""),
        ("repository_owner_id: \"45\", ", ""),
        ("event_name: push, ", ""),
        (", ref: refs/heads/main", ""),
        ("repository_id: \"123\"", "repository: acme/web"),
        ("repository_id: \"123\"", "repository_id: acme/web"),
        ("event_name: push", "event_name: pull_request_target"),
        ("event_name: push", "event_name: workflow_run"),
        ("event_name: push", "event_name: \"*\""),
        ("ref: refs/heads/main", "ref: \"*\""),
        ("ref: refs/heads/main", "ref: \"refs/*\""),
        ("ref: refs/heads/main", "ref: \"refs/pull/*\""),
        ("ref: refs/heads/main", "ref: \"refs/heads/*/x\""),
        ("ref: refs/heads/main", "ref: \"refs/heads/**\""),
    ]
    .into_iter()
    .map(|(from, to)| {
        assert!(good.contains(from), "{from}");
        let error = parse(&good.replacen(from, to, 1))
            .expect_err(to)
            .to_string();
        format!("{from} -> {to}\n    {error}")
    })
    .collect();
    insta::assert_snapshot!(told.join("\n"));
    for to in ["refs/heads/*", "refs/heads/release/*", "refs/tags/v*"] {
        let text = good.replace("ref: refs/heads/main", &format!("ref: \"{to}\""));
        assert!(parse(&text).is_ok(), "{to}");
    }
}

#[test]
fn b32_what_is_ambiguous_is_refused_and_not_repeated() {
    let good = good();
    let told: Vec<String> = [
        good.replacen("name: ci", "name: ci\n    name: cd", 1),
        good.replacen("name: ci", "name: ci\n    token: rp_abcdef", 1),
        good.replacen(
            "    sha256: \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\n",
            "",
            1,
        ),
        good.replacen("\"2027-01-01T00:00:00Z\"", "", 1),
        good.replacen("\"2027-01-01T00:00:00Z\"", "null", 1),
        good.replacen("{email: ann@example.org}", "{email: a, email: b}", 1),
        good.replacen("{email: ann@example.org}", "{email: [rp_abcdef]}", 1),
        good.replacen("{email: ann@example.org}", "{email: null}", 1),
        good.replacen(
            "{organization: acme, project: \"*\", may: [read]}",
            "[acme, web, [read]]",
            1,
        ),
        good.replacen("algorithms: [RS256]", "algorithms: RS256", 1),
        good.replacen("name: ci", "<<: {name: rp_abcdef}", 1),
        good.replacen("name: ci", "name: !secret rp_abcdef", 1),
        format!("{good}---\n{good}"),
        "tokens: rp_abcdef".to_owned(),
        "rp_abcdef".to_owned(),
        "- rp_abcdef".to_owned(),
        "tokens: [".to_owned(),
        "tokens:".to_owned(),
        "{}".to_owned(),
        String::new(),
        format!("tokens:{TOKEN}{TOKEN}"),
    ]
    .into_iter()
    .map(|text| {
        assert_ne!(text, good);
        let error = parse(&text).expect_err(&text).to_string();
        assert!(!error.contains("abcdef"), "{error}");
        error
    })
    .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_text_is_what_is_written() {
    let text =
        format!("issuers:{CLOUDFLARE}").replace("email: ann@example.org", "common_name: 0x1F");
    let policy = parse(&text).unwrap();
    let shown = format!("{:?}", policy.issuers[0].rules);
    assert!(shown.contains("0x1F"), "{shown}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let load = |path: &Path| Policy::load(path, &Limits::default(), None);
    let path = directory.path().join("access.yaml");
    assert!(matches!(load(&path), Err(PolicyError::Io { path: of, .. }) if of == path));
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(load(&path), Err(PolicyError::Form { .. })));
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(matches!(load(&path), Err(PolicyError::Io { .. })));

    let with_ca = GITHUB.replace("    algorithms", "    ca_file: ca.pem\n    algorithms");
    std::fs::write(&path, format!("issuers:{with_ca}")).unwrap();
    let ca = directory.path().join("ca.pem");
    assert!(matches!(load(&path), Err(PolicyError::Io { path: of, .. }) if of == ca));
    for bad in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&ca, bad).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("issuers[0].ca_file"), "{error}");
    }
}

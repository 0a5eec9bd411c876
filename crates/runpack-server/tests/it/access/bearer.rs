//! Bearer tokens of our own, and the header that they come in.

use std::fs;

use axum::http::StatusCode;
use runpack_server::access::{Access, Limits, NewToken, Reason, Scope, Verb};
use runpack_server::problem::Problem;

use super::{NOW, SetClock, headers, with_bearer};

fn entry(name: &str, token: &NewToken, more: &str) -> String {
    format!(
        "  - name: {name}\n    sha256: {}\n{more}    grants: [{{organization: acme, project: web, may: [write]}}]\n",
        token.sha256()
    )
}

#[tokio::test]
async fn c07_only_one_header_with_one_bearer_token_lets_somebody_in() {
    let token = NewToken::generate().unwrap();
    let policy = format!("tokens:\n{}", entry("ci", &token, ""));
    let access = Access::parse(&policy, SetClock::new(NOW), Limits::default()).unwrap();
    let secret = token.secret();
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let value = format!("{scheme} {secret}");
        let caller = access
            .authenticate(&headers(&[("authorization", &value)]))
            .await
            .unwrap();
        assert_eq!(caller.name(), "token:ci");
        assert!(caller.may(
            Verb::Write,
            &Scope {
                organization: "acme".into(),
                project: Some("web".into()),
            }
        ));
    }
    let good = format!("Bearer {secret}");
    let changed = {
        let end = if secret.ends_with('A') { "B" } else { "A" };
        format!("Bearer {}{end}", &secret[..secret.len() - 1])
    };
    let long = format!("Bearer {}", "a".repeat(8 << 10));
    let too_long = format!("{long}a");
    let (no, malformed, bad) = (
        Reason::NoCredentials,
        Reason::BadCredentials,
        Reason::BadToken,
    );
    for (sent, reason) in [
        (vec![], no),
        (vec![("x-authorization", good.as_str())], no),
        (vec![("cookie", secret)], no),
        (vec![("cf-access-jwt-assertion", secret)], no),
        (vec![("authorization", "")], malformed),
        (vec![("authorization", "Bearer")], malformed),
        (vec![("authorization", "Bearer ")], malformed),
        (vec![("authorization", secret)], malformed),
        (
            vec![("authorization", &format!("Basic {secret}"))],
            malformed,
        ),
        (
            vec![("authorization", &format!("Bearer  {secret}"))],
            malformed,
        ),
        (
            vec![("authorization", &format!("Bearer\t{secret}"))],
            malformed,
        ),
        (
            vec![("authorization", &format!("Bearer:{secret}"))],
            malformed,
        ),
        (
            vec![("authorization", &format!("Bearer \"{secret}\""))],
            malformed,
        ),
        (
            vec![("authorization", &format!("{good},{good}"))],
            malformed,
        ),
        (
            vec![("authorization", &format!("{good}, Basic eA=="))],
            malformed,
        ),
        (vec![("authorization", &format!("{good} more"))], malformed),
        (vec![("authorization", &format!("{good}\u{fc}"))], malformed),
        (
            vec![("authorization", &good), ("authorization", &good)],
            malformed,
        ),
        (
            vec![("authorization", &good), ("authorization", "")],
            malformed,
        ),
        (vec![("authorization", &too_long)], malformed),
        (vec![("authorization", &long)], bad),
        (vec![("authorization", &changed)], bad),
        (vec![("authorization", &good.replace("rp_", ""))], bad),
        (
            vec![("authorization", &format!("Bearer {}", token.sha256()))],
            bad,
        ),
        (vec![("authorization", "Bearer rp_")], bad),
    ] {
        let refusal = access.authenticate(&headers(&sent)).await.unwrap_err();
        assert_eq!(refusal.reason(), reason, "{sent:?}");
        assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(refusal.claimed(), None);
        let told = format!("{refusal} {refusal:?}");
        assert!(!told.contains(&secret[3..]), "{told}");
    }
}

#[tokio::test]
async fn c08_an_answer_does_not_tell_how_near_a_guess_came() {
    let token = NewToken::generate().unwrap();
    let policy = format!("tokens:\n{}", entry("ci", &token, ""));
    let access = Access::parse(&policy, SetClock::new(NOW), Limits::default()).unwrap();
    let secret = token.secret();
    let mut refusals = Vec::new();
    for length in 1..secret.len() {
        refusals.push(with_bearer(&access, &secret[..length]).await.unwrap_err());
    }
    refusals.push(
        with_bearer(&access, &format!("{secret}A"))
            .await
            .unwrap_err(),
    );
    let first = refusals[0].clone();
    assert!(refusals.iter().all(|refusal| *refusal == first));
    assert_eq!(first.reason(), Reason::BadToken);
}

#[tokio::test]
async fn a_token_is_replaced_without_a_gap_and_ends_when_it_should() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.yaml");
    let (old, new) = (NewToken::generate().unwrap(), NewToken::generate().unwrap());
    let clock = SetClock::new(NOW);
    fs::write(&path, format!("tokens:\n{}", entry("ci", &old, ""))).unwrap();
    let access = Access::load(&path, clock.clone()).unwrap();
    assert!(with_bearer(&access, old.secret()).await.is_ok());
    assert!(with_bearer(&access, new.secret()).await.is_err());

    let until = "    expires: \"2026-11-20T12:00:10Z\"\n";
    let both = format!(
        "tokens:\n{}{}",
        entry("ci", &old, until),
        entry("ci", &new, "")
    );
    fs::write(&path, &both).unwrap();
    assert!(with_bearer(&access, new.secret()).await.is_err());
    access.reload().unwrap();
    for token in [&old, &new] {
        let caller = with_bearer(&access, token.secret()).await.unwrap();
        assert_eq!(caller.name(), "token:ci");
    }
    clock.set(NOW + 9);
    assert!(with_bearer(&access, old.secret()).await.is_ok());
    clock.set(NOW + 10);
    let refusal = with_bearer(&access, old.secret()).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::Expired);
    assert_eq!(refusal.claimed(), Some("token:ci"));
    assert!(with_bearer(&access, new.secret()).await.is_ok());

    // A policy that does not hold changes nothing, and no half of it is in force.
    fs::write(&path, both.replace("may: [write]", "may: [own]")).unwrap();
    let error = access.reload().unwrap_err().to_string();
    assert!(error.contains("tokens[0].grants[0].may"), "{error}");
    assert!(with_bearer(&access, new.secret()).await.is_ok());
    fs::remove_file(&path).unwrap();
    assert!(access.reload().is_err());
    assert!(with_bearer(&access, new.secret()).await.is_ok());

    fs::write(&path, format!("tokens:\n{}", entry("ci", &new, ""))).unwrap();
    access.reload().unwrap();
    assert!(with_bearer(&access, new.secret()).await.is_ok());
    let refusal = with_bearer(&access, old.secret()).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::BadToken);
}

#[test]
fn a_new_token_is_random_and_does_not_show_itself() {
    let (one, two) = (NewToken::generate().unwrap(), NewToken::generate().unwrap());
    assert_ne!(one.secret(), two.secret());
    for token in [&one, &two] {
        let random = token.secret().strip_prefix("rp_").unwrap();
        assert_eq!(random.len(), 43);
        assert!(
            random
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        assert_eq!(
            token.sha256(),
            runpack_core::digest::Digest::of(token.secret().as_bytes())
        );
        let shown = format!("{token:?}");
        assert!(!shown.contains(random), "{shown}");
    }
}

#[tokio::test]
async fn a_refusal_is_a_problem_for_the_client_without_its_detail() {
    let token = NewToken::generate().unwrap();
    let policy = format!("tokens:\n{}", entry("ci", &token, ""));
    let access = Access::parse(&policy, SetClock::new(NOW), Limits::default()).unwrap();
    let refusal = with_bearer(&access, "rp_guess").await.unwrap_err();
    let problem = Problem::from(&refusal);
    assert_eq!(
        (problem.status(), problem.code(), problem.detail()),
        (401, "unauthenticated", "this token is not accepted here")
    );
    assert!(!problem.detail().contains(refusal.detail()));
}

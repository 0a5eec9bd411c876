//! Reports: computed from what was measured, and claiming no more.

use runpack_core::attestation::{
    AttemptResult, Attestation, Basis, Claim, Control, Expected, LegalHold, Mode, Predicate,
    Verdict, sign, verify,
};
use runpack_enterprise::report::{Outcome, Report, RuleSet};

use crate::sample;

fn attested(predicate: &Predicate) -> Attestation {
    let manifest = sample::manifest();
    let expected = Expected::Manifest(&manifest);
    let file = sign(expected, "run-1", predicate, &sample::key())
        .unwrap()
        .to_bytes();
    verify(&file, &sample::trusted(), expected).unwrap()
}

pub(crate) fn report(rules: RuleSet, change: impl FnOnce(&mut Predicate)) -> Report {
    let mut predicate = sample::predicate();
    change(&mut predicate);
    predicate.retained_until = Predicate::least_retention(&predicate.objects);
    Report::new(&attested(&predicate), rules, None)
}

fn sec(id: &str, change: impl FnOnce(&mut Predicate)) -> (Outcome, Basis) {
    let report = report(RuleSet::Sec17a4, change);
    let found = report
        .controls
        .iter()
        .find(|control| control.id.contains(id));
    let found = found.unwrap();
    (found.result, found.basis)
}

fn all_outputs(report: &Report) -> [String; 3] {
    [
        String::from_utf8(report.to_json()).unwrap(),
        report.to_html(),
        String::from_utf8(report.to_oscal()).unwrap(),
    ]
}

pub(crate) type Change = fn(&mut Predicate);

/// States of a store, from sound to broken.
pub(crate) fn states() -> Vec<Change> {
    vec![
        |_| {},
        |p| {
            p.objects
                .iter_mut()
                .for_each(|object| object.mode = Mode::Governance);
        },
        |p| {
            for object in &mut p.objects {
                object.mode = Mode::None;
                object.retain_until = None;
                object.legal_hold = LegalHold::Off;
            }
        },
        |p| p.enforcement = Claim::not_observed(),
        |p| {
            let tested = p.enforcement.value.as_mut().unwrap();
            tested.attempts[0].result = AttemptResult::Succeeded;
            tested.verdict = Verdict::NotEnforced;
        },
        |p| p.holds = Claim::not_observed(),
        |p| p.objects[0].content = Basis::NotObserved,
    ]
}

#[test]
fn results_follow_from_what_was_measured() {
    let worm = "(f)(2)(i)(B)";
    let proven = (Outcome::Met, Basis::Measured);
    let unknown = (Outcome::NotObserved, Basis::NotObserved);
    assert_eq!(sec(worm, |_| {}), proven);
    assert_eq!(
        sec(worm, |p| p.enforcement = Claim::not_observed()),
        unknown
    );
    assert_eq!(
        sec(worm, |p| {
            let tested = p.enforcement.value.as_mut().unwrap();
            tested.attempts[0].control = Control::Refused;
            tested.verdict = Verdict::NotProven;
        }),
        unknown
    );
    assert_eq!(
        sec(worm, |p| {
            let tested = p.enforcement.value.as_mut().unwrap();
            tested.attempts[0].result = AttemptResult::Succeeded;
            tested.verdict = Verdict::NotEnforced;
        })
        .0,
        Outcome::NotMet
    );
    assert_eq!(
        sec(worm, |p| {
            p.objects[0].mode = Mode::NotObserved;
            p.objects[0].lock_basis = Basis::NotObserved;
            p.objects[0].retain_until = None;
        }),
        unknown
    );
    assert_eq!(
        sec(worm, |p| p.objects[0].lock_basis = Basis::ProviderAsserted),
        (Outcome::Met, Basis::ProviderAsserted)
    );
    // What was asked for is not what is there.
    let asked = Basis::Configured;
    assert_eq!(sec(worm, |p| p.objects[0].lock_basis = asked), unknown);
    assert_eq!(sec(worm, |p| p.enforcement.basis = asked), unknown);
    let weak = report(RuleSet::Sec17a4, |p| p.objects[0].lock_basis = asked);
    assert!(
        weak.protection.starts_with("said to be"),
        "{}",
        weak.protection
    );
    let past = Some("2026-11-01T00:00:00Z".parse().unwrap());
    assert_eq!(
        sec(worm, |p| p.objects[0].retain_until = past).0,
        Outcome::NotMet
    );
    assert_eq!(sec("(f)(2)(ii)", |_| {}), proven);
    assert_eq!(
        sec("(f)(2)(ii)", |p| p.objects[0].content =
            Basis::ProviderAsserted),
        (Outcome::Met, Basis::ProviderAsserted)
    );
    assert_eq!(
        sec("(f)(2)(ii)", |p| p.objects[0].content = Basis::NotObserved),
        unknown
    );
    assert_eq!(sec("(f)(2)(iii)", |_| {}), proven);
    assert_eq!(
        sec("(f)(2)(iii)", |p| p.store_time = Claim::not_observed()),
        unknown
    );
    assert_eq!(
        sec("(f)(2)(iv)", |p| p.objects[0]
            .shadowed_by
            .push("v9".to_owned()))
        .0,
        Outcome::NotMet
    );
    assert_eq!(sec("(f)(2)(v)", |_| {}).0, Outcome::NotMet);
    assert_eq!(
        sec("(f)(2)(v)", |p| p.bucket.replication =
            Claim::measured("x".to_owned())),
        proven
    );
    assert_eq!(
        sec("(f)(2)(v)", |p| p.bucket.replication =
            Claim::not_observed()),
        unknown
    );
    assert_eq!(sec("(f)(3)(v)", |_| {}), unknown);
}

#[test]
fn l08_holds_are_reported_as_they_are() {
    let hold = "34-47806";
    assert_eq!(sec(hold, |_| {}), (Outcome::Met, Basis::Measured));
    assert_eq!(
        sec(hold, |p| p.objects[0].legal_hold = LegalHold::Off).0,
        Outcome::NotMet
    );
    assert_eq!(
        sec(hold, |p| p.objects[0].legal_hold = LegalHold::NotObserved).0,
        Outcome::NotObserved
    );
    assert_eq!(
        sec(hold, |p| p.holds = Claim::not_observed()).0,
        Outcome::NotObserved
    );
    assert_eq!(
        sec(hold, |p| p.holds.value.as_mut().unwrap().matters.clear()).0,
        Outcome::NotApplicable
    );
}

#[test]
fn l07_retention_is_what_is_left_of_it() {
    let six = |rules, until: &str| {
        let until = Some(until.parse().unwrap());
        let report = report(rules, |p| {
            for object in &mut p.objects {
                object.retain_until = until;
            }
        });
        let found = report.controls.into_iter();
        let found = found.filter(|control| control.assessment.contains("Retention lasts"));
        found.map(|control| control.result).collect::<Vec<_>>()
    };
    let (met, unknown) = (Outcome::Met, Outcome::NotObserved);
    assert_eq!(six(RuleSet::EuAiAct, "2027-05-24T00:00:00Z"), [met, met]);
    assert_eq!(
        six(RuleSet::EuAiAct, "2027-05-01T00:00:00Z"),
        [unknown, unknown]
    );
    assert_eq!(six(RuleSet::Finra4511, "2032-11-22T00:00:00Z"), [met]);
    assert_eq!(six(RuleSet::Finra4511, "2031-11-22T00:00:00Z"), [unknown]);
    assert_eq!(six(RuleSet::Cftc131, "2031-11-22T00:00:00Z"), [met]);
}

#[test]
fn l04_governance_is_never_called_immutable() {
    for rules in RuleSet::ALL {
        let weak = report(rules, |p| p.objects[0].mode = Mode::Governance);
        assert!(
            weak.protection.contains("governance"),
            "{}",
            weak.protection
        );
        for output in all_outputs(&weak) {
            let text = output
                .replace("not counted as immutable", "")
                .to_lowercase();
            assert!(!text.contains("immutable"), "{output}");
        }
        let strong = report(rules, |_| {});
        assert!(strong.protection.starts_with("immutable"));
    }
}

#[test]
fn t05_a_time_that_only_the_signer_asserts_is_called_a_claim() {
    let [json, html, oscal] = all_outputs(&report(RuleSet::Sec17a4, |_| {}));
    assert!(json.contains("\"observed_at_basis\": \"claimed-by-signer\""));
    assert!(html.contains("as the signer claims: there is no verified time stamp"));
    assert!(oscal.contains("claimed-by-signer"));
}

#[test]
fn no_output_claims_compliance() {
    for rules in RuleSet::ALL {
        for state in states() {
            for output in all_outputs(&report(rules, state)) {
                let mut text = output.to_lowercase();
                assert!(text.contains("no legal advice and no certification"));
                // Words that stand in what is explicitly not claimed.
                for denied in [
                    "no legal advice and no certification, and does not say that a law or rule is complied with",
                    "that any rule is complied with",
                    "compliance mode",
                    "\"compliance\"",
                ] {
                    text = text.replace(denied, "");
                }
                for claim in [
                    "complian",
                    "complies",
                    "complied",
                    "certif",
                    "legally",
                    "guarantee",
                    "fulfils the",
                    "satisfies the",
                    "meets the requirement",
                    "in accordance with",
                ] {
                    assert!(!text.contains(claim), "{claim}: {text}");
                }
            }
        }
    }
}

#[test]
fn evidence_points_into_the_predicate() {
    for rules in RuleSet::ALL {
        for state in states() {
            let mut predicate = sample::predicate();
            state(&mut predicate);
            predicate.retained_until = Predicate::least_retention(&predicate.objects);
            let value = serde_json::to_value(&predicate).unwrap();
            let report = Report::new(&attested(&predicate), rules, None);
            assert_eq!(rules.as_str().parse::<RuleSet>().unwrap(), rules);
            for control in &report.controls {
                for pointer in &control.evidence {
                    assert!(value.pointer(pointer).is_some(), "{pointer}");
                }
                if control.result == Outcome::Met || control.result == Outcome::NotMet {
                    assert!(!control.evidence.is_empty(), "{}", control.id);
                    assert_ne!(control.basis, Basis::NotObserved, "{}", control.id);
                }
            }
        }
    }
}

#[test]
fn b29_texts_are_escaped() {
    let evil = "<script>alert(1)</script>\u{202e}";
    let page = report(RuleSet::Sec17a4, |p| {
        p.findings[0].text = evil.to_owned();
        p.findings[0].key = Some(evil.to_owned());
        p.residual_risks = vec![evil.to_owned()];
        p.non_claims = vec![evil.to_owned()];
        p.store.bucket = evil.to_owned();
        p.store.endpoint = evil.to_owned();
    })
    .to_html();
    assert!(!page.contains("<script") && !page.contains('\u{202e}'));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;\\u{202e}"));
    assert!(page.contains("default-src 'none'"));
}

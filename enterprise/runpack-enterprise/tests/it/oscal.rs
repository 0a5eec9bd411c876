//! What the OSCAL 1.1 assessment-results model requires of the members that are written, by hand: its
//! official schema comes with no package of a registry.

use runpack_enterprise::report::{Outcome, Report, RuleSet};
use serde_json::Value;

use crate::report::{report, states};

/// One document, and the ids that were met in it.
struct Document {
    seen: Vec<String>,
    controls: Vec<Value>,
    resources: Vec<Value>,
    observations: Vec<Value>,
}

impl Document {
    fn uuid(&mut self, value: &Value) {
        let text = value["uuid"].as_str().unwrap().to_owned();
        let parts: Vec<_> = text.split('-').collect();
        let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        let hex = |c: char| c == '-' || c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(text.chars().all(hex), "{text}");
        assert!(parts[2].starts_with('4'), "{text}");
        assert!(parts[3].starts_with(['8', '9', 'a', 'b']), "{text}");
        assert!(!self.seen.contains(&text), "{text}");
        self.seen.push(text);
    }

    fn refers(&self, href: &Value) {
        let id = href.as_str().unwrap().strip_prefix('#').unwrap();
        let mut resources = self.resources.iter();
        assert!(resources.any(|resource| resource["uuid"] == id), "{id}");
    }

    fn observation(&mut self, observation: &Value) {
        self.uuid(observation);
        self.observations.push(observation["uuid"].clone());
        let method = observation["methods"][0].as_str().unwrap();
        assert!(["TEST", "EXAMINE"].contains(&method));
        time(&observation["collected"]);
        text(&observation["description"]);
        for property in observation["props"].as_array().unwrap() {
            token(&property["name"]);
            text(&property["value"]);
        }
        for evidence in observation["relevant-evidence"].as_array().unwrap() {
            text(&evidence["description"]);
            if let Some(href) = evidence.get("href") {
                self.refers(href);
            }
        }
    }

    fn finding(&mut self, finding: &Value) {
        self.uuid(finding);
        text(&finding["title"]);
        text(&finding["description"]);
        let target = &finding["target"];
        assert_eq!(target["type"], "objective-id");
        assert!(self.controls.contains(&target["target-id"]));
        let state = target["status"]["state"].as_str().unwrap();
        assert!(["satisfied", "not-satisfied"].contains(&state));
        let related = &finding["related-observations"][0]["observation-uuid"];
        assert!(self.observations.contains(related));
    }
}

fn text(value: &Value) {
    assert!(!value.as_str().unwrap().trim().is_empty());
}

fn time(value: &Value) {
    assert!(value.as_str().unwrap().ends_with('Z'));
}

fn token(value: &Value) {
    let text = value.as_str().unwrap();
    let first = |c: char| c.is_alphabetic() || c == '_';
    assert!(text.starts_with(first), "{text}");
    let rest = |c: char| c.is_alphanumeric() || "._-".contains(c);
    assert!(text.chars().all(rest), "{text}");
}

/// No member that the model does not know, no array without an item.
fn only(value: &Value, known: &[&str]) {
    for (name, member) in value.as_object().unwrap() {
        assert!(known.contains(&name.as_str()), "{name}");
        assert_ne!(*member, Value::Array(Vec::new()), "{name}");
    }
}

fn check(made: &Report) {
    assert_eq!(made.to_oscal(), made.to_oscal());
    let document: Value = serde_json::from_slice(&made.to_oscal()).unwrap();
    only(&document, &["assessment-results"]);
    let results = &document["assessment-results"];
    let resources = results["back-matter"]["resources"].as_array().unwrap();
    let mut seen = Document {
        seen: Vec::new(),
        controls: Vec::new(),
        resources: resources.clone(),
        observations: Vec::new(),
    };
    seen.uuid(results);
    let members = ["uuid", "metadata", "import-ap", "results", "back-matter"];
    only(results, &members);
    for name in ["title", "last-modified", "version", "oscal-version"] {
        text(&results["metadata"][name]);
    }
    for resource in resources {
        seen.uuid(resource);
    }
    seen.refers(&results["import-ap"]["href"]);
    let [result] = results["results"].as_array().unwrap().as_slice() else {
        panic!("one result");
    };
    seen.uuid(result);
    let members = [
        "uuid",
        "title",
        "description",
        "start",
        "props",
        "reviewed-controls",
        "observations",
        "findings",
    ];
    only(result, &members);
    time(&result["start"]);
    let selected = &result["reviewed-controls"]["control-selections"][0]["include-controls"];
    for control in selected.as_array().unwrap() {
        token(&control["control-id"]);
        assert!(!seen.controls.contains(&control["control-id"]));
        seen.controls.push(control["control-id"].clone());
    }
    assert_eq!(seen.controls.len(), made.controls.len());
    for observation in result["observations"].as_array().unwrap() {
        seen.observation(observation);
    }
    let decided = [Outcome::Met, Outcome::NotMet];
    let controls = made.controls.iter();
    let decided = controls.filter(|control| decided.contains(&control.result));
    let findings = result.get("findings").and_then(Value::as_array);
    assert_eq!(findings.map_or(0, Vec::len), decided.count());
    for finding in findings.into_iter().flatten() {
        seen.finding(finding);
    }
}

#[test]
fn every_report_has_the_required_structure() {
    for rules in RuleSet::ALL {
        for state in states() {
            check(&report(rules, state));
        }
    }
}

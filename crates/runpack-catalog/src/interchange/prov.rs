//! PROV-JSON (W3C member submission of 24 April 2013), over PROV-DM.
//!
//! A pack is a collection (`prov:Collection`): a thing with members, which somebody made. It is no `prov:Bundle`, which would
//! be a set of statements about other things: those stand in its manifest, and this document is only drawn from it. A run is
//! an activity, under the UUID by which OpenLineage knows it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Account, Interchange, Outcome, Source, Told, name, set};

/// Prefixes, and what they stand for.
const PREFIXES: [(&str, &str); 7] = [
    ("agent", "urn:runpack:agent:"),
    ("artifact", "urn:runpack:artifact:sha256:"),
    ("label", "urn:runpack:label:"),
    ("pack", "urn:runpack:pack:sha256:"),
    ("producer", "urn:runpack:producer:"),
    ("run", "urn:uuid:"),
    ("runpack", "urn:runpack:prov:v1:"),
];

impl Interchange {
    /// A document of PROV-JSON about all these packs.
    pub fn to_prov_json(&self) -> Value {
        let mut document = Document::default();
        for account in &self.packs {
            document.pack(account);
        }
        let prefixes: Map<String, Value> = PREFIXES
            .iter()
            .map(|(prefix, iri)| ((*prefix).to_owned(), json!(iri)))
            .collect();
        document
            .0
            .insert("prefix".to_owned(), Value::Object(prefixes));
        Value::Object(document.0)
    }
}

/// Records by their kind, and in each by their identifier.
#[derive(Default)]
struct Document(Map<String, Value>);

impl Document {
    fn pack(&mut self, account: &Account) {
        let pack = &account.pack;
        let id = format!("pack:{}", pack.pack_id.digest());
        let run = format!("run:{}", name::run_uuid(&pack.subject));
        let mut attributes = json!({
            "prov:type": qualified("prov:Collection"),
            "prov:label": name::title(&pack.subject),
            "runpack:packId": pack.pack_id,
            "runpack:createdAt": { "$": pack.created_at, "type": "xsd:dateTime" },
            "runpack:artifacts": number(pack.artifacts),
            "runpack:bytes": number(pack.artifact_bytes),
            "runpack:sourcesLeftOut": number(account.left_out),
            "runpack:verified": { "$": "false", "type": "xsd:boolean" },
        });
        for (key, value) in &account.labels {
            set(
                &mut attributes,
                &format!("label:{}", name::encoded(key)),
                json!(value),
            );
        }
        self.put("entity", &id, attributes);
        self.activity(account, &run);
        let generation = json!({ "prov:entity": id, "prov:activity": run });
        self.relate("wasGeneratedBy", generation);

        let producer = &pack.producer;
        let program = format!("{}/{}", producer.name, producer.version);
        let program = format!("producer:{}", name::encoded(&program));
        let attributes = json!({
            "prov:type": qualified("prov:SoftwareAgent"),
            "prov:label": producer.name,
            "runpack:version": producer.version,
        });
        self.put("agent", &program, attributes);
        self.relate(
            "wasAttributedTo",
            json!({ "prov:entity": id, "prov:agent": program }),
        );
        self.relate(
            "wasAssociatedWith",
            json!({ "prov:activity": run, "prov:agent": program }),
        );
        if let Some(agent) = account.agent() {
            let who = format!("agent:{}", name::encoded(&agent));
            self.put("agent", &who, json!({ "prov:label": agent }));
            let association = json!({ "prov:activity": run, "prov:agent": who });
            self.relate("wasAssociatedWith", association);
        }

        let mut used = BTreeMap::new();
        // What a run was given came from its sources before, and not by it.
        let given = account.given.iter().map(|told| (told, None));
        let made = account.made.iter().map(|told| (told, Some(run.as_str())));
        for (told, by) in given.chain(made) {
            let member = self.artifact(told);
            self.relate(
                "hadMember",
                json!({ "prov:collection": id, "prov:entity": member }),
            );
            for source in &told.sources {
                used.insert(self.source(by, &member, source), how(source));
            }
        }
        for (source, how) in used {
            let usage =
                json!({ "prov:activity": run, "prov:entity": source, "runpack:source": how });
            self.relate("used", usage);
        }
        for told in &account.made {
            let made = artifact_id(told);
            let generation = json!({ "prov:entity": made, "prov:activity": run });
            self.relate("wasGeneratedBy", generation);
        }
        for told in &account.given {
            let given = artifact_id(told);
            self.relate(
                "used",
                json!({ "prov:activity": run, "prov:entity": given }),
            );
        }
    }

    fn activity(&mut self, account: &Account, run: &str) {
        let subject = &account.pack.subject;
        let mut attributes = json!({
            "prov:label": name::title(subject),
            "prov:endTime": account.pack.created_at,
            "runpack:kind": subject.kind(),
            "runpack:outcome": match account.outcome() {
                Outcome::Passed => "passed",
                Outcome::Failed => "failed",
                Outcome::Cancelled => "cancelled",
            },
        });
        for (member, value) in subject.fields() {
            set(&mut attributes, &format!("runpack:{member}"), json!(value));
        }
        if let Some(started_at) = account.started_at {
            set(&mut attributes, "prov:startTime", json!(started_at));
        }
        self.put("activity", run, attributes);
    }

    /// Gives its identifier.
    fn artifact(&mut self, told: &Told) -> String {
        let artifact = &told.artifact;
        let id = artifact_id(told);
        let mut attributes = json!({
            "prov:label": artifact.title.as_ref().unwrap_or(&artifact.name),
            "runpack:name": artifact.name,
            "runpack:kind": artifact.kind,
            "runpack:mediaType": artifact.media_type,
            "runpack:bytes": number(artifact.bytes),
            "runpack:commitment": artifact.commitment,
        });
        if let Some(claimed) = &artifact.claimed_sha256 {
            set(&mut attributes, "runpack:claimedSha256", json!(claimed));
        }
        if let Some(step) = &artifact.step {
            set(&mut attributes, "runpack:step", json!(step));
        }
        self.put("entity", &id, attributes);
        id
    }

    /// Gives its identifier.
    fn source(&mut self, by: Option<&str>, product: &str, source: &Source) -> String {
        let input = &source.input;
        let id = format!("artifact:{}", name::artifact(input.pack, &input.name));
        if let Some(records) = self.records("entity") {
            // What is told of it as a member of its own pack says more. Of one that is only named nothing else is known.
            let unless_known = json!({ "prov:label": input.name, "runpack:name": input.name });
            records.entry(&id).or_insert(unless_known);
        }
        let mut derivation = json!({
            "prov:generatedEntity": product,
            "prov:usedEntity": id,
            "runpack:source": how(source),
            "runpack:commitment": input.commitment,
        });
        if let Some(run) = by {
            set(&mut derivation, "prov:activity", json!(run));
        }
        self.relate("wasDerivedFrom", derivation);
        id
    }

    fn records(&mut self, kind: &str) -> Option<&mut Map<String, Value>> {
        let records = self
            .0
            .entry(kind)
            .or_insert_with(|| Value::Object(Map::new()));
        records.as_object_mut()
    }

    fn put(&mut self, kind: &str, id: &str, attributes: Value) {
        if let Some(records) = self.records(kind) {
            records.insert(id.to_owned(), attributes);
        }
    }

    /// A relation has no name that anybody else would use.
    fn relate(&mut self, kind: &str, attributes: Value) {
        if let Some(records) = self.records(kind) {
            let next = records.len();
            records.insert(format!("_:{kind}{next}"), attributes);
        }
    }
}

fn artifact_id(told: &Told) -> String {
    let artifact = &told.artifact;
    format!(
        "artifact:{}",
        name::artifact(artifact.pack_id, &artifact.name)
    )
}

fn how(source: &Source) -> &'static str {
    if source.known.is_some() {
        "named"
    } else {
        "claimed"
    }
}

fn qualified(name: &str) -> Value {
    json!({ "$": name, "type": "xsd:QName" })
}

/// Sizes do not fit what a plain number stands for there, `xsd:int`.
fn number(number: u64) -> Value {
    json!({ "$": number.to_string(), "type": "xsd:long" })
}

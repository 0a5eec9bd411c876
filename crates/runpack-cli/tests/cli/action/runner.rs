//! A runner for the steps of `action.yml`, as far as that file needs one: inputs with their defaults, outputs of
//! steps, the files that steps write to, and steps that run whatever happened before. What it does not know, it
//! refuses.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::support::Desk;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Action {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "description")]
    _description: String,
    inputs: BTreeMap<String, Input>,
    outputs: BTreeMap<String, Output>,
    pub(crate) runs: Runs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    #[serde(rename = "description")]
    _description: String,
    #[serde(default)]
    required: bool,
    default: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    #[serde(rename = "description")]
    _description: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Runs {
    using: String,
    pub(crate) steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    id: Option<String>,
    #[serde(rename = "if")]
    condition: Option<String>,
    shell: String,
    pub(crate) run: String,
    env: BTreeMap<String, String>,
}

impl Action {
    pub(crate) fn read() -> Self {
        let text = fs::read_to_string(home().join("action.yml")).unwrap();
        let action: Self = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(action.runs.using, "composite");
        action
    }
}

/// Where the action is.
pub(crate) fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.github/actions/runpack")
}

/// One use of the action in a job.
pub(crate) struct Job<'a> {
    desk: &'a Desk,
    action: Action,
    inputs: BTreeMap<String, String>,
    environment: Vec<(&'static str, String)>,
    outputs: BTreeMap<(String, String), String>,
    next: usize,
    /// The exit code of the first step that failed.
    pub(crate) code: i32,
    /// Everything that the steps printed.
    pub(crate) log: String,
}

impl<'a> Job<'a> {
    /// With the identity and the program of every test, which `inputs` may replace.
    pub(crate) fn new(desk: &'a Desk, inputs: &[(&str, &str)]) -> Self {
        let action = Action::read();
        let mut given: BTreeMap<String, String> = [
            ("runpack", env!("CARGO_BIN_EXE_runpack")),
            ("directory", "run"),
            ("tenant", "acme"),
            ("namespace", "ci"),
            ("scenario", "nightly"),
            ("spec", "run/spec.json"),
        ]
        .iter()
        .chain(inputs)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
        for name in given.keys() {
            assert!(action.inputs.contains_key(name), "no input {name}");
        }
        for (name, input) in &action.inputs {
            assert!(
                !input.required || given.contains_key(name),
                "{name} is missing"
            );
            let default = input.default.clone().unwrap_or_default();
            let default = default
                .replace("${{ github.run_id }}", "4711")
                .replace("${{ github.run_attempt }}", "1");
            given.entry(name.clone()).or_insert(default);
        }
        Self {
            desk,
            action,
            inputs: given,
            environment: Vec::new(),
            outputs: BTreeMap::new(),
            next: 0,
            code: 0,
            log: String::new(),
        }
    }

    /// The same, with a variable in the job's environment.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Runs all steps that are left.
    pub(crate) fn run(mut self) -> Self {
        while self.next < self.action.runs.steps.len() {
            self.step();
        }
        self
    }

    /// Runs the next step, unless one before it failed.
    pub(crate) fn step(&mut self) {
        let step = &self.action.runs.steps[self.next];
        let number = self.next;
        self.next += 1;
        let always = match step.condition.as_deref() {
            None => false,
            Some("always()") => true,
            Some(other) => panic!("a condition that this runner does not know: {other}"),
        };
        if self.code != 0 && !always {
            return;
        }
        assert_eq!(step.shell, "bash");
        let output = self.desk.path(format!("output-{number}"));
        fs::write(&output, "").unwrap();
        let temporary = self.desk.path("runner temp");
        fs::create_dir_all(&temporary).unwrap();
        let mut command = Command::new("bash");
        command
            .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &step.run])
            .current_dir(self.desk.path(""))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("RUNPACK_STATE_DIR", self.desk.path("state"))
            .env("GITHUB_ACTION_PATH", home())
            .env("GITHUB_OUTPUT", &output)
            .env("GITHUB_STEP_SUMMARY", self.desk.path("summary.md"))
            .env("RUNNER_TEMP", temporary)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(
                step.env
                    .iter()
                    .map(|(name, value)| (name, self.expand(value))),
            )
            .stdin(Stdio::null());
        let ran = command.output().unwrap();
        self.log += &String::from_utf8(ran.stdout).unwrap();
        self.log += &String::from_utf8(ran.stderr).unwrap();
        if self.code == 0 {
            self.code = ran.status.code().unwrap();
        }
        let Some(id) = step.id.clone() else { return };
        for line in fs::read_to_string(&output).unwrap().lines() {
            let (name, value) = line.split_once('=').unwrap();
            let before = self
                .outputs
                .insert((id.clone(), name.to_owned()), value.to_owned());
            assert_eq!(before, None, "{name} is written twice");
        }
    }

    /// A text with its expressions in place: `inputs.NAME` and `steps.ID.outputs.NAME`.
    fn expand(&self, text: &str) -> String {
        let Some((before, rest)) = text.split_once("${{ ") else {
            return text.to_owned();
        };
        let (expression, after) = rest.split_once(" }}").unwrap();
        let parts: Vec<&str> = expression.split('.').collect();
        let value = match parts[..] {
            ["inputs", name] => self.inputs[name].clone(),
            ["steps", id, "outputs", name] => {
                let ids = self
                    .action
                    .runs
                    .steps
                    .iter()
                    .filter_map(|step| step.id.as_deref());
                assert!(ids.into_iter().any(|known| known == id), "no step {id}");
                let key = (id.to_owned(), name.to_owned());
                self.outputs.get(&key).cloned().unwrap_or_default()
            }
            _ => panic!("an expression that this runner does not know: {expression}"),
        };
        format!("{before}{value}{}", self.expand(after))
    }

    /// An output of the action.
    pub(crate) fn output(&self, name: &str) -> String {
        self.expand(&self.action.outputs[name].value)
    }

    /// An output of a step.
    pub(crate) fn output_of(&self, step: &str, name: &str) -> String {
        self.outputs[&(step.to_owned(), name.to_owned())].clone()
    }

    /// The summary of the job.
    pub(crate) fn summary(&self) -> String {
        fs::read_to_string(self.desk.path("summary.md")).unwrap()
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.log);
        self
    }
}

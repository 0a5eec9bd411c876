//! A real browser: Chromium without a window, driven over WebDriver (W3C), which is JSON over HTTP on loopback.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{TOO_LATE_TRIES, exchange};

/// The member of an answer that holds an element (WebDriver, section 11).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
const INSTALL: &str = "install Chromium and its driver: `apt-get install chromium chromium-driver`, or `cargo xtask \
    test --only tools`";

/// Keys as WebDriver names them (section 17.4.2).
pub(super) const TAB: char = '\u{e004}';
pub(super) const ENTER: char = '\u{e007}';

/// The driver, its browser, and all that the browser starts are one group of processes, which ends when the pipe into this
/// shell does: with the test, however that ends.
const UNTIL_THE_PIPE_ENDS: &str = "chromedriver --port=0 & exec > /dev/null; cat; kill -KILL 0";

/// What the shell runs.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

pub(super) struct Browser {
    _group: Group,
    /// Kept open: a driver that cannot say anything ends.
    _said: BufReader<ChildStdout>,
    address: SocketAddr,
    session: String,
    home: TempDir,
}

impl Browser {
    pub(super) fn start() -> Self {
        // Not in memory: a browser keeps much.
        let home = tempfile::tempdir().unwrap();
        // The driver takes a free port, and says which.
        let shell = Command::new("sh")
            .args(["-c", UNTIL_THE_PIPE_ENDS])
            .env("HOME", home.path())
            // A browser that is killed leaves its profile, which goes with this directory.
            .env("TMPDIR", home.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut group = Group(shell.unwrap());
        let mut said = BufReader::new(group.0.stdout.take().unwrap());
        let port = (&mut said).lines().find_map(|line| {
            let line = line.ok()?;
            let (_, rest) = line.split_once("started successfully on port ")?;
            rest.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = port.unwrap_or_else(|| panic!("chromedriver does not run, {INSTALL}"));
        let mut browser = Self {
            _group: group,
            _said: said,
            address: ([127, 0, 0, 1], port).into(),
            session: String::new(),
            home,
        };
        // The sandbox does not start in every container, and the only pages are our own.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1200,900",
            "--lang=en-US",
        ];
        let options = json!({
            "args": arguments,
            "prefs": { "download.default_directory": browser.downloads(), "download.prompt_for_download": false },
        });
        let capabilities = json!({ "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" } });
        let asked = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let begun = browser.tell("POST", "/session", &asked);
        let begun = begun.unwrap_or_else(|error| panic!("no browser, {INSTALL}: {error}"));
        browser.session = format!("/session/{}", begun["sessionId"].as_str().unwrap());
        browser
    }

    /// Where files are saved: not in the home directory itself, into which Chromium saves nothing.
    pub(super) fn downloads(&self) -> PathBuf {
        self.home.path().join("downloads")
    }

    fn tell(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "GET" {
            Vec::new()
        } else {
            serde_json::to_vec(body).unwrap()
        };
        let headers = [("Content-Type", "application/json; charset=utf-8")];
        let (status, answer) = exchange(self.address, method, path, &headers, &body);
        let answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        match status {
            200 => Ok(answer["value"].clone()),
            _ => Err(answer["value"]["message"].to_string()),
        }
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.tell("POST", &format!("{}{path}", self.session), body)
    }

    pub(super) fn go(&self, url: &str) {
        self.post("/url", &json!({ "url": url })).unwrap();
    }

    pub(super) fn reload(&self) {
        self.post("/refresh", &json!({})).unwrap();
    }

    pub(super) fn run(&self, script: &str) -> Value {
        let asked = json!({ "script": script, "args": [] });
        self.post("/execute/sync", &asked).unwrap()
    }

    fn find(&self, css: &str) -> Result<String, String> {
        let found = self.post(
            "/element",
            &json!({ "using": "css selector", "value": css }),
        )?;
        Ok(found[ELEMENT].as_str().unwrap().to_owned())
    }

    /// The text that is seen there, once there is such a thing.
    pub(super) fn text(&self, css: &str) -> String {
        until(&format!("{css} to be there"), || self.text_now(css).ok())
    }

    fn text_now(&self, css: &str) -> Result<String, String> {
        let path = format!("{}/element/{}/text", self.session, self.find(css)?);
        let text = self.tell("GET", &path, &Value::Null)?;
        Ok(text.as_str().unwrap().to_owned())
    }

    /// Waits until that is seen there.
    pub(super) fn until_seen(&self, css: &str, text: &str) {
        let mut last = String::new();
        until_or(
            || {
                last = self.text_now(css).unwrap_or_else(|error| error);
                last.contains(text).then_some(())
            },
            || panic!("{css} has no {text:?}: {}", self.text("body")),
        );
    }

    pub(super) fn click(&self, css: &str) {
        until(&format!("{css} to be clicked"), || {
            let id = self.find(css).ok()?;
            self.post(&format!("/element/{id}/click"), &json!({})).ok()
        });
    }

    /// Types that there, as a person would.
    pub(super) fn fill(&self, css: &str, text: &str) {
        until(&format!("{css} to be filled in"), || {
            let id = self.find(css).ok()?;
            self.post(&format!("/element/{id}/clear"), &json!({}))
                .ok()?;
            self.post(&format!("/element/{id}/value"), &json!({ "text": text }))
                .ok()
        });
    }

    /// Presses keys, wherever the focus is.
    pub(super) fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": strokes });
        self.post("/actions", &json!({ "actions": [keyboard] }))
            .unwrap();
    }

    /// What the browser complains of beside requests that were refused: errors of scripts, and what its policy stopped.
    pub(super) fn complaints(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({ "type": "browser" })).unwrap();
        let entries = entries.as_array().unwrap().iter();
        entries
            .filter(|entry| entry["source"] != "network")
            .map(|entry| entry["message"].to_string())
            .collect()
    }
}

/// What `look` gives, once it gives something.
pub(super) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_or(look, || panic!("waited in vain for {what}"))
}

fn until_or<T>(mut look: impl FnMut() -> Option<T>, or: impl FnOnce() -> T) -> T {
    for _ in 0..TOO_LATE_TRIES {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    or()
}

//! Records, executions and packs, looked at while they come and while they are damaged.

use std::fs;
use std::path::{Path, PathBuf};

use runpack_core::bundle::verify_bundle;
use runpack_core::limits::Limits;
use runpack_core::verify::Level;
use serde_json::json;

use super::browser::until;
use super::bucket::Bucket;
use super::served::{NOW, Served};
use super::signed_in;

#[test]
fn records_come_page_by_page_and_a_reload_keeps_the_place() {
    let served = Served::start();
    for number in 0..60 {
        served.post(
            "/v1/records",
            &json!({ "organization": "acme", "project": "prod", "service": "loan",
                "run_id": format!("run-{number:02}"), "artifact": [number], "diff": { "changed": number },
                "commit_sha": "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12", "generated_at": NOW }),
        );
    }
    let browser = signed_in(&served, "/#/records");
    browser.fill("input[name=organization]", "acme");
    browser.fill("input[name=project]", "prod");
    browser.fill("input[name=service]", "loan");
    browser.click("main form button");
    browser.until_seen("table", "run-49");
    assert!(!browser.text("table").contains("run-50"));
    // Where there is nothing to show, nothing is shown.
    assert!(!browser.text("main").contains("false"));
    browser.click("a[rel=next]");
    browser.until_seen("table", "run-59");
    browser.reload();
    browser.until_seen("table", "run-59");
    assert!(!browser.text("table").contains("run-49"));
    assert!(
        browser
            .run("return location.hash")
            .to_string()
            .contains("after=")
    );

    browser.go(&served.url("/#/records/acme/prod/loan/diffs?from=2026-11-01"));
    browser.until_seen("main", "60 in the order in which their records came");
    browser.until_seen("pre[aria-label='Diff of run-07']", "\"changed\": 7");
    browser.go(&served.url("/#/records/acme/prod/loan/latest"));
    browser.until_seen("h1", "Record run-59");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_log_is_followed_until_the_execution_is_complete() {
    let served = Served::start();
    let opened = served.post(
        "/v1/executions",
        &json!({ "organization": "acme", "project": "bench", "runner_type": "hil-bench" }),
    );
    let execution = opened["execution_id"].as_str().unwrap();
    served.append(execution, "first\r\n");
    let browser = signed_in(&served, &format!("/#/executions/{execution}"));
    browser.until_seen("[role=log]", "first");
    browser.until_seen("#log-state", "Following");
    // A letter whose bytes come apart is one letter.
    served.append_bytes(execution, b"second \xc3");
    browser.until_seen("[role=log]", "first\nsecond");
    served.append_bytes(execution, b"\xbc");
    browser.until_seen("[role=log]", "first\nsecond \u{fc}");

    // The end stays in sight, until somebody looks at what came before.
    let many: String = (0..500).map(|line| format!("line {line}\n")).collect();
    served.append(execution, &many);
    browser.until_seen("[role=log]", "line 499");
    let from_end = "const at = document.querySelector('[role=log]'); return at.scrollHeight - at.scrollTop - at.clientHeight";
    assert!(browser.run(from_end).as_f64().unwrap() < 24.0);
    browser.run("document.querySelector('[role=log]').scrollTop = 0");
    served.append(execution, "third\n");
    browser.until_seen("[role=log]", "third");
    assert_eq!(
        browser.run("return document.querySelector('[role=log]').scrollTop"),
        0
    );

    browser.click(".tools button");
    browser.until_seen("#log-state", "Paused");
    served.append(execution, "while nobody read\n");
    browser.click(".tools button");
    browser.until_seen("[role=log]", "third\nwhile nobody read");
    assert_eq!(browser.text("[role=log]").matches("third").count(), 1);

    browser.until_seen("#state", "open");
    served.send(
        "PUT",
        &format!("/v1/executions/{execution}/artifacts/trace.bin"),
        "application/octet-stream",
        b"a trace",
    );
    served.append(execution, "last\n");
    served.post(
        &format!("/v1/executions/{execution}/complete"),
        &json!({ "result": "passed" }),
    );
    browser.until_seen("[role=log]", "last");
    browser.until_seen("#state", "complete");
    browser.until_seen("#log-state", "has ended");
    browser.until_seen("table", "artifacts/trace.bin");

    browser.click("dl a[href^='#/packs/']");
    browser.until_seen("h1", execution);
    browser.click("section .tools button");
    browser.until_seen("#verification .sign", "Valid");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn what_the_store_signs_is_followed_without_a_token() {
    let bucket = Bucket::start();
    let served = Served::over(Some(bucket.clone()));
    let opened = served.post(
        "/v1/executions",
        &json!({ "organization": "acme", "project": "bench", "runner_type": "hil-bench" }),
    );
    let execution = opened["execution_id"].as_str().unwrap();
    served.send(
        "PUT",
        &format!("/v1/executions/{execution}/artifacts/trace.txt"),
        "text/plain",
        b"a trace",
    );
    let ended = served.post(
        &format!("/v1/executions/{execution}/complete"),
        &json!({ "result": "passed" }),
    );
    let browser = signed_in(&served, &format!("/#/executions/{execution}"));
    browser.until_seen("table", "artifacts/trace.txt");
    let link = "[...document.querySelectorAll('tr')].find((row) => row.textContent.includes('trace.txt')).querySelector('a')";
    let said = browser.run(&format!("return {link}.rel + ' ' + {link}.target"));
    assert_eq!(said, "noopener noreferrer _blank");
    let url = browser.run(&format!("return {link}.href"));
    let url = url.as_str().unwrap();
    assert!(
        url.starts_with(&bucket.url()) && url.contains("trace.txt"),
        "{url}"
    );
    browser.run(&format!("{link}.click()"));
    let asked = until("the link to be followed", || {
        let mut asked = bucket.asked().into_iter();
        asked.find(|asked| url.ends_with(asked.path()))
    });
    // Nobody there learns who asks, or from where.
    let says = |name| asked.says(name);
    assert!(!says("authorization") && !says("referer"), "{asked:?}");

    let pack = ended["pack_id"].as_str().unwrap();
    browser.go(&served.url(&format!("/#/packs/{pack}")));
    browser.until_seen("h1", execution);
    browser.run("[...document.querySelectorAll('button')].find((one) => one.textContent.startsWith('Make links')).click()");
    let links = until("the links", || {
        let links = browser.run("return document.querySelector('#markdown').value");
        let links = links.as_str().map(str::to_owned);
        links.filter(|text| !text.is_empty())
    });
    assert!(
        links.contains("(<http://127.0.0.1:") && links.contains("(until 2026-11-20T13:00:00Z)"),
        "{links}"
    );
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_pack_is_valid_until_a_byte_of_it_changes() {
    let served = Served::start();
    let artifacts: &[(&str, Option<&str>, &[u8])] = &[
        ("decisions.json", None, b"[1, 2, 3]"),
        ("report.html", None, b"all is well"),
    ];
    let id = served.pack("run-1", artifacts);
    let browser = signed_in(&served, "/#/packs?tenant=acme");
    browser.click("td a");
    browser.until_seen("table", "report.html");
    browser.click("section .tools button");
    browser.until_seen("#verification .sign", "Valid");
    browser.until_seen("#verification", "2 artifacts proven");

    // What is saved is the bundle, and verifies without the server.
    browser.run("[...document.querySelectorAll('button')].find((one) => one.textContent === 'Save the bundle').click()");
    let file = id.replace("sha256:", "") + ".tar.gz";
    let saved = browser.downloads().join(file);
    let bundle = until("the saved bundle", || {
        fs::read(&saved).ok().filter(|bytes| !bytes.is_empty())
    });
    let outcome = verify_bundle(&bundle[..], &Limits::default(), Level::Full);
    assert!(outcome.is_sound());
    assert_eq!(outcome.manifest.unwrap().pack_id().to_string(), id);

    browser.run("[...document.querySelectorAll('button')].find((one) => one.textContent.startsWith('Make links')).click()");
    let links = until("the links", || {
        let links = browser.run("return document.querySelector('#markdown').value");
        links
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    });
    assert!(links.contains(&format!(
        "(<{}>)",
        served.url(&format!("/#/packs/{}", id.replace(':', "%3A")))
    )));
    assert!(links.contains("- report\\.html, 11 bytes"));

    let kept = found(&served.root(), "report.html").unwrap();
    fs::remove_file(&kept).unwrap();
    fs::write(&kept, b"all is wall").unwrap();
    browser.click("section .tools button");
    browser.until_seen("#verification .sign", "Invalid");
    browser.until_seen("#verification table", "report.html");
    // The size alone proves no content.
    browser.run("document.querySelector('#level').value = 'presence'");
    browser.click("section .tools button");
    browser.until_seen("#verification .sign", "Consistent");
    assert_eq!(browser.complaints(), [""; 0]);
}

/// The file of this name below a directory.
fn found(below: &Path, name: &str) -> Option<PathBuf> {
    let mut entries = fs::read_dir(below)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.find_map(|path| {
        if path.is_dir() {
            found(&path, name)
        } else {
            path.ends_with(name).then_some(path)
        }
    })
}

//! Text of others: shown as it is, and never run.

use serde_json::json;

use super::served::{NOW, Served};
use super::signed_in;

/// An element that would say that it was made, a command for a terminal, and what turns the text after it.
const HOSTILE: &str =
    "<img src=x onerror=window.taken=1><script>window.taken=1</script>\u{1b}[31m\u{202e}gpj.exe";
/// The same as it is to be seen.
const SHOWN: &str =
    "<img src=x onerror=window.taken=1><script>window.taken=1</script>\\u{1b}[31m\\u{202e}gpj.exe";

#[test]
fn b29_text_of_others_is_shown_and_never_run() {
    let served = Served::start();
    // Where no control character is taken, the rest is hostile enough.
    let title = HOSTILE.replace('\u{1b}', "");
    let shown = SHOWN.replace("\\u{1b}", "");
    served.post(
        "/v1/records",
        &json!({ "organization": "acme", "project": "prod", "service": "loan", "run_id": "run-1",
            "artifact": { HOSTILE: [HOSTILE, 9_007_199_254_740_993_u64] }, "summary": HOSTILE,
            "commit_sha": "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12", "generated_at": NOW,
            "metadata": { "build": title } }),
    );
    let opened = served.post(
        "/v1/executions",
        &json!({ "organization": "acme", "project": "prod", "runner_type": title, "suite": title }),
    );
    let execution = opened["execution_id"].as_str().unwrap();
    served.append(execution, &format!("{HOSTILE}\n"));
    let pack = served.pack(
        "run-1",
        &[("report.html", Some(&title), HOSTILE.as_bytes())],
    );

    let browser = signed_in(&served, "/#/records/acme/prod/loan");
    browser.click("td a");
    browser.until_seen("h1", "Record run-1");
    browser.until_seen("main", "recomputed here");
    browser.until_seen("dl:last-of-type", &shown);
    // JSON is shown as it was sent: its texts with their escapes, its numbers to the last digit.
    browser.until_seen(
        "pre[aria-label=Artifact]",
        "<img src=x onerror=window.taken=1>",
    );
    browser.until_seen("pre[aria-label=Artifact]", "\\u{202e}gpj.exe");
    browser.until_seen("pre[aria-label=Artifact]", "9007199254740993");

    browser.go(&served.url("/#/executions?organization=acme"));
    browser.until_seen("table", &shown);
    browser.go(&served.url(&format!("/#/executions/{execution}")));
    browser.until_seen("dl", &shown);
    browser.until_seen("[role=log]", SHOWN);

    browser.go(&served.url(&format!("/#/packs/{pack}")));
    browser.until_seen("table", &shown);

    browser.go(&served.url("/#/records/acme/prod/%3Cimg%20src=x%20onerror=window.taken=1%3E"));
    browser.until_seen("[role=alert]", "the request is not what is expected");
    browser.go(&served.url("/#/records/acme/..%2f..%2fx/%2e%2e"));
    browser.until_seen("[role=alert]", "there is no such page");

    assert_eq!(browser.run("return window.taken ?? null"), json!(null));
    assert_eq!(browser.run("return document.images.length"), 0);
    assert_eq!(browser.complaints(), [""; 0]);
    // Were there a mistake in the pages, the policy would still stop it.
    let mistake = "try { document.body.innerHTML = '<b>made</b>'; return 'made'; } catch { return 'refused'; }";
    assert_eq!(browser.run(mistake), "refused");
}

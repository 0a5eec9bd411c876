//! Reading from a store that does what it likes.

use futures_util::StreamExt as _;

use super::script::{Reply, Script, error, status, xml};
use super::*;
use crate::store::Housekeeping as _;

fn whole(headers: Vec<(&'static str, String)>) -> Reply {
    Reply::Answer(200, headers, b"0123456789".to_vec())
}

#[test]
fn s06_an_encoding_is_refused() {
    for (encoding, is_taken) in [
        ("gzip", false),
        ("zstd", false),
        ("identity", true),
        ("aws-chunked", true),
        ("aws-chunked,gzip", false),
    ] {
        let script = Script::of(vec![whole(vec![("content-encoding", encoding.to_owned())])]);
        let found = block_on(async { read(&store(&script).await, 0..10).await });
        assert_eq!(found.is_ok(), is_taken, "{encoding}: {found:?}");
    }
}

#[test]
fn s03_s05_never_more_than_the_range_and_never_by_the_length_it_claims() {
    let whole_of = |start: u64, bytes: Range<usize>| {
        let range = format!("bytes {start}-9/10");
        Reply::Answer(
            206,
            vec![("content-range", range)],
            b"0123456789"[bytes].to_vec(),
        )
    };
    let script = Script::of(vec![whole(vec![]), whole_of(2, 2..10)]);
    block_on(async {
        let store = store(&script).await;
        assert_eq!(read(&store, 0..4).await.unwrap(), b"0123");
        assert_eq!(read(&store, 2..5).await.unwrap(), b"234");
    });
    // More than any machine has, of which a few bytes come and then the end.
    let huge = || Reply::Cut(200, vec![], 1 << 60, b"01234".to_vec());
    let script = Script::with(move |_| huge());
    block_on(async {
        let mut settings = settings(&script.endpoint());
        settings.deadlines.attempt = Duration::from_millis(300);
        let store = S3Store::open(settings).await.unwrap();
        let mut body = store.open(&key("a.bin").into(), 0..u64::MAX).await.unwrap();
        assert_eq!(body.bytes_claimed, 1 << 60);
        assert_eq!(body.next().await.unwrap().unwrap(), "01234");
        assert!(body.next().await.unwrap().is_err());
    });
}

#[test]
fn s18_another_range_than_asked_for_is_refused() {
    let at = |range: &str| {
        let headers = vec![("content-range", range.to_owned())];
        Reply::Answer(206, headers, b"0123456789".to_vec())
    };
    for reply in [
        whole(vec![]),
        at("bytes 0-9/10"),
        at("bytes 4-9/10"),
        at("nonsense"),
    ] {
        let script = Script::of(vec![reply]);
        let refused = block_on(async { read(&store(&script).await, 5..8).await }).unwrap_err();
        assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
    }
}

#[test]
fn s19_n02_a_reading_goes_on_with_the_same_object_or_not_at_all() {
    let cut = || {
        let headers = vec![("etag", "\"one\"".to_owned())];
        Reply::Cut(200, headers, 10, b"0123".to_vec())
    };
    let rest = || {
        let headers = vec![("content-range", "bytes 4-9/10".to_owned())];
        Reply::Answer(206, headers, b"456789".to_vec())
    };
    // The server holds the connection of a body that is too short, so the first ends by patience.
    let by_reset = |reply: Reply| match reply {
        Reply::Cut(_, headers, length, body) => Reply::Cut(203, headers, length, body),
        other => other,
    };
    let script = Script::of(vec![by_reset(cut()), rest()]);
    let found = block_on(async { read(&store(&script).await, 0..10).await });
    assert_eq!(found.unwrap(), b"0123456789");
    let again = &script.asked()[1];
    assert_eq!(again.header("if-match"), Some("\"one\""));
    assert_eq!(again.header("range"), Some("bytes=4-9"));
    let script = Script::of(vec![by_reset(cut()), error(412, "PreconditionFailed")]);
    let changed = block_on(async { read(&store(&script).await, 0..10).await });
    assert!(changed.is_err(), "{changed:?}");
    let script = Script::with(move |asked| match asked.len() {
        1 => by_reset(cut()),
        _ => Reply::Cut(
            203,
            vec![("content-range", "bytes 4-9/10".to_owned())],
            6,
            vec![],
        ),
    });
    let given_up = block_on(async { read(&store(&script).await, 0..10).await }).unwrap_err();
    assert!(given_up.is_retryable(), "{given_up:?}");
    assert_eq!(script.asked().len(), 4);
}

#[test]
fn s04_n06_a_store_that_is_too_slow_is_given_up() {
    let script = Script::of(vec![Reply::Stall(10, b"0".to_vec())]);
    let given_up = block_on(async {
        let mut settings = settings(&script.endpoint());
        settings.deadlines.attempt = Duration::from_millis(200);
        read(&S3Store::open(settings).await.unwrap(), 0..10).await
    });
    let given_up = given_up.unwrap_err();
    assert!(given_up.is_retryable(), "{given_up:?}");
}

#[test]
fn ranges_beyond_the_end_are_empty_and_tell_the_size() {
    let range = ("content-range", "bytes */10".to_owned());
    let beyond = Reply::Answer(416, vec![range], vec![]);
    let head = || Reply::Answer(200, vec![("content-length", "10".to_owned())], vec![]);
    let script = Script::of(vec![beyond, status(416), head(), head(), head()]);
    block_on(async {
        let store = store(&script).await;
        for range in [11..12, 11..12, 3..3, u64::MAX - 1..u64::MAX] {
            let mut body = store.open(&key("a.bin").into(), range).await.unwrap();
            assert_eq!(body.bytes_claimed, 10);
            assert!(body.next().await.is_none());
        }
    });
    assert_eq!(script.methods(), "GET GET HEAD HEAD HEAD");
}

#[test]
fn what_lies_in_an_archive_says_so() {
    let body =
        "<Error><Code>InvalidObjectState</Code><StorageClass>DEEP_ARCHIVE</StorageClass></Error>";
    let script = Script::of(vec![Reply::Answer(403, vec![], body.into())]);
    let archived = block_on(async { read(&store(&script).await, 0..10).await }).unwrap_err();
    assert!(
        matches!(&archived, StoreError::Archived { tier, .. } if tier == "DEEP_ARCHIVE"),
        "{archived:?}"
    );
    let again = error(409, "RestoreAlreadyInProgress");
    let head = || Reply::Answer(200, vec![("etag", "\"e\"".to_owned())], vec![]);
    let class = ("x-amz-storage-class", "INTELLIGENT_TIERING".to_owned());
    let script = Script::of(vec![
        head(),
        status(202),
        head(),
        status(200),
        head(),
        again,
        head(),
        error(403, "InvalidObjectState"),
        Reply::Answer(200, vec![("etag", "\"e\"".to_owned()), class], vec![]),
        status(202),
    ]);
    block_on(async {
        let store = store(&script).await;
        for expected in [
            Restore::Requested,
            Restore::NotArchived,
            Restore::UnderWay,
            Restore::NotArchived,
            Restore::Requested,
        ] {
            let asked = store.restore(&key("a.bin").into(), 3).await;
            assert_eq!(asked.unwrap(), expected);
        }
    });
    // What is tiered by itself comes back for good, and refuses a number of days.
    let asked = script.asked();
    let says_days = |at: usize| String::from_utf8_lossy(&asked[at].body).contains("<Days>3</Days>");
    assert!(says_days(1) && !says_days(9));
}

fn page(keys: &[&str], next: Option<&str>) -> Reply {
    let keys = keys.iter().map(|key| {
        format!("<Contents><Key>{key}</Key><Size>1</Size><LastModified>2026-11-20T12:00:00.000Z</LastModified></Contents>")
    });
    let next = next.map_or_else(String::new, |next| {
        format!(
            "<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>"
        )
    });
    let keys: String = keys.collect();
    xml(&format!(
        "<ListBucketResult>{keys}{next}</ListBucketResult>"
    ))
}

fn listed(script: &Script) -> Vec<Result<String, StoreError>> {
    block_on(async {
        let entries = store(script).await.list(&KeyPrefix::all());
        entries
            .map(|entry| entry.map(|entry| entry.key))
            .collect()
            .await
    })
}

#[test]
fn s16_a_listing_that_turns_in_a_circle_ends() {
    let script = Script::with(|asked| {
        let next = ["x", "y", "z"][asked.len() % 3];
        page(&["some/prefix/a"], Some(next))
    });
    let entries = listed(&script);
    assert!(entries.last().unwrap().is_err());
    assert!(entries.len() < 20);
    let script = Script::of(vec![xml(
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
    )]);
    assert!(listed(&script).pop().unwrap().is_err());
}

#[test]
fn s17_a_listing_of_what_was_not_asked_for_is_refused() {
    let script = Script::of(vec![page(&["some/prefix/a/../b", "some/prefix//c"], None)]);
    let entries: Vec<_> = listed(&script).into_iter().map(Result::unwrap).collect();
    // Odd names pass as text: whoever reads them parses them.
    assert_eq!(entries, ["a/../b", "/c"]);
    for outside in ["other/a", "a", "some/prefi", "/some/prefix/a"] {
        let script = Script::of(vec![page(&[outside], None)]);
        assert!(listed(&script).pop().unwrap().is_err(), "{outside}");
    }
}

#[test]
fn s20_a_listing_that_is_a_page_of_a_gateway_is_none() {
    let script = Script::with(|_| xml("Welcome to the hotel"));
    assert!(listed(&script).pop().unwrap().is_err());
}

#[test]
fn versions_are_oldest_first_and_only_the_keys_own() {
    let name = format!("some/prefix/{}", key("a.bin"));
    let line = |tag: &str, key: &str, version: &str, latest: bool| {
        format!(
            "<{tag}><Key>{key}</Key><VersionId>{version}</VersionId><IsLatest>{latest}</IsLatest><Size>7</Size><LastModified>2026-11-20T12:00:00.000Z</LastModified></{tag}>"
        )
    };
    let first = [
        line("DeleteMarker", &name, "v4", true),
        line("Version", &name, "v3", false),
        format!(
            "<IsTruncated>true</IsTruncated><NextKeyMarker>{name}</NextKeyMarker><NextVersionIdMarker>v3</NextVersionIdMarker>"
        ),
    ];
    let longer = format!("{name}.more");
    let second = [
        line("Version", &name, "null", false),
        line("Version", &longer, "v9", true),
        format!("<IsTruncated>true</IsTruncated><NextKeyMarker>{longer}</NextKeyMarker>"),
    ];
    let result = |lines: &[String]| {
        xml(&format!(
            "<ListVersionsResult>{}</ListVersionsResult>",
            lines.concat()
        ))
    };
    let script = Script::of(vec![result(&first), result(&second)]);
    let versions = block_on(async { store(&script).await.versions(&key("a.bin")).await }).unwrap();
    let named: Vec<_> = versions
        .iter()
        .map(|stat| stat.version.as_ref().unwrap().as_str())
        .collect();
    assert_eq!(named, ["null", "v3"]);
    assert!(script.asked()[1].line.contains("version-id-marker=v3"));
    let only = [line("Version", &name, "null", true)];
    let head = Reply::Answer(200, vec![("content-length", "7".to_owned())], vec![]);
    let script = Script::of(vec![result(&only), error(501, "NotImplemented"), head]);
    block_on(async {
        let store = store(&script).await;
        for _ in 0..2 {
            let versions = store.versions(&key("a.bin")).await.unwrap();
            assert_eq!(versions, [ObjectStat::new(7, None)]);
        }
    });
}

#[test]
fn l05_of_what_came_in_one_second_the_current_is_first() {
    let name = format!("some/prefix/{}", key("a.bin"));
    let line = |tag: &str, version: &str, latest: bool| {
        format!(
            "<{tag}><Key>{name}</Key><VersionId>{version}</VersionId><IsLatest>{latest}</IsLatest><Size>7</Size><LastModified>2026-11-20T12:00:00.000Z</LastModified></{tag}>"
        )
    };
    for (version, marker, order) in [(false, true, ["m", "v"]), (true, false, ["v", "m"])] {
        let lines = [
            line("Version", "v", version),
            line("DeleteMarker", "m", marker),
        ];
        let answer = format!(
            "<ListVersionsResult>{}</ListVersionsResult>",
            lines.concat()
        );
        let uploads = xml("<ListMultipartUploadsResult/>");
        let script = Script::of(vec![xml(&answer), uploads]);
        let found: Vec<_> = block_on(async {
            let holdings = store(&script).await.holdings(&KeyPrefix::all());
            holdings.map(Result::unwrap).collect().await
        });
        let found: Vec<_> = found
            .iter()
            .map(|holding| holding.version.as_ref().unwrap().as_str())
            .collect();
        assert_eq!(found, order);
    }
}

#[test]
fn t04_the_time_is_the_stores_own() {
    let date = ("date", "Fri, 20 Nov 2026 12:00:00 GMT".to_owned());
    let script = Script::of(vec![Reply::Answer(200, vec![date], vec![]), status(200)]);
    block_on(async {
        let store = store(&script).await;
        assert_eq!(
            store.now().await.unwrap().to_string(),
            "2026-11-20T12:00:00Z"
        );
        assert!(store.now().await.is_err());
    });
}

//! Lineage.

use std::sync::Arc;

use runpack_catalog::{Catalog, Direction, Lineage, LineageFinding, Origin, Reach, Starting};
use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::store::MemoryStore;
use runpack_testing::block_on;

use crate::support::{Both, artifact, commit, input, manifest, reader, run, store_name};

const NOW: &str = "2026-11-20T12:00:00Z";

async fn fill(catalog: &Catalog, packs: &[Arc<Manifest>]) {
    let store = MemoryStore::new();
    for pack in packs {
        commit(&store, pack).await;
    }
    let filled = catalog
        .rebuild(&store_name(), &reader(&store), &Limits::default())
        .await;
    assert_eq!(filled.unwrap().odd.faults, []);
}

async fn trace(catalog: &Catalog, start: &str, direction: Direction) -> Lineage {
    let starting = catalog.starting(start).await.unwrap().unwrap();
    let lineage = catalog
        .lineage(&starting, direction, Reach::default())
        .await;
    lineage.unwrap()
}

/// `name <- name` for each join.
fn joins(lineage: &Lineage) -> Vec<(String, String, Origin)> {
    let name = |place: usize| lineage.nodes[place].name.clone();
    let joins = lineage.edges.iter();
    let mut joins: Vec<_> = joins
        .map(|edge| (name(edge.source), name(edge.product), edge.origin))
        .collect();
    joins.sort();
    joins
}

fn join(source: &str, product: &str, origin: Origin) -> (String, String, Origin) {
    (source.to_owned(), product.to_owned(), origin)
}

/// Raw data, cleaned, of which a model is trained twice, of which a report is made.
fn chain() -> Vec<Arc<Manifest>> {
    let raw = manifest(
        run("acme", "raw"),
        NOW,
        &[],
        vec![artifact("raw.csv", b"raw")],
    );
    let clean =
        artifact("clean.csv", b"clean").with_inputs(vec![input(raw.pack_id(), "raw.csv", b"raw")]);
    let clean = manifest(run("acme", "clean"), NOW, &[], vec![clean]);
    let trained = |id: &str, bytes: &[u8]| {
        let inputs = vec![input(clean.pack_id(), "clean.csv", b"clean")];
        let model = artifact(&format!("model-{id}.bin"), bytes).with_inputs(inputs);
        manifest(run("acme", &format!("train-{id}")), NOW, &[], vec![model])
    };
    let (a, b) = (trained("a", b"model a"), trained("b", b"model b"));
    let report = artifact("report.html", b"report").with_inputs(vec![
        input(a.pack_id(), "model-a.bin", b"model a"),
        input(b.pack_id(), "model-b.bin", b"model b"),
    ]);
    let report = manifest(run("acme", "report"), NOW, &[], vec![report]);
    vec![raw, clean, a, b, report]
}

#[test]
fn what_a_report_came_from_and_what_came_from_its_data() {
    let both = Both::start();
    block_on(async {
        let packs = chain();
        for catalog in both.open("chain").await {
            fill(&catalog, &packs).await;
            let all = [
                join("clean.csv", "model-a.bin", Origin::Named),
                join("clean.csv", "model-b.bin", Origin::Named),
                join("model-a.bin", "report.html", Origin::Named),
                join("model-b.bin", "report.html", Origin::Named),
                join("raw.csv", "clean.csv", Origin::Named),
            ];
            let report = packs[4].pack_id().to_string();
            let up = trace(&catalog, &report, Direction::Up).await;
            assert_eq!((joins(&up), &up.findings), (all.to_vec(), &vec![]));
            let raw = format!("{}/raw.csv", packs[0].pack_id());
            let down = trace(&catalog, &raw, Direction::Down).await;
            assert_eq!((joins(&down), &down.findings), (all.to_vec(), &vec![]));
            // By its bytes, whichever pack they lie in.
            let bytes = format!("sha256:{}", Digest::of(b"raw"));
            assert_eq!(joins(&trace(&catalog, &bytes, Direction::Down).await), all);
            let nothing = trace(&catalog, &report, Direction::Down).await;
            assert_eq!((nothing.nodes.len(), nothing.edges.len()), (1, 0));
            insta::assert_snapshot!("lineage_text", up.to_text());
            insta::assert_snapshot!("lineage_mermaid", down.to_mermaid());
            insta::assert_snapshot!("lineage_graphviz", down.to_graphviz());
            let json = trace(&catalog, &packs[1].pack_id().to_string(), Direction::Up).await;
            insta::assert_snapshot!("lineage_json", serde_json::to_string_pretty(&json).unwrap());
            for start in [
                "",
                "raw.csv",
                &format!("sha256:{}", "0".repeat(64)),
                &format!("{report}/other"),
            ] {
                assert_eq!(catalog.starting(start).await.unwrap(), None, "{start}");
            }
        }
    });
}

#[test]
fn what_is_named_and_is_not_so_is_a_finding_and_nothing_is_built_on_it() {
    let both = Both::start();
    block_on(async {
        let raw = manifest(
            run("acme", "raw"),
            NOW,
            &[],
            vec![artifact("raw.csv", b"raw")],
        );
        let copy = manifest(
            run("acme", "copy"),
            NOW,
            &[],
            vec![artifact("copy.csv", b"lost")],
        );
        let stranger = PackId::of(b"a pack that nobody has");
        let forger = artifact("forged.csv", b"forged").with_inputs(vec![
            // Other bytes, no such name, a pack that is not known, and one whose bytes are known elsewhere.
            input(raw.pack_id(), "raw.csv", b"other"),
            input(raw.pack_id(), "none.csv", b"raw"),
            input(stranger, "x.csv", b"nobody's"),
            input(stranger, "lost.csv", b"lost"),
        ]);
        let forger = manifest(run("acme", "forger"), NOW, &[], vec![forger]);
        for catalog in both.open("forged").await {
            fill(&catalog, &[raw.clone(), copy.clone(), forger.clone()]).await;
            let up = trace(&catalog, &forger.pack_id().to_string(), Direction::Up).await;
            assert_eq!(
                joins(&up),
                [
                    join("copy.csv", "forged.csv", Origin::SameBytes),
                    join("lost.csv", "forged.csv", Origin::Claimed),
                    join("none.csv", "forged.csv", Origin::Claimed),
                    // What really has those bytes, under its own name, and what is said to have others.
                    join("raw.csv", "forged.csv", Origin::SameBytes),
                    join("raw.csv", "forged.csv", Origin::Claimed),
                    join("x.csv", "forged.csv", Origin::Claimed),
                ]
            );
            let kinds = up.findings.iter().map(|finding| match finding {
                LineageFinding::Forged {
                    source_name,
                    actual,
                    ..
                } => (source_name.as_str(), actual.is_some()),
                LineageFinding::Unknown { source_name, .. } => (source_name.as_str(), false),
                other => panic!("{other:?}"),
            });
            assert_eq!(
                kinds.collect::<Vec<_>>(),
                [
                    ("none.csv", false),
                    ("raw.csv", true),
                    ("lost.csv", false),
                    ("x.csv", false)
                ]
            );
            let down = trace(&catalog, &raw.pack_id().to_string(), Direction::Down).await;
            let is_forged =
                |finding: &LineageFinding| matches!(finding, LineageFinding::Forged { .. });
            assert!(down.findings.iter().any(is_forged), "{:?}", down.findings);
            insta::assert_snapshot!("lineage_forged", up.to_text());
        }
    });
}

#[test]
fn a_cycle_by_bytes_is_a_finding_and_ends() {
    let both = Both::start();
    block_on(async {
        let stranger = PackId::of(b"a pack that nobody has");
        let packed = artifact("packed.gz", b"packed").with_inputs(vec![input(
            stranger,
            "plain.csv",
            b"plain",
        )]);
        let packed = manifest(run("acme", "pack"), NOW, &[], vec![packed]);
        let plain = artifact("plain.csv", b"plain").with_inputs(vec![input(
            packed.pack_id(),
            "packed.gz",
            b"packed",
        )]);
        let plain = manifest(run("acme", "unpack"), NOW, &[], vec![plain]);
        for catalog in both.open("cycle").await {
            fill(&catalog, &[packed.clone(), plain.clone()]).await;
            for direction in [Direction::Up, Direction::Down] {
                let lineage = trace(&catalog, &plain.pack_id().to_string(), direction).await;
                let cycle = LineageFinding::Cycle { nodes: vec![0, 1] };
                assert!(lineage.findings.contains(&cycle), "{lineage:#?}");
                assert!(lineage.to_text().contains("(above)"));
            }
        }
    });
}

/// Packing and unpacking again gives the same bytes, and is no circle: each says which artifact it was made from.
#[test]
fn the_same_bytes_again_are_no_cycle_where_names_tell() {
    let both = Both::start();
    block_on(async {
        let raw = manifest(
            run("acme", "raw"),
            NOW,
            &[],
            vec![artifact("raw.csv", b"raw")],
        );
        let inputs = vec![input(raw.pack_id(), "raw.csv", b"raw")];
        let packed = artifact("raw.gz", b"packed").with_inputs(inputs);
        let packed = manifest(run("acme", "pack"), NOW, &[], vec![packed]);
        let inputs = vec![input(packed.pack_id(), "raw.gz", b"packed")];
        let again = artifact("again.csv", b"raw").with_inputs(inputs);
        let again = manifest(run("acme", "unpack"), NOW, &[], vec![again]);
        let all = [
            join("raw.csv", "raw.gz", Origin::Named),
            join("raw.gz", "again.csv", Origin::Named),
        ];
        for catalog in both.open("again").await {
            fill(&catalog, &[raw.clone(), packed.clone(), again.clone()]).await;
            let bytes = format!("sha256:{}", Digest::of(b"raw"));
            for (start, direction) in [
                (raw.pack_id().to_string(), Direction::Down),
                (bytes, Direction::Down),
                (again.pack_id().to_string(), Direction::Up),
            ] {
                let lineage = trace(&catalog, &start, direction).await;
                assert_eq!(
                    (joins(&lineage), lineage.findings),
                    (all.to_vec(), vec![]),
                    "{start}"
                );
            }
        }
    });
}

/// One file is in every pack, and each makes something of its own: what is not shown is told.
#[test]
fn more_than_there_is_room_for_is_told() {
    let both = Both::start();
    block_on(async {
        let source = manifest(
            run("acme", "source"),
            NOW,
            &[],
            vec![artifact("a.csv", b"a")],
        );
        let mut packs = vec![source.clone()];
        for number in 0..6u32 {
            let made = (0..10u32).map(|at| {
                let inputs = vec![input(source.pack_id(), "a.csv", b"a"); 3];
                let bytes = format!("{number} {at}");
                artifact(&format!("b{at}.csv"), bytes.as_bytes()).with_inputs(inputs)
            });
            packs.push(manifest(
                run("acme", &format!("r{number}")),
                NOW,
                &[],
                made.collect(),
            ));
        }
        for catalog in both.open("room").await {
            fill(&catalog, &packs).await;
            let starting = Starting::Pack(source.pack_id());
            for (nodes_max, is_bounded) in [(61, false), (60, true), (12, true)] {
                let mut reach = Reach::default();
                reach.nodes_max = nodes_max;
                let lineage = catalog
                    .lineage(&starting, Direction::Down, reach)
                    .await
                    .unwrap();
                let bounded = lineage.findings.contains(&LineageFinding::Bounded);
                assert_eq!((lineage.nodes.len(), bounded), (nodes_max, is_bounded));
            }
        }
    });
}

/// Each run has its own copy of one file and works with that: what is read to no end is bounded, and told.
#[test]
fn what_names_copies_without_end_is_not_read_to_the_end() {
    let both = Both::start();
    block_on(async {
        let copy = |run_id: &str| {
            let artifacts = vec![artifact("base.csv", b"base"), artifact("none.txt", b"")];
            manifest(run("acme", run_id), NOW, &[], artifacts)
        };
        let (first, second) = (copy("first"), copy("second"));
        let from = |pack: &Manifest, name: &str, bytes: &[u8], made: &str| {
            let inputs = vec![input(pack.pack_id(), name, bytes)];
            artifact(made, made.as_bytes()).with_inputs(inputs)
        };
        let own = from(&first, "base.csv", b"base", "own.csv");
        let mut packs = vec![manifest(run("acme", "own"), NOW, &[], vec![own])];
        for number in 0..6 {
            let made = (0..1_000).flat_map(|at| {
                let name = format!("{number}-{at}.csv");
                let of_nothing = format!("{number}-{at}.txt");
                [
                    from(&second, "base.csv", b"base", &name),
                    from(&second, "none.txt", b"", &of_nothing),
                ]
            });
            let subject = run("acme", &format!("r{number}"));
            packs.push(manifest(subject, NOW, &[], made.collect()));
        }
        packs.extend([first.clone(), second]);
        let [sqlite, postgres] = both.open("copies").await;
        for catalog in [sqlite, postgres] {
            fill(&catalog, &packs).await;
            // What names an empty file names no other.
            for (name, nodes, is_bounded) in [("base.csv", 2, true), ("none.txt", 1, false)] {
                let starting = Starting::Artifact(first.pack_id(), name.to_owned());
                let mut reach = Reach::default();
                reach.nodes_max = 10;
                let lineage = catalog.lineage(&starting, Direction::Down, reach).await;
                let lineage = lineage.unwrap();
                let bounded = lineage.findings.contains(&LineageFinding::Bounded);
                assert_eq!(
                    (lineage.nodes.len(), bounded),
                    (nodes, is_bounded),
                    "{name}"
                );
            }
        }
    });
}

#[test]
fn how_far_a_lineage_goes_is_bounded() {
    let both = Both::start();
    block_on(async {
        let mut packs = vec![manifest(
            run("acme", "r0"),
            NOW,
            &[],
            vec![artifact("a.csv", b"0")],
        )];
        for number in 1..30u32 {
            let last = packs.last().unwrap();
            let inputs = vec![input(
                last.pack_id(),
                "a.csv",
                (number - 1).to_string().as_bytes(),
            )];
            let next = artifact("a.csv", number.to_string().as_bytes()).with_inputs(inputs);
            packs.push(manifest(
                run("acme", &format!("r{number}")),
                NOW,
                &[],
                vec![next],
            ));
        }
        let [sqlite, postgres] = both.open("bounds").await;
        for catalog in [sqlite, postgres] {
            fill(&catalog, &packs).await;
            let starting = Starting::Pack(packs[29].pack_id());
            for (depth_max, nodes_max, nodes, is_bounded) in [
                (64, 100, 30, false),
                (10, 100, 11, true),
                (64, 5, 5, true),
                (29, 30, 30, false),
            ] {
                let mut reach = Reach::default();
                (reach.depth_max, reach.nodes_max) = (depth_max, nodes_max);
                let lineage = catalog
                    .lineage(&starting, Direction::Up, reach)
                    .await
                    .unwrap();
                let bounded = lineage.findings.contains(&LineageFinding::Bounded);
                assert_eq!(
                    (lineage.nodes.len(), bounded),
                    (nodes, is_bounded),
                    "{reach:?}"
                );
            }
        }
    });
}

/// However much is only not known, what is wrong is told.
#[test]
fn b15_a_forged_source_is_not_hidden_by_a_thousand_unknown_ones() {
    let both = Both::start();
    block_on(async {
        let raw = manifest(
            run("acme", "raw"),
            NOW,
            &[],
            vec![artifact("raw.csv", b"raw")],
        );
        let mut inputs: Vec<_> = (0..1_010_u32)
            .map(|at| input(PackId::of(&at.to_be_bytes()), "x.csv", &at.to_be_bytes()))
            .collect();
        inputs.push(input(raw.pack_id(), "raw.csv", b"other"));
        let forger = artifact("forged.csv", b"forged").with_inputs(inputs);
        let forger = manifest(run("acme", "forger"), NOW, &[], vec![forger]);
        for catalog in both.open("hidden").await {
            fill(&catalog, &[raw.clone(), forger.clone()]).await;
            let up = trace(&catalog, &forger.pack_id().to_string(), Direction::Up).await;
            assert!(up.has_wrong);
            assert!(up.findings[0].is_wrong(), "{:?}", up.findings[0]);
            assert_eq!(up.findings.last(), Some(&LineageFinding::Bounded));
            assert_eq!(up.findings.len(), 1_001);
            let told = catalog
                .interchange(forger.pack_id(), &[Direction::Up], Reach::default())
                .await
                .unwrap()
                .unwrap();
            assert!(!told.is_sound());
        }
    });
}

//! An exporter that is killed at every request it makes to a bucket.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use runpack_testing::block_on;
use runpack_testing::proxy::{Call, Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Kind, TestBucket, shared};

use crate::support::{Desk, said};

/// `runpack export` straight to the bucket, by way of the proxy.
fn export(desk: &Desk, bucket: &TestBucket, proxy: &FaultProxy, run_id: &str) -> Command {
    let server = bucket.server();
    let line = format!(
        "export run --tenant acme --namespace prod --scenario loan-approval --run-id {run_id} --spec run/spec.json \
         --created-at 2026-11-20T12:00:00Z --to s3://{}/ci",
        bucket.name
    );
    let mut command = desk.command();
    command
        .env("RUNPACK_STORE_ENDPOINT", proxy.endpoint())
        .env("RUNPACK_STORE_REGION", &server.region)
        .env("RUNPACK_STORE_ACCESS_KEY", &server.access_key)
        .env("RUNPACK_STORE_SECRET_KEY", &server.secret_key)
        .args(line.split_whitespace());
    command
}

/// `runpack verify` of the run; the exit code.
fn verify(desk: &Desk, bucket: &TestBucket, proxy: &FaultProxy, run_id: &str) -> i32 {
    let command = export(desk, bucket, proxy, run_id);
    let mut plain = Command::new(command.get_program());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            plain.env(name, value);
        }
    }
    if let Some(directory) = command.get_current_dir() {
        plain.current_dir(directory);
    }
    let line = format!(
        "verify s3://{}/ci --tenant acme --namespace prod --scenario loan-approval --run-id {run_id}",
        bucket.name
    );
    said(plain.args(line.split_whitespace())).code.unwrap()
}

/// Kills the exporter at its `number`th request, before or after the server has done it.
fn killed_at(desk: &Desk, bucket: &TestBucket, run_id: &str, number: u64, is_after: bool) -> bool {
    let proxy = FaultProxy::start(&bucket.server().endpoint);
    let pid = Arc::new((Mutex::new(None::<u32>), Condvar::new()));
    let has_killed = Arc::new(AtomicBool::new(false));
    let (victim, told) = (Arc::clone(&pid), Arc::clone(&has_killed));
    let call = Call::new(move |_| {
        let (pid, known) = &*victim;
        let pid = known
            .wait_while(pid.lock().unwrap(), |pid| pid.is_none())
            .unwrap();
        let pid = pid.unwrap().to_string();
        told.store(true, Ordering::SeqCst);
        let kill = Command::new("kill").args(["-KILL", &pid]).status().unwrap();
        assert!(kill.success());
    });
    let fault = if is_after {
        Fault::CallAfter(call)
    } else {
        Fault::CallBefore(call)
    };
    proxy.plan(Rule::new(fault).nth(number));
    let mut child = export(desk, bucket, &proxy, run_id)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    *pid.0.lock().unwrap() = Some(child.id());
    pid.1.notify_all();
    let status = child.wait().unwrap();
    let killed = has_killed.load(Ordering::SeqCst);
    assert_eq!(killed, status.code().is_none(), "{run_id}: {status}");
    killed
}

#[test]
fn w01_w02_w09_w21_an_exporter_is_killed_at_every_request() {
    let desk = Desk::with_run();
    desk.write("run/large.bin", vec![7_u8; (8 << 20) + 1_000]);
    let bucket = block_on(shared(Kind::Ceph).bucket(BucketKind::Plain));
    let direct = FaultProxy::start(&bucket.server().endpoint);
    // Each comes by a way of its own, so each finds out first how to write.
    let counting = FaultProxy::start(&bucket.server().endpoint);
    said(&mut export(&desk, &bucket, &counting, "undisturbed")).expect(0);
    let requests = u64::try_from(counting.log().len()).unwrap();
    let (mut kills, mut there) = (0_u32, 0_u32);
    for number in 1..=requests {
        for is_after in [false, true] {
            let run_id = format!("killed-{number}-{is_after}");
            if !killed_at(&desk, &bucket, &run_id, number, is_after) {
                continue;
            }
            kills += 1;
            // Nothing there is invalid; a pack that is there is whole, though no receipt vouches for it.
            let code = verify(&desk, &bucket, &direct, &run_id);
            assert!(matches!(code, 0 | 2 | 3), "{run_id}: {code}");
            there += u32::from(matches!(code, 0 | 3));
            said(&mut export(&desk, &bucket, &direct, &run_id)).expect(0);
            assert_eq!(verify(&desk, &bucket, &direct, &run_id), 0, "{run_id}");
        }
    }
    println!(
        "{kills} exporters killed at {requests} requests; {there} packs were there all the same, and whole"
    );
    assert!(kills >= u32::try_from(requests).unwrap() && there > 0);
}

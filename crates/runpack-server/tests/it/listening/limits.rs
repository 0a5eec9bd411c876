//! Many peers, many connections, and no descriptors left.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpSocket;

use super::*;

/// A connection from another address of loopback.
async fn connect_from(address: &str, served: &Served) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(address.parse().unwrap(), 0))
        .unwrap();
    socket.connect(served.address).await.unwrap()
}

/// Sends a request, and gives the connection if it was answered.
async fn is_let_in(mut stream: TcpStream) -> Option<TcpStream> {
    // A connection that is refused may be reset before anything is sent.
    let _ = stream.write_all(GET).await;
    let mut first = [0; 12];
    match in_time(stream.read_exact(&mut first)).await {
        Ok(_) if &first == b"HTTP/1.1 200" => Some(stream),
        Ok(_) => {
            assert_eq!(&first, b"HTTP/1.1 503");
            None
        }
        Err(_) => None,
    }
}

#[tokio::test]
async fn c04_connections_of_one_peer_and_of_all_are_bounded() {
    let settings = ListenSettings {
        connections_max: 3,
        connections_per_peer_max: 2,
        ..patient()
    };
    let served = Served::plain(settings).await;
    let one = is_let_in(connect_from("127.0.0.1", &served).await).await;
    let two = is_let_in(connect_from("127.0.0.1", &served).await).await;
    assert!(one.is_some() && two.is_some());
    assert!(
        is_let_in(connect_from("127.0.0.1", &served).await)
            .await
            .is_none()
    );
    assert_eq!(served.connections.refused(), 1);
    // Another peer has its own, as long as there are any.
    let three = is_let_in(connect_from("127.0.0.2", &served).await).await;
    assert!(three.is_some());
    assert!(
        is_let_in(connect_from("127.0.0.3", &served).await)
            .await
            .is_none()
    );
    assert_eq!(
        (served.connections.refused(), served.connections.open()),
        (2, 3)
    );
    drop(one);
    served.until_open(2).await;
    assert!(
        is_let_in(connect_from("127.0.0.1", &served).await)
            .await
            .is_some()
    );
}

#[tokio::test]
async fn the_application_is_told_the_address_of_the_peer() {
    let served = Served::plain(patient()).await;
    let mut stream = connect_from("127.0.0.7", &served).await;
    stream.write_all(GET).await.unwrap();
    let local = stream.local_addr().unwrap().to_string();
    assert!(answer(&mut stream).await.ends_with(&local));
}

/// Kibibytes of memory that this process has.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn c04_a_thousand_idle_connections_are_held_in_little_memory() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .unwrap();
    let served = Served::plain(patient()).await;
    served.assert_serves().await;
    let before = resident();
    let mut held = Vec::new();
    for _ in 0..1_000 {
        let stream = served.connect().await;
        held.push(is_let_in(stream).await.expect("a connection"));
    }
    assert!(served.connections.open() >= 1_000);
    let grown = resident().saturating_sub(before);
    // 64 KiB each: both ends of it, in a build that is not optimised.
    assert!(grown < 64 << 10, "{grown} KiB");
    // None of them is in the way of who has something to say.
    served.assert_serves().await;
    drop(held);
    served.until_open(0).await;
}

#[tokio::test]
async fn c04_a_want_of_descriptors_does_not_end_the_loop() {
    let served = Served::plain(patient()).await;
    served.assert_serves().await;
    served.until_open(0).await;
    // A socket of its own for the client, and then no descriptor for anybody: nextest gives each test a process.
    let socket = TcpSocket::new_v4().unwrap();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(0),
            ..limit
        },
    )
    .unwrap();
    let mut stream = socket.connect(served.address).await.unwrap();
    stream.write_all(GET).await.unwrap();
    until(|| served.connections.accept_failed() >= 2).await;
    setrlimit(Resource::Nofile, limit).unwrap();
    assert_eq!(status(&answer(&mut stream).await), 200);
}

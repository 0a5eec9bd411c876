//! Where plain HTTP may be served, and settings that make no sense.

use super::*;

#[test]
fn s25_tokens_do_not_go_over_the_wire_in_the_open() {
    for (address, behind_proxy, is_allowed) in [
        ("127.0.0.1:80", BehindProxy::No, true),
        ("127.9.9.9:80", BehindProxy::No, true),
        ("[::1]:80", BehindProxy::No, true),
        ("[::ffff:127.0.0.1]:80", BehindProxy::No, true),
        ("0.0.0.0:80", BehindProxy::No, false),
        ("[::]:80", BehindProxy::No, false),
        ("10.0.0.1:80", BehindProxy::No, false),
        ("[::ffff:10.0.0.1]:80", BehindProxy::No, false),
        ("10.0.0.1:80", BehindProxy::Yes, true),
    ] {
        let address = address.parse().unwrap();
        let found = require_tls_outside_loopback(address, &Transport::Plain, behind_proxy);
        assert_eq!(found.is_ok(), is_allowed, "{address}");
    }
}

#[tokio::test]
async fn a_limit_that_lets_nobody_in_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = ListenSettings {
        connections_per_peer_max: 0,
        ..ListenSettings::default()
    };
    let never = std::future::pending();
    let (app, counts) = (Router::new(), Arc::default());
    let served = serve(listener, Transport::Plain, app, settings, counts, never).await;
    let error = served.unwrap_err().to_string();
    assert!(error.contains("connections_per_peer_max"), "{error}");
}

#[tokio::test]
async fn a_peer_that_is_silent_is_asked_whether_it_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    assert!(!sockopt::socket_keepalive(&stream).unwrap());
    keep_alive(&stream);
    assert!(sockopt::socket_keepalive(&stream).unwrap());
    assert_eq!(
        sockopt::tcp_keepidle(&stream).unwrap(),
        Duration::from_mins(1)
    );
}

//! The end of a server: what is under way is finished, nothing more is begun.

use super::*;

#[tokio::test]
async fn a_shutdown_finishes_what_is_under_way_and_begins_nothing() {
    let served = Served::plain(patient()).await;
    let mut under_way = served.connect().await;
    under_way.write_all(GET_SLOW).await.unwrap();
    served.until_slow_has_begun().await;
    let mut idle = served.connect().await;
    idle.write_all(GET).await.unwrap();
    assert_eq!(status(&answer(&mut idle).await), 200);
    let mut silent = served.connect().await;
    served.until_open(3).await;

    served.stop.send(()).unwrap();
    // Who asks for nothing is let go.
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut silent).await, "");
    in_time(async { while TcpStream::connect(served.address).await.is_ok() {} }).await;
    // A second request on the connection is not begun.
    under_way.write_all(GET_SLOW).await.unwrap();
    served.seen.finish.add_permits(2);
    let text = rest(&mut under_way).await;
    assert_eq!((status(&text), answers(&text)), (200, 1), "{text}");
    assert!(
        text.ends_with("slow") && text.contains("connection: close"),
        "{text}"
    );
    in_time(served.task).await.unwrap().unwrap();
    assert_eq!(served.seen.requests.load(Ordering::SeqCst), 2);
    assert_eq!(served.connections.open(), 0);
}

#[tokio::test]
async fn a_shutdown_ends_though_an_answer_does_not() {
    let served = Served::plain(ListenSettings {
        shutdown_grace: SOON,
        ..patient()
    })
    .await;
    let mut stream = served.connect().await;
    stream.write_all(GET_SLOW).await.unwrap();
    served.until_slow_has_begun().await;
    served.stop.send(()).unwrap();
    assert_eq!(rest(&mut stream).await, "");
    in_time(served.task).await.unwrap().unwrap();
    assert_eq!(served.connections.open(), 0);
}

#[tokio::test]
async fn a_handler_that_fails_takes_nobody_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new()
        .route(
            "/fail",
            get(async || -> &'static str { panic!("as it was told to") }),
        )
        .route("/", get(async || "fine"));
    let never = std::future::pending();
    let counts = Arc::<Connections>::default();
    let serving = serve(
        listener,
        Transport::Plain,
        app,
        patient(),
        Arc::clone(&counts),
        never,
    );
    tokio::spawn(serving);
    let mut failing = TcpStream::connect(address).await.unwrap();
    failing
        .write_all(b"GET /fail HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(rest(&mut failing).await, "");
    until(|| counts.open() == 0).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(GET).await.unwrap();
    assert_eq!(status(&answer(&mut stream).await), 200);
}

//! Peers that are slow, or silent, or do not read.

use super::*;

/// Sends the pieces with pauses between them until the server has had enough; gives what came meanwhile.
async fn trickle(stream: TcpStream, piece: &'static [u8]) -> String {
    let (mut read, mut write) = stream.into_split();
    let sending = tokio::spawn(async move {
        while write.write_all(piece).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let text = rest(&mut read).await;
    sending.abort();
    text
}

#[tokio::test]
async fn c04_a_head_that_never_ends_is_cut() {
    let served = Served::plain(ListenSettings {
        header_read: SOON,
        ..patient()
    })
    .await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert_eq!(trickle(stream, b"A: b\r\n").await, "");
    // Empty lines before a request are none of it, and no reason to wait.
    let stream = served.connect().await;
    assert_eq!(trickle(stream, b"\r\n").await, "");
    // The second head of a connection too.
    let mut stream = served.connect().await;
    stream.write_all(GET).await.unwrap();
    assert_eq!(status(&answer(&mut stream).await), 200);
    assert_eq!(trickle(stream, b"A").await, "");
    assert_eq!((served.requests(), served.connections.timed_out()), (1, 3));
    served.until_open(0).await;
}

#[tokio::test]
async fn n06_a_peer_that_says_nothing_is_cut() {
    let served = Served::plain(ListenSettings {
        header_read: SOON,
        ..patient()
    })
    .await;
    assert_eq!(rest(&mut served.connect().await).await, "");
    served.until_open(0).await;
    assert_eq!((served.requests(), served.connections.timed_out()), (0, 1));
}

#[tokio::test]
async fn n06_a_connection_that_is_kept_for_nothing_is_closed() {
    let served = Served::plain(ListenSettings {
        idle: SOON,
        ..patient()
    })
    .await;
    let mut stream = served.connect().await;
    stream.write_all(&GET.repeat(3)).await.unwrap();
    assert_eq!(answers(&rest(&mut stream).await), 3);
    assert_eq!((served.requests(), served.connections.timed_out()), (3, 1));
}

#[tokio::test]
async fn an_application_that_takes_its_time_is_not_idle() {
    let short = ListenSettings {
        idle: SOON,
        header_read: SOON,
        body_idle: SOON,
        ..patient()
    };
    let served = Served::plain(short).await;
    let mut stream = served.connect().await;
    stream.write_all(GET_SLOW).await.unwrap();
    served.until_slow_has_begun().await;
    // Another connection is idle for as long meanwhile.
    assert_eq!(answers(&served.tell(GET).await), 1);
    served.seen.finish.add_permits(1);
    assert!(answer(&mut stream).await.ends_with("slow"));
}

#[tokio::test]
async fn c04_a_body_that_stops_coming_is_cut() {
    let served = Served::plain(ListenSettings {
        body_idle: SOON,
        ..patient()
    })
    .await;
    for request in [
        "POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhello",
        "POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        let text = served.tell(request.as_bytes()).await;
        assert_eq!((status(&text), answers(&text)), (408, 1), "{text}");
        assert!(
            text.contains("stopped coming") && text.contains("bytes=`5`"),
            "{text}"
        );
    }
    assert_eq!(served.connections.timed_out(), 3);
}

#[tokio::test]
async fn c04_a_body_that_comes_too_slowly_is_cut() {
    let served = Served::plain(ListenSettings {
        body_rate_grace: SOON,
        ..patient()
    })
    .await;
    for (head, piece) in [
        (
            &b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n"[..],
            &b"a"[..],
        ),
        (
            b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\na\r\n",
        ),
        // Bytes that are no byte of the body.
        (
            b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1;a=b\r\na\r\n",
        ),
    ] {
        let mut stream = served.connect().await;
        stream.write_all(head).await.unwrap();
        let text = trickle(stream, piece).await;
        assert_eq!((status(&text), answers(&text)), (408, 1), "{text}");
        assert!(text.contains("too slowly"), "{text}");
    }
    assert_eq!(served.connections.timed_out(), 3);
}

#[tokio::test]
async fn c04_a_body_that_comes_fast_enough_is_taken_for_as_long_as_it_comes() {
    let floor = ListenSettings {
        body_rate_grace: SOON,
        body_rate_min: 1,
        ..patient()
    };
    let served = Served::plain(floor).await;
    let mut stream = served.connect().await;
    let head = b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 3072\r\n\r\n";
    let piece = [b'a'; 1 << 10];
    stream
        .write_all(&[&head[..], &piece].concat())
        .await
        .unwrap();
    // Each kibibyte is worth 17 minutes of waiting.
    for _ in 0..2 {
        tokio::time::sleep(SOON * 2).await;
        stream.write_all(&piece).await.unwrap();
    }
    assert!(answer(&mut stream).await.ends_with("\r\n\r\n3072"));
}

#[tokio::test]
async fn c01_a_length_that_is_too_much_is_refused_before_a_byte_of_it() {
    let served = Served::plain(patient()).await;
    let head = format!(
        "POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        BODY_BYTES_MAX + 1
    );
    let mut stream = served.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let text = answer(&mut stream).await;
    assert_eq!(status(&text), 413, "{text}");
    assert_eq!(rest(&mut stream).await, "");
    // Who sends on all the same is let, for a while: a reset would take the answer from those who read it later.
    for _ in 0..64 {
        stream.write_all(&[b'a'; 16 << 10]).await.unwrap();
    }
    assert_eq!(served.requests(), 1);
}

#[tokio::test]
async fn c02_a_body_without_end_is_counted_and_cut() {
    let served = Served::plain(patient()).await;
    let mut stream = served.connect().await;
    stream
        .write_all(b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let (mut read, mut write) = stream.into_split();
    let chunk = [b"10000\r\n", &vec![b'a'; 0x1_0000][..], b"\r\n"].concat();
    let sending = tokio::spawn(async move {
        let mut sent = 0_usize;
        while write.write_all(&chunk).await.is_ok() {
            sent += 1;
        }
        sent
    });
    let text = rest(&mut read).await;
    assert_eq!((status(&text), answers(&text)), (413, 1), "{text}");
    assert!(in_time(sending).await.unwrap() >= BODY_BYTES_MAX >> 16);
}

#[tokio::test]
async fn c02_a_body_that_nobody_reads_is_not_taken_for_a_request() {
    let served = Served::plain(ListenSettings {
        idle: SOON,
        ..patient()
    })
    .await;
    let inner = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10_000);
    let request = format!(
        "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{inner}",
        inner.len()
    );
    let text = served.tell(request.as_bytes()).await;
    assert_eq!(
        (status(&text), answers(&text), served.requests()),
        (200, 1, 1),
        "{text}"
    );
}

#[tokio::test]
async fn c04_a_client_that_reads_nothing_is_cut() {
    let served = Served::plain(ListenSettings {
        write_stall: SOON,
        ..patient()
    })
    .await;
    let mut stream = served.connect().await;
    stream.write_all(GET_BIG).await.unwrap();
    until(|| served.connections.timed_out() == 1).await;
    served.until_open(0).await;
}

#[tokio::test]
async fn c04_a_client_that_reads_little_by_little_is_cut() {
    let fast = ListenSettings {
        body_rate_grace: SOON,
        body_rate_min: u64::MAX,
        ..patient()
    };
    let served = Served::plain(fast).await;
    let mut stream = served.connect().await;
    stream.write_all(GET_BIG).await.unwrap();
    let mut read = 0;
    let mut piece = [0; 4 << 10];
    while let Ok(bytes @ 1..) = in_time(stream.read(&mut piece)).await {
        read += bytes;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(read < BIG_BYTES, "{read}");
    assert_eq!(served.connections.timed_out(), 1);
    served.until_open(0).await;
}

#[tokio::test]
async fn a_client_that_reads_gets_all_of_a_large_answer() {
    let served = Served::plain(patient()).await;
    let mut stream = served.connect().await;
    stream.write_all(GET_BIG).await.unwrap();
    let mut text = String::new();
    in_time(stream.read_to_string(&mut text)).await.unwrap();
    assert!(text.len() > BIG_BYTES, "{}", text.len());
}

#[tokio::test]
async fn c32_an_application_that_hangs_is_answered_for() {
    let served = Served::plain(ListenSettings {
        answer: SOON,
        ..patient()
    })
    .await;
    let mut stream = served.connect().await;
    stream.write_all(GET_SLOW).await.unwrap();
    let text = answer(&mut stream).await;
    assert_eq!(status(&text), 503, "{text}");
    assert!(text.contains("retry-after: 5"), "{text}");
    // The connection is as good as before.
    stream.write_all(GET).await.unwrap();
    assert_eq!(status(&answer(&mut stream).await), 200);
}

//! What stands for a bucket that signs URLs: it hears who follows them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use runpack_core::store::{ObjectRef, StoreError};
use runpack_server::links::Links;

/// The head of a request.
#[derive(Debug, Clone)]
pub(super) struct Asked(Vec<String>);

impl Asked {
    pub(super) fn path(&self) -> &str {
        self.0[0].split(' ').nth(1).unwrap()
    }

    pub(super) fn says(&self, name: &str) -> bool {
        let begins = |line: &String| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        self.0.iter().any(begins)
    }
}

#[derive(Debug)]
pub(super) struct Bucket {
    address: SocketAddr,
    asked: Mutex<Vec<Asked>>,
}

impl Bucket {
    /// Listens for as long as the test runs.
    pub(super) fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let bucket = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            asked: Mutex::default(),
        });
        let hears = Arc::clone(&bucket);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<_> = lines
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                // A browser also opens connections that it does not use.
                if !head.is_empty() {
                    hears.asked.lock().unwrap().push(Asked(head));
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 7\r\n\r\na trace");
                }
            }
        });
        bucket
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Links for Bucket {
    async fn sign(
        &self,
        object: &ObjectRef,
        valid_for: Duration,
    ) -> Result<(String, Duration), StoreError> {
        let url = format!("{}{}?signature=1", self.url(), object.key);
        Ok((url, valid_for))
    }
}

//! Stands between a client and the broker, and does what networks do.

use std::io::ErrorKind;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mode {
    /// How often everything was cut off.
    cuts: u64,
    /// Whether nothing is passed on.
    holds: bool,
}

#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    pub(crate) async fn to(broker: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, watched) = watch::channel(Mode::default());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (broker, mode) = (broker.clone(), watched.clone());
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(broker).await else { return };
                    let mut ended = mode.clone();
                    let cuts = ended.borrow().cuts;
                    tokio::select! {
                        () = pass(&client, &server, mode.clone()) => {}
                        () = pass(&server, &client, mode) => {}
                        _ = ended.wait_for(|mode| mode.cuts != cuts) => {}
                    }
                });
            }
        });
        Self { port, mode }
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.mode.send_modify(|mode| mode.cuts += 1);
    }

    /// Passes nothing on until [`go_on`](Self::go_on), and tells nobody.
    pub(crate) fn hold(&self) {
        self.mode.send_modify(|mode| mode.holds = true);
    }

    pub(crate) fn go_on(&self) {
        self.mode.send_modify(|mode| mode.holds = false);
    }
}

async fn pass(from: &TcpStream, to: &TcpStream, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        if from.readable().await.is_err() || mode.wait_for(|mode| !mode.holds).await.is_err() {
            return;
        }
        let mut rest = match from.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        while !rest.is_empty() {
            if to.writable().await.is_err() {
                return;
            }
            match to.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

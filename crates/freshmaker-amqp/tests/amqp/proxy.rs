//! Stands between a client and the broker, and does what networks do.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
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
                    let is_cut = tokio::select! {
                        () = pass(&client, &server, mode.clone()) => false,
                        () = pass(&server, &client, mode) => false,
                        is_cut = async { ended.wait_for(|mode| mode.cuts != cuts).await.is_ok() } => is_cut,
                    };
                    if is_cut {
                        let (client, server) = (client.into_std().unwrap(), server.into_std().unwrap());
                        tokio::task::spawn_blocking(move || cut(client, server));
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

/// Ends a connection without losing what the client has already sent: what it was told of that
/// holds. For the same reason the broker is told of the end in order, and everything that it says
/// is read, or the system would throw away what it has not read yet.
fn cut(mut client: std::net::TcpStream, mut server: std::net::TcpStream) -> std::io::Result<()> {
    server.set_nonblocking(false)?;
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        server.write_all(&buffer[..count])?;
    }
    drop(client);
    server.shutdown(Shutdown::Write)?;
    while server.read(&mut buffer)? > 0 {}
    Ok(())
}

async fn write(to: &TcpStream, mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        if to.writable().await.is_err() {
            return false;
        }
        match to.try_write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
    true
}

async fn pass(from: &TcpStream, to: &TcpStream, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        if from.readable().await.is_err() || mode.wait_for(|mode| !mode.holds).await.is_err() {
            return;
        }
        match from.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                if !write(to, &buffer[..count]).await {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

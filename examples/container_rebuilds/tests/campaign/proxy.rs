//! A network that can be cut: between the replicas and a server.

use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Net {
    /// They pass.
    Whole,
    /// Those that there are stay open, and nothing passes any more: a partition.
    Silent,
    /// Those that there are are cut, and new ones are refused.
    Cut,
}

/// Listens on a port of its own, and passes on to the server.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    net: Arc<watch::Sender<Net>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// Listens on this address of the machine.
    pub(crate) async fn to(server: String, host: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let net = Arc::new(watch::Sender::new(Net::Whole));
        let of = Arc::clone(&net);
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                if *of.borrow() != Net::Cut {
                    tokio::spawn(pass(client, server.clone(), of.subscribe()));
                }
            }
        });
        Self { address, net, accepting }
    }

    pub(crate) fn set(&self, net: Net) {
        self.net.send_replace(net);
    }
}

async fn pass(client: TcpStream, server: String, net: watch::Receiver<Net>) {
    let mut until_cut = net.clone();
    let cut = async { drop(until_cut.wait_for(|net| *net == Net::Cut).await) };
    let passing = async {
        // A partition that there is already: the server is not reached.
        drop(net.clone().wait_for(|net| *net == Net::Whole).await);
        let Ok(server) = TcpStream::connect(server).await else { return };
        let (client, server) = (client.into_split(), server.into_split());
        let up = copy(client.0, server.1, net.clone());
        let down = copy(server.0, client.1, net.clone());
        tokio::select! { () = up => {}, () = down => {} }
    };
    tokio::select! { () = cut => {}, () = passing => {} }
}

/// Passes bytes on while the net is whole; those that come otherwise wait.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut net: watch::Receiver<Net>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if net.wait_for(|net| *net == Net::Whole).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

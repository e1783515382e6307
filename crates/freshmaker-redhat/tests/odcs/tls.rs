//! A service that wants to see a certificate.

use freshmaker::backend::Remedy;
use freshmaker_redhat::odcs::{OdcsComposer, OdcsConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use test_support::certificates;

const ABOUT: &str = r#"{"version": "0.8.1", "auth_backend": "ssl"}"#;

/// Answers whoever shows a certificate of this authority, for as long as the test runs. Its port.
fn serve(directory: &Path) -> u16 {
    let certificate = |name: &str| CertificateDer::from_pem_file(directory.join(name)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca.pem")).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(verifier);
    let config = Arc::new(config.with_single_cert(vec![certificate("server.pem")], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            // A client without a certificate is an error here.
            drop(answer(&config, stream));
        }
    });
    port
}

fn answer(config: &Arc<ServerConfig>, stream: TcpStream) -> std::io::Result<()> {
    let connection = ServerConnection::new(config.clone()).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    let stream = stream.get_mut();
    let length = ABOUT.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{ABOUT}")?;
    stream.conn.send_close_notify();
    stream.flush()
}

#[tokio::test]
async fn a_certificate_is_shown_to_who_demands_one() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    certificates::make(directory.path());
    let both = ["client.pem", "client.key"].map(|name| std::fs::read_to_string(at(name)).unwrap());
    std::fs::write(at("both.pem"), both.concat()).unwrap();
    let mut config = OdcsConfig::new(format!("https://localhost:{}", serve(directory.path())));
    config.http.tls.ca = Some(at("ca.pem"));
    let nobody = OdcsComposer::new(config.clone()).unwrap().check().await.unwrap_err();
    assert_eq!(nobody.remedy, Remedy::Unavailable, "{nobody}");
    config.http.tls.client_cert = Some(at("both.pem"));
    assert_eq!(OdcsComposer::new(config.clone()).unwrap().check().await.unwrap().auth_backend, "ssl");
    config.http.tls.ca = Some(at("client.pem"));
    let stranger = OdcsComposer::new(config).unwrap().check().await.unwrap_err();
    assert!(stranger.text.contains("certificate"), "{stranger}");
}

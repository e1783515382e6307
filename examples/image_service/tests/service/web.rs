//! What the service serves by HTTP.

use crate::support::{Builder, World, has};
use freshmaker::artifact::Digest;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};

/// Returns a port that nobody uses: another one each time, and none that the system would give to
/// a connection before the service has it.
fn port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = 20_000 + std::process::id() % 10_000;
    let ports = std::iter::repeat_with(|| u16::try_from(first + NEXT.fetch_add(1, Ordering::Relaxed)).unwrap());
    ports.take(1_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// Sends a request, and returns the answer with its head.
fn ask(port: u16, request: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    let head = format!("{request} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}Content-Length: {length}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_hook_has_the_tree_fetched() {
    let world = World::fake().await;
    world.push("base:1", &["base one"]).await;
    world.recipe("app", "FROM @/base:1\n");
    let port = port();
    let more = format!(
        "[web]\nlisten = \"127.0.0.1:{port}\"\nauthentication = {{ none = true }}\n\
         [hooks]\ngit_secret_file = \"secret\"\nfetch = [\"cp\", \"new\", \"app/file\"]\n"
    );
    world.configure(&Builder::Test, "", &more);
    world.file("secret", "sixteen letters or more");
    world.file("new", "what was committed");
    world.serve();
    world.settled().await;
    let post =
        |path: &str, secret: &str| ask(port, &format!("POST {path}"), &format!("X-Gitlab-Token: {secret}\r\n"), "{}");
    has(&post("/hooks/git", "another secret altogether"), "HTTP/1.1 401");
    has(&post("/hooks/git", "sixteen letters or more"), "HTTP/1.1 202");
    has(&post("/hooks/registry", ""), "HTTP/1.1 202");
    world.until("fetched", |_| world.log().contains("the tree was fetched")).await;
    world.settled().await;
    assert_eq!(world.layers("app").await.last(), Some(&Digest::of(b"what was committed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_the_logins_of_the_interface() {
    let world = World::fake().await;
    world.push("base:1", &["base one"]).await;
    world.recipe("app", "FROM @/base:1\n");
    let port = port();
    let web = |login: &str| format!("[web]\nlisten = \"127.0.0.1:{port}\"\nauthentication = {login}\n[web.page]\n");
    world.configure(&Builder::Test, "", &web("{ none = true }"));
    world.serve();
    world.settled().await;
    let page = ask(port, "GET /builds", "Accept: text/html\r\n", "");
    has(&page, "HTTP/1.1 200");
    has(&page, "app:latest");

    world.configure(&Builder::Test, "", &web("{ tokens = true }"));
    world.reload();
    world.until("read again", |_| world.log().contains("the configuration is read again")).await;
    let refused = || ask(port, "GET /builds", "Accept: text/html\r\n", "");
    world.until("a login", |_| refused().starts_with("HTTP/1.1 401")).await;
    let token = world.good(&["token", "scanner"]);
    let token = format!("Authorization: Bearer {}\r\n", token.trim());
    has(&ask(port, "GET /builds", &format!("Accept: text/html\r\n{token}"), ""), "app:latest");

    // A scanner says that an image is to be fixed.
    let image = world.image("app:latest");
    let event = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"7\",\"source\":\"/scanner\",\"type\":\"image.fix-available\",\
         \"data\":{{\"advisory\":\"CVE-2026-1234\",\"images\":[\"{image}\"],\"severity\":\"critical\"}}}}"
    );
    let headers = format!("Content-Type: application/cloudevents+json\r\n{token}");
    has(&ask(port, "POST /api/3/messages", &headers, &event), "HTTP/1.1 20");
    world.until("fixed", |_| world.builds_of("app") == 2).await;
    assert!(world.ledger().iter().any(|[what, ..]| what == "no-cache:CVE-2026-1234"));
}

//! A service, a client of it, and a clock that moves when it is told to.

use freshmaker::backend::{Clock, ComposeRequest, Composer};
use freshmaker::rebuild::{AttemptId, ExternalId, Observed};
use freshmaker::time::{Timestamp, later};
use freshmaker_redhat::fakes::odcs::FakeOdcs;
use freshmaker_redhat::odcs::{Compose, OdcsComposer, OdcsConfig};
use freshmaker_testing::sim::VirtualClock;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn start_of_time() -> Timestamp {
    "2026-11-23T07:07:28Z".parse().unwrap()
}

pub(crate) struct World {
    pub(crate) clock: VirtualClock,
    pub(crate) service: FakeOdcs,
    pub(crate) odcs: OdcsComposer,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With a configuration that is changed first.
    pub(crate) async fn with(change: impl FnOnce(&mut OdcsConfig)) -> Self {
        let clock = VirtualClock::new(start_of_time());
        let service = FakeOdcs::start(Arc::new(clock.clone())).await.unwrap();
        let mut config = OdcsConfig::new(service.url());
        config.http.timeout = Duration::from_millis(500);
        change(&mut config);
        let odcs = OdcsComposer::new(config).unwrap().with_clock(Arc::new(clock.clone()));
        Self { clock, service, odcs }
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance_to(later(self.clock.now(), time));
    }

    pub(crate) async fn status(&self, id: &ExternalId) -> Observed {
        let mut found = self.odcs.status(std::slice::from_ref(id)).await.unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0).observed
    }

    /// What the lookup finds that a request left which was sent now.
    pub(crate) async fn found(&self, request: &ComposeRequest) -> Vec<String> {
        let found = self.odcs.find(request, self.clock.now()).await.unwrap();
        found.into_iter().map(|found| compose_of(&found.external)).collect()
    }

    /// How often something was asked.
    pub(crate) fn asked(&self, what: &str) -> usize {
        self.service.asked().iter().filter(|asked| asked.starts_with(what)).count()
    }
}

pub(crate) fn request(number: u128, compose: &Compose) -> ComposeRequest {
    ComposeRequest {
        attempt: AttemptId::from_random(number),
        artifact: compose.artifact(),
        parameters: compose.into(),
        no_cache: false,
    }
}

/// The number of the compose, out of the name that the engine has for it.
pub(crate) fn compose_of(external: &ExternalId) -> String {
    external.as_str().split('@').next().unwrap().to_owned()
}

/// A request on a connection of its own: status, head and body of the answer.
pub(crate) async fn ask(url: &str, method: &str, path: &str, body: &str) -> (u16, String, String) {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

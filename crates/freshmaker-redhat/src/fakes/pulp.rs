//! A fake Pulp 2: its search for repositories.

use super::wire::{Wire, lock, serve};
use freshmaker_testing::http::{Reply, Request, Server};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

const SEARCH: &str = "/pulp/api/v2/repositories/search/";

#[derive(Debug, Default)]
struct Service {
    wire: Wire,
    /// The notes of each repository.
    repositories: BTreeMap<String, Map<String, Value>>,
    /// How many repositories each search asked for.
    searched: Vec<usize>,
}

impl Service {
    fn reply(&mut self, request: &Request) -> Reply {
        let Self { wire, repositories, searched } = self;
        wire.reply(request, || {
            if request.method != "POST" || request.path != SEARCH {
                return None;
            }
            let body: Value = serde_json::from_slice(&request.body).ok()?;
            let ids = body["criteria"]["filters"]["id"]["$in"].as_array()?;
            searched.push(ids.len());
            let ids: BTreeSet<&str> = ids.iter().filter_map(Value::as_str).collect();
            let wanted = repositories.iter().filter(|(id, _)| ids.contains(id.as_str()));
            let fields = body["criteria"]["fields"].as_array()?;
            Some(wanted.map(|(id, notes)| row(id, notes, fields)).collect())
        })
    }
}

/// Describes a repository by these fields. Its id and address are always among them.
fn row(id: &str, notes: &Map<String, Value>, fields: &[Value]) -> Value {
    let mut row = json!({ "_href": format!("/pulp/api/v2/repositories/{id}/"), "_id": { "$oid": "0" }, "id": id });
    if fields.iter().any(|field| field == "notes") {
        row["notes"] = json!(notes);
    }
    row
}

/// A fake Pulp on a free port of localhost. It stops when it is dropped.
///
/// ```
/// use freshmaker_redhat::fakes::pulp::FakePulp;
/// use freshmaker_redhat::contracts::ContentSets;
/// use freshmaker_redhat::pulp::{Pulp, PulpConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let service = FakePulp::start().await?;
/// service.add("rhel-7-desktop-rpms__7Client__x86_64", Some("rhel-7-desktop-rpms"));
/// service.add("somebody-s-repository", None);
/// let pulp = Pulp::new(PulpConfig::new(service.url()))?;
/// let ids = ["rhel-7-desktop-rpms__7Client__x86_64", "somebody-s-repository", "unknown"];
/// let found = pulp.content_sets(&ids.map(str::to_owned).into()).await?;
/// assert_eq!(found, ["rhel-7-desktop-rpms".to_owned()].into());
/// assert_eq!(service.searched(), [3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[doc(alias = "mock")]
pub struct FakePulp {
    server: Server,
    service: Arc<Mutex<Service>>,
}

impl FakePulp {
    /// Starts a service without repositories.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start() -> io::Result<Self> {
        let (server, service) = serve(Service::reply).await?;
        Ok(Self { server, service })
    }

    /// Returns the base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Adds a repository, or replaces the one with this id.
    pub fn add(&self, id: &str, content_set: Option<&str>) {
        let notes = content_set.map(|set| ("content_set".to_owned(), json!(set))).into_iter().collect();
        lock(&self.service).repositories.insert(id.to_owned(), notes);
    }

    /// From now on, a request needs this value of the header `Authorization`; any other is answered
    /// by 401.
    pub fn require_authorization(&self, value: &str) {
        lock(&self.service).wire.require(value);
    }

    /// Answers the next request whose path contains this text by `reply`. Several replies for one
    /// path are used in the order of the calls.
    pub fn disturb(&self, path: &str, reply: Reply) {
        lock(&self.service).wire.disturb(path, reply);
    }

    /// Shows this value at this path from now on, whatever is true: what a service of another
    /// version, or a broken one, would answer.
    pub fn show(&self, path: &str, value: Value) {
        lock(&self.service).wire.show(path, value);
    }

    /// Returns the requests, such as `POST /pulp/api/v2/repositories/search/`, oldest first; at
    /// most the last 10,000.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        lock(&self.service).wire.asked()
    }

    /// Returns for how many repositories each search asked, oldest first.
    #[must_use]
    pub fn searched(&self) -> Vec<usize> {
        lock(&self.service).searched.clone()
    }
}

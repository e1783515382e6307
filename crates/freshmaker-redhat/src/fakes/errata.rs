//! A fake Errata Tool: what it shows of advisories, by both of its interfaces.

use super::wire::{Wire, lock, serve};
use crate::contracts::Advisory;
use freshmaker::artifact::Nvr;
use freshmaker::time::{Timestamp, from_micros};
use freshmaker_testing::http::{Reply, Request, Server};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

/// The number of the product of every advisory.
const PRODUCT: u64 = 104;

/// A build that is attached to an advisory.
///
/// ```
/// use freshmaker::Nvr;
/// use freshmaker_redhat::fakes::errata::FakeBuild;
///
/// let nvr: Nvr = "32:bind-9.16.23-1.el9".parse()?;
/// let build = FakeBuild::new(nvr, ["RHEL-9"])
///     .with_files(["bind-libs-9.16.23-1.el9.x86_64.rpm", "bind-9.16.23-1.el9.src.rpm"])
///     .fixing(["CVE-2021-25219"]);
/// assert!(build.signed);
/// # Ok::<(), freshmaker::artifact::NvrError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FakeBuild {
    /// Its name; without an epoch, the service shows the epoch 0.
    pub nvr: Nvr,
    /// The products that it is shipped to, such as `RHEL-9`.
    pub products: BTreeSet<String>,
    /// The names of its files. What is before `.rpm` ends with the architecture.
    pub files: BTreeSet<String>,
    /// The CVEs that it fixes.
    pub cves: BTreeSet<String>,
    /// Whether it is signed.
    pub signed: bool,
    /// Whether it is a module, whose files have versions of their own.
    pub module: bool,
}

impl FakeBuild {
    /// Creates a signed build without files for these products that fixes no CVE.
    pub fn new<T: Into<String>>(nvr: Nvr, products: impl IntoIterator<Item = T>) -> Self {
        let products = products.into_iter().map(Into::into).collect();
        Self { nvr, products, files: BTreeSet::new(), cves: BTreeSet::new(), signed: true, module: false }
    }

    /// Returns the build with these further files.
    #[must_use]
    pub fn with_files<T: Into<String>>(mut self, files: impl IntoIterator<Item = T>) -> Self {
        self.files.extend(files.into_iter().map(Into::into));
        self
    }

    /// Returns the build with these further CVEs that it fixes.
    #[must_use]
    pub fn fixing<T: Into<String>>(mut self, cves: impl IntoIterator<Item = T>) -> Self {
        self.cves.extend(cves.into_iter().map(Into::into));
        self
    }

    /// Returns the build without a signature.
    #[must_use]
    pub fn unsigned(self) -> Self {
        Self { signed: false, ..self }
    }

    /// Returns the build as a module.
    #[must_use]
    pub fn as_module(self) -> Self {
        Self { module: true, ..self }
    }

    fn name(&self) -> String {
        format!("{}-{}-{}", self.nvr.name(), self.nvr.version(), self.nvr.release())
    }

    /// Returns the files by architecture, each shown in this way.
    fn by_architecture(&self, show: impl Fn(&str) -> Value) -> Value {
        let mut all: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for file in &self.files {
            let architecture = match file.strip_suffix(".rpm").and_then(|name| name.rsplit_once('.')) {
                Some((_, "src" | "nosrc")) => "SRPMS",
                Some((_, architecture)) => architecture,
                None => "multi",
            };
            all.entry(architecture).or_default().push(show(file));
        }
        json!(all)
    }

    fn head(&self) -> Value {
        let (epoch, nvr) = (self.nvr.epoch().unwrap_or(0), &self.nvr);
        let nevr = format!("{}-{epoch}:{}-{}", nvr.name(), nvr.version(), nvr.release());
        json!({ "nvr": self.name(), "nevr": nevr, "id": 1, "is_module": self.module })
    }
}

#[derive(Debug)]
struct Entry {
    advisory: Advisory,
    builds: Vec<FakeBuild>,
    repositories: BTreeSet<String>,
    /// When it was created, and when it came into its state.
    times: (Timestamp, Timestamp),
}

impl Entry {
    fn erratum(&self) -> Value {
        let advisory = &self.advisory;
        let kind = advisory.name.split('-').next().unwrap_or_default().to_lowercase();
        let cves: Vec<&str> = advisory.cves.iter().map(String::as_str).collect();
        json!({
            "errata": { kind: {
                "id": advisory.id,
                "fulladvisory": advisory.name,
                "status": advisory.state,
                "content_types": advisory.content_types,
                "security_impact": capital(&advisory.security_impact),
                "product_id": PRODUCT,
            } },
            "content": { "content": { "cve": cves.join(" ") } },
        })
    }

    fn summary(&self) -> Value {
        let advisory = &self.advisory;
        // Without the revision: `RHSA-2018:2838` of `RHSA-2018:2838-08`.
        let name = advisory.name.splitn(3, '-').take(2).collect::<Vec<_>>().join("-");
        json!({
            "id": advisory.id,
            "advisory_name": name,
            "status": advisory.state,
            "security_impact": capital(&advisory.security_impact),
            "content_types": advisory.content_types,
            "product": { "id": PRODUCT, "short_name": advisory.product },
            "release": { "id": 1, "name": advisory.release },
            "people": { "reporter": advisory.reporter },
            "timestamps": self.timestamps(),
        })
    }

    fn timestamps(&self) -> Value {
        let (created, changed) = self.times;
        let shipped = (self.advisory.state == "SHIPPED_LIVE").then_some(changed);
        json!({ "created_at": created, "status_time": changed, "actual_ship_date": shipped })
    }

    fn bugs(&self) -> Value {
        let bug = |id: u64, flags| json!({ "id": id, "is_security": true, "alias": "", "flags": flags });
        let plain = bug(1_519_779, "requires_doc_text+,hightouch?");
        let hightouch = bug(1_519_780, "hightouch+,requires_doc_text+,rhsa_sla+");
        if self.advisory.has_hightouch_bug { json!([plain, hightouch]) } else { json!([plain]) }
    }

    /// Returns the builds of each product, shown in this way.
    fn by_product<'a>(
        &'a self,
        chosen: impl Fn(&FakeBuild) -> bool,
        show: impl Fn(&'a FakeBuild, &str) -> Value,
    ) -> BTreeMap<&'a str, Vec<Value>> {
        let mut all: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for build in self.builds.iter().filter(|build| chosen(build)) {
            for product in &build.products {
                all.entry(product).or_default().push(json!({ build.name(): show(build, product) }));
            }
        }
        all
    }

    fn builds(&self) -> Value {
        json!(self.by_product(|_| true, |build, product| json!({ product: build.by_architecture(|file| json!(file)) })))
    }

    fn builds_list(&self) -> Value {
        let show = |build: &FakeBuild, _: &str| {
            let mut head = build.head();
            head["is_signed"] = json!(build.signed);
            head
        };
        described(self.by_product(|_| true, show))
    }

    fn builds_by_cve(&self) -> Value {
        let of = |cve: &String| {
            let show = |build: &FakeBuild, product: &str| {
                let mut head = build.head();
                let file = |name: &str| json!({ "filename": name, "is_signed": build.signed });
                head["variant_arch"] = json!({ product: build.by_architecture(file) });
                head
            };
            (cve.clone(), described(self.by_product(|build| build.cves.contains(cve), show)))
        };
        Value::Object(self.builds.iter().flat_map(|build| &build.cves).map(of).collect())
    }

    fn packages(&self) -> Value {
        Value::Object(self.repositories.iter().map(|id| (id.clone(), json!([]))).collect())
    }
}

fn described(products: BTreeMap<&str, Vec<Value>>) -> Value {
    let describe = |(name, builds): (&str, Vec<Value>)| {
        (name.to_owned(), json!({ "name": name, "description": name, "builds": builds }))
    };
    Value::Object(products.into_iter().map(describe).collect())
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[derive(Debug, Default)]
struct Service {
    wire: Wire,
    advisories: BTreeMap<u64, Entry>,
    /// Whether rows of a search leave out the times of advisories.
    terse: bool,
}

/// Number of advisories on a page.
const PAGE: usize = 20;

impl Service {
    fn reply(&mut self, request: &Request) -> Reply {
        let Self { wire, advisories, terse } = self;
        let search = || request.path == "/api/v1/erratum/search";
        wire.reply(request, || match request.method.as_str() {
            "GET" if search() => Some(shipped(advisories, &request.query, *terse)),
            "GET" => truth(advisories, &request.path),
            _ => None,
        })
    }
}

/// Returns a page of the advisories that have shipped, those with the highest numbers first. Other
/// conditions of a search are not known here.
fn shipped(advisories: &BTreeMap<u64, Entry>, query: &str, terse: bool) -> Value {
    let asked = query.split('&').find_map(|part| part.strip_prefix("page%5Bnumber%5D="));
    let number = asked.and_then(|text| text.parse::<usize>().ok()).unwrap_or(1).max(1);
    let all: Vec<&Entry> = advisories.values().rev().filter(|entry| entry.advisory.state == "SHIPPED_LIVE").collect();
    let row = |entry: &&Entry| {
        let mut row = json!({ "id": entry.advisory.id, "content_types": entry.advisory.content_types });
        if !terse {
            row["timestamps"] = entry.timestamps();
        }
        row
    };
    let rows: Vec<Value> = all.iter().skip((number - 1) * PAGE).take(PAGE).map(row).collect();
    let page = json!({ "current_page": number, "total_pages": all.len().div_ceil(PAGE), "result_count": all.len() });
    json!({ "data": rows, "page": page })
}

/// Returns what is at a path, if there is something.
fn truth(advisories: &BTreeMap<u64, Entry>, path: &str) -> Option<Value> {
    let of = |id: &str| advisories.get(&id.parse().ok()?);
    let steps: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match steps.as_slice() {
        ["api", "v1", "erratum", id] => Some(of(id)?.erratum()),
        ["api", "v1", "erratum", id, "builds_by_cve"] => Some(of(id)?.builds_by_cve()),
        ["api", "v1", "erratum", id, "builds_list"] => Some(of(id)?.builds_list()),
        ["api", "v1", "build", nvr] => build(advisories, nvr),
        ["advisory", id, "bugs.json"] => Some(of(id)?.bugs()),
        ["advisory", id, "builds.json"] => Some(of(id)?.builds()),
        ["advisory", file] => Some(of(file.strip_suffix(".json")?)?.summary()),
        ["errata", "get_pulp_packages", file] => Some(of(file.strip_suffix(".json")?)?.packages()),
        _ => None,
    }
}

fn build(advisories: &BTreeMap<u64, Entry>, nvr: &str) -> Option<Value> {
    let has = |entry: &&Entry| entry.builds.iter().any(|build| build.name() == nvr);
    let all: Vec<Value> = advisories
        .values()
        .filter(has)
        .map(|entry| {
            let advisory = &entry.advisory;
            json!({ "id": advisory.id, "name": advisory.name, "status": advisory.state })
        })
        .collect();
    (!all.is_empty()).then(|| json!({ "id": 1, "nvr": nvr, "all_errata": all }))
}

/// A fake Errata Tool on a free port of localhost. It stops when it is dropped.
///
/// ```
/// use freshmaker_redhat::errata::{ErrataConfig, ErrataTool};
/// use freshmaker_redhat::fakes::errata::{FakeBuild, FakeErrataTool};
/// use freshmaker_redhat::contracts::{Advisories, Advisory};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let service = FakeErrataTool::start().await?;
/// let advisory = Advisory {
///     id: 28484,
///     name: "RHSA-2017:28484-01".into(),
///     state: "QE".into(),
///     product: "RHEL".into(),
///     release: "RHEL-7.4.0".into(),
///     reporter: "someone@example.org".into(),
///     ..Advisory::default()
/// };
/// let build = FakeBuild::new("bash-4.2-9.el7".parse()?, ["RHEL-7"])
///     .with_files(["bash-4.2-9.el7.x86_64.rpm", "bash-4.2-9.el7.src.rpm"]);
/// service.add(advisory.clone(), [build], ["rhel-7-server-rpms__7Server__x86_64"]);
///
/// let errata = ErrataTool::new(ErrataConfig::new(service.url()))?;
/// assert_eq!(errata.advisory(28484).await?, advisory);
/// assert_eq!(errata.fixed_packages(28484).await?, ["bash-4.2-9.el7".parse()?].into());
/// assert_eq!(errata.repositories(28484).await?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[doc(alias = "mock")]
pub struct FakeErrataTool {
    server: Server,
    service: Arc<Mutex<Service>>,
}

impl FakeErrataTool {
    /// Starts a service without advisories.
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

    /// Adds an advisory with its builds and the repositories that it ships to, or replaces the one
    /// with this number.
    pub fn add<T: Into<String>>(
        &self,
        advisory: Advisory,
        builds: impl IntoIterator<Item = FakeBuild>,
        repositories: impl IntoIterator<Item = T>,
    ) {
        let (id, builds) = (advisory.id, builds.into_iter().collect());
        let repositories = repositories.into_iter().map(Into::into).collect();
        let times = (from_micros(0), from_micros(0));
        lock(&self.service).advisories.insert(id, Entry { advisory, builds, repositories, times });
    }

    /// Sets when an advisory was created and when it came into its state: both in 1970, if not set.
    pub fn date(&self, id: u64, created: Timestamp, changed: Timestamp) {
        let mut service = lock(&self.service);
        service.advisories.entry(id).and_modify(|entry| entry.times = (created, changed));
    }

    /// Leaves out the times of advisories in the answers to searches, from now on.
    pub fn be_terse(&self) {
        lock(&self.service).terse = true;
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

    /// Returns the requests, such as `GET /advisory/28484.json`, oldest first; at most the last
    /// 10,000.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        lock(&self.service).wire.asked()
    }
}

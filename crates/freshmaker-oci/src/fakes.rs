//! A fake registry, for tests of programs that use this crate.
//!
//! ```
//! use freshmaker_oci::fakes::{FakeImage, FakeRegistry};
//! use freshmaker_oci::OciClient;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let registry = FakeRegistry::start().await?;
//! let pushed = registry.push("base", "1", &FakeImage::new(["a layer"]));
//! let client = OciClient::new(registry.config())?;
//! assert_eq!(client.head(&registry.image("base:1")).await?, pushed);
//! assert_eq!(registry.requests(), ["HEAD /v2/base/manifests/1"]);
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::config::{OciConfig, RegistryConfig};
use crate::manifest::{OCI_INDEX, OCI_MANIFEST, Platform};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshmaker::artifact::{Digest, ImageReference};
use freshmaker::backend::{Error, Remedy, Result};
use freshmaker_net::{Call, Http, HttpConfig, Reply as NetReply};
use freshmaker_testing::http::{Reply, Request, Server};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many requests are remembered; the oldest are forgotten.
const REQUESTS_MAX: usize = 20_000;

/// An image to push. Its layers are any bytes; they are not compressed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FakeImage {
    /// The layers, the lowest first.
    pub layers: Vec<Vec<u8>>,
    /// Labels of the configuration.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

impl FakeImage {
    /// Creates an image of these layers.
    pub fn new<L: Into<Vec<u8>>>(layers: impl IntoIterator<Item = L>) -> Self {
        Self { layers: layers.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Adds a layer on top.
    #[must_use]
    pub fn with_layer(mut self, layer: impl Into<Vec<u8>>) -> Self {
        self.layers.push(layer.into());
        self
    }

    /// Adds the annotations that name a base.
    #[must_use]
    pub fn with_base(mut self, name: &str, digest: &Digest) -> Self {
        self.annotations.extend(base(name, digest));
        self
    }

    /// Adds the labels that name a base.
    #[must_use]
    pub fn with_base_labels(mut self, name: &str, digest: &Digest) -> Self {
        self.labels.extend(base(name, digest));
        self
    }

    /// Returns the bytes of the configuration.
    #[must_use]
    pub fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| Digest::of(layer)).collect();
        let Platform { os, architecture, .. } = Platform::of_machine();
        // Build tools refuse images whose history has other layers.
        let history: Vec<_> = self.layers.iter().map(|_| json!({ "created_by": "a test" })).collect();
        let config = json!({ "os": os, "architecture": architecture, "created": "2025-11-24T16:00:00Z",
            "config": { "Labels": self.labels }, "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": history });
        config.to_string().into_bytes()
    }

    /// Returns the bytes of the manifest, in the format of OCI.
    #[must_use]
    pub fn manifest(&self) -> Vec<u8> {
        let descriptor = |kind: &str, bytes: &[u8]| {
            json!({ "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": Digest::of(bytes), "size": bytes.len() })
        };
        let layers: Vec<_> = self.layers.iter().map(|layer| descriptor("layer.v1.tar", layer)).collect();
        let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor("config.v1+json", &self.config()), "layers": layers,
            "annotations": self.annotations });
        manifest.to_string().into_bytes()
    }
}

/// Returns an archive (ustar) with one file, which real tools take as a layer. The name has at most
/// 100 characters.
#[must_use]
pub fn tar(name: &str, content: &str) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend(content.as_bytes());
    archive.resize(archive.len().div_ceil(512) * 512 + 1024, 0);
    archive
}

/// Pushes an image to any registry without TLS, as build tools do, and returns its digest.
///
/// # Errors
/// Those of the connection; [`Rejected`](Remedy::Rejected) if the registry refuses it.
pub async fn push_to(image: &ImageReference, what: &FakeImage) -> Result<Digest> {
    let http = Http::new(&HttpConfig::new(format!("http://{}", image.registry())))?;
    let send = async |method: Method, url: String, kind: &str, body: Vec<u8>| -> Result<NetReply> {
        let request = http.request(method, &url).header("content-type", kind).body(body);
        let reply = http.send(request, Call::Write, "push").await?;
        match reply.status {
            200..300 => Ok(reply),
            status => Err(Error::new(Remedy::Rejected, "push", format!("status {status}"))),
        }
    };
    let base = format!("http://{}/v2/{}", image.registry(), image.repository());
    for blob in what.layers.iter().cloned().chain([what.config()]) {
        let kind = "application/octet-stream";
        let begun = send(Method::POST, format!("{base}/blobs/uploads/"), kind, Vec::new()).await?;
        let to = begun.headers.get("location").and_then(|to| to.to_str().ok()).unwrap_or_default();
        let to = if to.starts_with('/') { format!("http://{}{to}", image.registry()) } else { to.to_owned() };
        let joint = if to.contains('?') { '&' } else { '?' };
        let to = format!("{to}{joint}digest={}", Digest::of(&blob).as_str().replace(':', "%3A"));
        send(Method::PUT, to, kind, blob).await?;
    }
    let manifest = what.manifest();
    let digest = Digest::of(&manifest);
    let to = format!("{base}/manifests/{}", image.tag().unwrap_or("latest"));
    send(Method::PUT, to, OCI_MANIFEST, manifest).await?;
    Ok(digest)
}

fn base(name: &str, digest: &Digest) -> [(String, String); 2] {
    let key = |end: &str| format!("org.opencontainers.image.base.{end}");
    [(key("name"), name.to_owned()), (key("digest"), digest.to_string())]
}

#[derive(Debug, Default)]
struct State {
    name: String,
    /// Media type and bytes, by repository and digest.
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    /// Digests by repository and tag.
    tags: BTreeMap<(String, String), String>,
    blobs: BTreeMap<String, Vec<u8>>,
    /// Descriptors by repository and digest of what they refer to; `None` without the API.
    referrers: Option<BTreeMap<(String, String), Vec<Value>>>,
    requests: VecDeque<String>,
    next: Vec<(String, Reply)>,
    always: Vec<(String, Reply)>,
    login: Login,
    tokens: BTreeSet<String>,
    tokens_made: usize,
    is_endless: bool,
}

#[derive(Debug, Default)]
enum Login {
    #[default]
    None,
    /// `user:password`.
    Basic(String),
    /// The same at the token service, or anybody; and how long a token is valid, in seconds.
    Token(Option<String>, u64),
}

/// A fake registry on a free port of localhost, without TLS. It stops when it is dropped.
#[derive(Debug)]
pub struct FakeRegistry {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl FakeRegistry {
    /// Starts an empty registry with the referrers API, for everybody.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start() -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State { referrers: Some(BTreeMap::new()), ..State::default() }));
        let behind = Arc::clone(&state);
        let server = Server::start(move |request| {
            let reply = lock(&behind).reply(&request);
            async move { reply }
        });
        let server = server.await?;
        lock(&state).name = server.address().to_string();
        Ok(Self { server, state })
    }

    /// Returns the name of the registry in references: its address.
    #[must_use]
    pub fn name(&self) -> String {
        self.server.address().to_string()
    }

    /// Returns a configuration that reaches the registry.
    #[must_use]
    pub fn config(&self) -> OciConfig {
        let special = RegistryConfig { plain_http: true, ..RegistryConfig::default() };
        OciConfig { registries: [(self.name(), special)].into(), ..OciConfig::default() }
    }

    /// Returns the reference of an image in the registry, from `repository:tag`.
    ///
    /// # Panics
    /// If that is not the name of an image.
    #[must_use]
    pub fn image(&self, name: &str) -> ImageReference {
        format!("{}/{name}", self.name()).parse().expect("the name in a test")
    }

    /// Removes a tag, as registries do by mistake or by a policy.
    pub fn lose(&self, repository: &str, tag: &str) {
        self.state().tags.remove(&(repository.to_owned(), tag.to_owned()));
    }

    /// Pushes an image, and returns the digest of its manifest.
    pub fn push(&self, repository: &str, tag: &str, image: &FakeImage) -> Digest {
        for layer in &image.layers {
            self.put_blob(layer.clone());
        }
        self.put_blob(image.config());
        self.put_manifest(repository, Some(tag), OCI_MANIFEST, image.manifest())
    }

    /// Pushes an index of manifests, each with its platform and annotations, and returns its
    /// digest. What it lists need not be there.
    pub fn push_index(
        &self,
        repository: &str,
        tag: Option<&str>,
        entries: &[(&str, Digest, &str, BTreeMap<String, String>)],
    ) -> Digest {
        let entry = |(media_type, digest, platform, annotations): &(&str, Digest, &str, _)| {
            let mut entry = json!({ "mediaType": media_type, "digest": digest, "size": 1, "annotations": annotations });
            if let Some((os, architecture)) = platform.split_once('/') {
                entry["platform"] = json!({ "os": os, "architecture": architecture });
            }
            entry
        };
        let manifests: Vec<_> = entries.iter().map(entry).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
        self.put_manifest(repository, tag, OCI_INDEX, index.to_string())
    }

    /// Stores a manifest of any bytes, and returns its digest.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: impl Into<Vec<u8>>,
    ) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let mut state = self.state();
        let key = (repository.to_owned(), digest.to_string());
        state.manifests.insert(key, (media_type.to_owned(), bytes));
        if let Some(tag) = tag {
            state.tags.insert((repository.to_owned(), tag.to_owned()), digest.to_string());
        }
        digest
    }

    /// Stores a blob, for all repositories, and returns its digest.
    pub fn put_blob(&self, bytes: impl Into<Vec<u8>>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        self.state().blobs.insert(digest.to_string(), bytes);
        digest
    }

    /// Stores an attestation: a manifest with one layer of these bytes, and returns its digest. It
    /// refers to `subject` by the API, or by a tag if there is [no API](Self::without_referrers).
    pub fn attest(&self, repository: &str, subject: &Digest, statement: &Value) -> Digest {
        let bytes = statement.to_string().into_bytes();
        let layer = self.put_blob(bytes.clone());
        let config = self.put_blob("{}");
        let kind = "application/vnd.in-toto+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind,
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2 },
            "layers": [{ "mediaType": kind, "digest": layer, "size": bytes.len(),
                "annotations": { "in-toto.io/predicate-type": statement["predicateType"] } }] });
        let text = manifest.to_string();
        let size = text.len();
        let digest = self.put_manifest(repository, None, OCI_MANIFEST, text);
        let descriptor = json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": size, "artifactType": kind });
        let key = (repository.to_owned(), subject.to_string());
        let listed = match &mut self.state().referrers {
            Some(referrers) => {
                referrers.entry(key).or_default().push(descriptor);
                return digest;
            }
            None => json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor] }),
        };
        let tag = subject.as_str().replace(':', "-");
        self.put_manifest(repository, Some(&tag), OCI_INDEX, listed.to_string());
        digest
    }

    /// Removes the referrers API, as in registries from before OCI 1.1.
    pub fn without_referrers(&self) {
        self.state().referrers = None;
    }

    /// Demands a password of every request.
    pub fn demand_password(&self, user: &str, password: &str) {
        self.state().login = Login::Basic(format!("{user}:{password}"));
    }

    /// Demands a token of its own token service, which is valid for so many seconds by what the
    /// service says. The service demands this `user:password`, or gives tokens to everybody.
    pub fn demand_token(&self, password: Option<&str>, seconds: u64) {
        self.state().login = Login::Token(password.map(str::to_owned), seconds);
    }

    /// Makes all tokens invalid, without saying so.
    pub fn forget_tokens(&self) {
        self.state().tokens.clear();
    }

    /// Returns how many tokens were given.
    #[must_use]
    pub fn tokens_made(&self) -> usize {
        self.state().tokens_made
    }

    /// Answers the next request whose `METHOD /path?query` contains this text like this.
    pub fn next(&self, request: &str, reply: Reply) {
        self.state().next.push((request.to_owned(), reply));
    }

    /// Answers all requests whose `METHOD /path?query` contains this text like this.
    pub fn always(&self, request: &str, reply: Reply) {
        self.state().always.push((request.to_owned(), reply));
    }

    /// Ends what [`always`](Self::always) has said.
    pub fn recover(&self) {
        self.state().always.clear();
    }

    /// Lists tags without end.
    pub fn list_tags_without_end(&self) {
        self.state().is_endless = true;
    }

    /// Returns all requests, as `METHOD /path?query`, without those for tokens.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.iter().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refusal(status: u16, code: &str) -> Reply {
    let body = json!({ "errors": [{ "code": code, "message": code.to_lowercase().replace('_', " ") }] });
    Reply::new(status).with_header("content-type", "application/json").with_body(body.to_string())
}

impl State {
    fn reply(&mut self, request: &Request) -> Reply {
        let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
        let line = format!("{} {}{query}", request.method, request.path);
        if request.path == "/token" {
            return self.token(request);
        }
        self.requests.push_back(line.clone());
        if self.requests.len() > REQUESTS_MAX {
            self.requests.pop_front();
        }
        if let Some(at) = self.next.iter().position(|(part, _)| line.contains(part)) {
            return self.next.remove(at).1;
        }
        if let Some((_, reply)) = self.always.iter().find(|(part, _)| line.contains(part)) {
            return reply.clone();
        }
        if let Some(refused) = self.refused(request) {
            return refused;
        }
        if request.method == "POST" {
            return Reply::new(202).with_header("location", format!("{}1", request.path));
        }
        if request.method == "PUT" {
            return self.stored(request).unwrap_or_else(|| refusal(404, "NAME_INVALID"));
        }
        let mut reply = self.found(request).unwrap_or_else(|| refusal(404, "NOT_FOUND"));
        if request.method == "HEAD" {
            let length = reply.body.len();
            reply = reply.with_body("").declaring(length);
        }
        reply
    }

    fn refused(&self, request: &Request) -> Option<Reply> {
        let sent = request.header("authorization").unwrap_or_default();
        let (is_allowed, demand) = match &self.login {
            Login::None => return None,
            Login::Basic(pair) => {
                (sent == format!("Basic {}", STANDARD.encode(pair)), "Basic realm=\"fake\"".to_owned())
            }
            Login::Token(..) => {
                let is_allowed = sent.strip_prefix("Bearer ").is_some_and(|token| self.tokens.contains(token));
                let repository = repository(&request.path).unwrap_or_default();
                let realm = format!("http://{}/token", self.name);
                let is_write = matches!(request.method.as_str(), "POST" | "PUT");
                let actions = if is_write { "pull,push" } else { "pull" };
                let scope = format!("repository:{repository}:{actions}");
                (is_allowed, format!("Bearer realm=\"{realm}\",service=\"fake\",scope=\"{scope}\""))
            }
        };
        (!is_allowed).then(|| refusal(401, "UNAUTHORIZED").with_header("www-authenticate", demand))
    }

    fn token(&mut self, request: &Request) -> Reply {
        let Login::Token(pair, seconds) = &self.login else { return Reply::new(404) };
        let wanted = pair.as_ref().map(|pair| format!("Basic {}", STANDARD.encode(pair)));
        let is_refresh = String::from_utf8_lossy(&request.body).contains("refresh_token=identity");
        if wanted.is_some() && wanted.as_deref() != request.header("authorization") && !is_refresh {
            return Reply::new(401).with_body(r#"{"details": "incorrect username or password"}"#);
        }
        self.tokens_made += 1;
        let token = format!("token-{}", self.tokens_made);
        self.tokens.insert(token.clone());
        Reply::new(200).with_body(json!({ "token": token, "expires_in": seconds }).to_string())
    }

    /// Stores a manifest under a tag, or a blob.
    fn stored(&mut self, request: &Request) -> Option<Reply> {
        let repository = repository(&request.path)?.to_owned();
        let digest = Digest::of(&request.body).to_string();
        let created = Reply::new(201).with_header("docker-content-digest", digest.clone());
        if request.path.contains("/blobs/uploads/") {
            self.blobs.insert(digest, request.body.to_vec());
            return Some(created);
        }
        let (_, tag) = request.path.rsplit_once("/manifests/")?;
        let media_type = request.header("content-type").unwrap_or_default().to_owned();
        self.manifests.insert((repository.clone(), digest.clone()), (media_type, request.body.to_vec()));
        self.tags.insert((repository, tag.to_owned()), digest);
        Some(created)
    }

    fn found(&self, request: &Request) -> Option<Reply> {
        let repository = repository(&request.path)?;
        let rest = request.path.strip_prefix("/v2/")?.strip_prefix(repository)?;
        if rest == "/tags/list" {
            return Some(self.list(repository, request));
        }
        if let Some(reference) = rest.strip_prefix("/manifests/") {
            return self.manifest(repository, reference, request);
        }
        if let Some(digest) = rest.strip_prefix("/blobs/") {
            let bytes = self.blobs.get(digest)?;
            let reply = Reply::new(200).with_header("content-type", "application/octet-stream");
            return Some(reply.with_header("docker-content-digest", digest).with_body(bytes.clone()));
        }
        let subject = rest.strip_prefix("/referrers/")?;
        let key = (repository.to_owned(), subject.to_owned());
        let manifests = self.referrers.as_ref()?.get(&key).cloned().unwrap_or_default();
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
        Some(Reply::new(200).with_header("content-type", OCI_INDEX).with_body(index.to_string()))
    }

    fn manifest(&self, repository: &str, reference: &str, request: &Request) -> Option<Reply> {
        let key = |reference: &str| (repository.to_owned(), reference.to_owned());
        let digest = self.tags.get(&key(reference)).map_or(reference, String::as_str);
        let (media_type, bytes) = self.manifests.get(&key(digest))?;
        let etag = format!("\"{digest}\"");
        if request.header("if-none-match") == Some(etag.as_str()) {
            return Some(Reply::new(304).with_header("etag", etag));
        }
        let reply = Reply::new(200).with_header("content-type", media_type).with_header("etag", etag);
        Some(reply.with_header("docker-content-digest", digest).with_body(bytes.clone()))
    }

    fn list(&self, repository: &str, request: &Request) -> Reply {
        let query: Map<String, Value> = request
            .query
            .split('&')
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        let text = |key: &str| query.get(key).and_then(Value::as_str);
        let last = text("last").unwrap_or_default().to_owned();
        let most = text("n").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX);
        let tags: Vec<String> = match self.is_endless {
            true => vec![format!("{}", last.parse::<u64>().unwrap_or(0) + 1)],
            false => {
                let ours = self.tags.keys().filter(|(of, tag)| of == repository && *tag > last);
                ours.map(|(_, tag)| tag.clone()).take(most).collect()
            }
        };
        let reply = Reply::new(200).with_header("content-type", "application/json");
        let next = tags.last().filter(|_| tags.len() == most || self.is_endless);
        let link = next.map(|last| format!("</v2/{repository}/tags/list?n={most}&last={last}>; rel=\"next\""));
        let reply = link.map_or(reply.clone(), |link| reply.with_header("link", link));
        reply.with_body(json!({ "name": repository, "tags": tags }).to_string())
    }
}

fn repository(path: &str) -> Option<&str> {
    let path = path.strip_prefix("/v2/")?;
    ["/manifests/", "/blobs/", "/tags/list", "/referrers/"]
        .iter()
        .find_map(|part| path.rfind(part).map(|at| &path[..at]))
}

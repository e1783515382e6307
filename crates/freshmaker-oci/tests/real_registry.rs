//! The client against the registry of the Debian package `docker-registry` (2.8), with images that
//! this test makes.
#![allow(clippy::unwrap_used)]

use freshmaker::artifact::{Digest, ImageReference};
use freshmaker::backend::Remedy;
use freshmaker_net::{Call, Http, HttpConfig, Reply};
use freshmaker_oci::fakes::FakeImage;
use freshmaker_oci::staleness::{Evidence, Freshness, Parent, Role, State};
use freshmaker_oci::{OciClient, OciConfig, Recipe};
use reqwest::Method;
use serde_json::json;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often the registry is asked whether it is there, 50 ms apart.
const TRIES: usize = 600;

struct Registry {
    process: Child,
    http: Http,
    name: String,
    _directory: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    /// Starts the registry; `None` if the program is not installed.
    async fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        // Another program may take the port before the registry does: then it ends, and the next
        // port is tried.
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let name = format!("127.0.0.1:{port}");
            let config = directory.path().join("config.yml");
            let storage = json!({ "filesystem": { "rootdirectory": directory.path().join("data") } });
            let text = json!({ "version": "0.1", "log": { "level": "error", "accesslog": { "disabled": true } },
                "storage": storage, "http": { "addr": name } });
            // JSON is YAML.
            std::fs::write(&config, text.to_string()).unwrap();
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let process = match command.spawn() {
                Ok(process) => process,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    test_support::missing("docker-registry (Debian package `docker-registry`)");
                    return None;
                }
                Err(error) => panic!("docker-registry: {error}"),
            };
            let http = Http::new(&HttpConfig::new(format!("http://{name}"))).unwrap();
            let mut registry = Self { process, http, name, _directory: tempfile::tempdir().unwrap() };
            if registry.is_there().await {
                registry._directory = directory;
                return Some(registry);
            }
        }
        panic!("docker-registry does not start");
    }

    async fn is_there(&mut self) -> bool {
        let mut pauses = tokio::time::interval(Duration::from_millis(50));
        for _ in 0..TRIES {
            pauses.tick().await;
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            let request = self.http.request(Method::GET, &format!("http://{}/v2/", self.name));
            if self.http.send(request, Call::Read, "ping").await.is_ok_and(|reply| reply.status == 200) {
                return true;
            }
        }
        false
    }

    async fn send(&self, method: Method, url: &str, kind: &str, body: Vec<u8>) -> Reply {
        let url = if url.starts_with('/') { format!("http://{}{url}", self.name) } else { url.to_owned() };
        let request = self.http.request(method, &url).header("content-type", kind).body(body);
        let reply = self.http.send(request, Call::Write, "push").await.unwrap();
        assert!((200..300).contains(&reply.status), "{url}: {} {}", reply.status, String::from_utf8_lossy(&reply.body));
        reply
    }

    async fn push_blob(&self, repository: &str, bytes: Vec<u8>) {
        let kind = "application/octet-stream";
        let begun = self.send(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), kind, Vec::new()).await;
        let to = begun.headers["location"].to_str().unwrap();
        let joint = if to.contains('?') { '&' } else { '?' };
        let to = format!("{to}{joint}digest={}", Digest::of(&bytes).as_str().replace(':', "%3A"));
        self.send(Method::PUT, &to, kind, bytes).await;
    }

    async fn push_manifest(&self, repository: &str, tag: &str, kind: &str, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.send(Method::PUT, &format!("/v2/{repository}/manifests/{tag}"), kind, bytes).await;
        digest
    }

    async fn push(&self, repository: &str, tag: &str, image: &FakeImage) -> Digest {
        for layer in &image.layers {
            self.push_blob(repository, layer.clone()).await;
        }
        self.push_blob(repository, image.config()).await;
        self.push_manifest(repository, tag, "application/vnd.oci.image.manifest.v1+json", image.manifest()).await
    }

    fn image(&self, name: &str) -> ImageReference {
        format!("{}/{name}", self.name).parse().unwrap()
    }

    fn client(&self) -> OciClient {
        let config = json!({ "registries": { (self.name.clone()): { "plain_http": true } } });
        OciClient::new(serde_json::from_value::<OciConfig>(config).unwrap()).unwrap()
    }
}

/// An archive (ustar) with one file.
fn tar(name: &str, content: &str) -> Vec<u8> {
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

#[tokio::test]
async fn a_real_registry_is_read() {
    let Some(registry) = Registry::start().await else { return };
    let client = registry.client();
    let base = FakeImage::new([tar("etc/os", "1"), tar("bin/sh", "#!")]);
    let old = registry.push("base", "1", &base).await;
    let app = base.clone().with_layer(tar("app", "app"));
    let app_digest = registry.push("team/app", "1", &app).await;
    assert_eq!(client.head(&registry.image("team/app:1")).await.unwrap(), app_digest);
    let read = client.snapshot().image(&registry.image("team/app:1")).await.unwrap();
    assert_eq!(read.config.diff_ids.len(), 3);
    let error = client.head(&registry.image("team/app:2")).await.unwrap_err();
    assert_eq!(error.remedy, Remedy::NotFound);
    let error = client.manifest(&registry.image("team/app:2")).await.unwrap_err();
    assert!(error.to_string().contains("MANIFEST_UNKNOWN: manifest unknown"), "{error}");

    let base_today = [Parent { image: registry.image("base:1"), role: Role::Base, line: None }];
    let image = registry.image("team/app:1");
    let fresh = client.snapshot().examine(&image, Recipe::Known(&base_today)).await.unwrap();
    let wanted = State::Fresh { current: old.clone(), evidence: Evidence::Layers };
    assert_eq!((&fresh.findings[0].state, &fresh.remarks), (&wanted, &Vec::new()));

    // The same in Docker's media types, and with annotations.
    let named = base.clone().with_layer(tar("app", "named")).with_base(&registry.image("base:1").to_string(), &old);
    registry.push("named", "1", &named).await;
    assert_eq!(
        client.snapshot().examine(&registry.image("named:1"), Recipe::Unknown).await.unwrap().freshness,
        Freshness::Fresh
    );
    let docker =
        String::from_utf8(base.manifest()).unwrap().replace("oci.image.manifest.v1", "docker.distribution.manifest.v2");
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let docker = registry.push_manifest("base", "docker", kind, docker.into_bytes()).await;
    assert_eq!(client.snapshot().image(&registry.image("base:docker")).await.unwrap().digest, docker);

    let new = registry.push("base", "1", &FakeImage::new([tar("etc/os", "2"), tar("bin/sh", "#!")])).await;
    let stale = client.snapshot().examine(&image, Recipe::Known(&base_today)).await.unwrap();
    assert!(matches!(&stale.findings[0].state, State::Stale { built_on: None, current, .. } if *current == new));
    let stale = client.snapshot().examine(&registry.image("named:1"), Recipe::Unknown).await.unwrap();
    assert!(matches!(&stale.findings[0].state, State::Stale { built_on: Some(built_on), .. } if *built_on == old));

    let mut tags = client.tags(&registry.image("base")).await.unwrap();
    tags.sort();
    assert_eq!(tags, ["1", "docker"]);
    assert_eq!(client.tags(&registry.image("nothing")).await.unwrap_err().remedy, Remedy::NotFound);
    assert!(client.referrers(&image, &app_digest).await.unwrap().is_empty(), "it has no such API");
}

//! Fakes a Lightblue: it holds repositories and images as typed data, and evaluates the part of the
//! query language that [`Lightblue`](crate::lightblue::Lightblue) uses. What it does not know it
//! refuses, with an error object that names it.

pub(super) mod language;
mod service;

use super::wire::{lock, serve};
use freshmaker_testing::http::Server;
use serde_json::{Map, Value, json};
use service::Service;
use std::io;
use std::sync::{Arc, Mutex};

/// Describes a repository of images.
///
/// ```
/// use freshmaker_redhat::fakes::lightblue::FakeRepository;
///
/// let repository = FakeRepository::new("registry.example.com", "ubi9/python-39")
///     .with_tags(["latest", "1"])
///     .in_categories(["Beta"])
///     .of_vendor("example");
/// # drop(repository);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct FakeRepository {
    pub(super) fields: Map<String, Value>,
}

impl FakeRepository {
    /// Makes a published, generally available repository of Red Hat, of which images with the tag
    /// `latest` are rebuilt.
    pub fn new(registry: &str, repository: &str) -> Self {
        let object = json!({
            "registry": registry,
            "repository": repository,
            "published": true,
            "vendorLabel": "redhat",
            "auto_rebuild_tags": ["latest"],
            "release_categories": ["Generally Available"],
        });
        Self { fields: object.as_object().cloned().unwrap_or_default() }
    }

    /// Makes the repository unpublished: `published` is `false`.
    pub fn unpublished(self) -> Self {
        self.with_field("published", json!(false))
    }

    /// Replaces the tags of which images are rebuilt.
    pub fn with_tags<'a>(self, tags: impl IntoIterator<Item = &'a str>) -> Self {
        self.with_field("auto_rebuild_tags", tags.into_iter().collect())
    }

    /// Replaces the release categories.
    pub fn in_categories<'a>(self, categories: impl IntoIterator<Item = &'a str>) -> Self {
        self.with_field("release_categories", categories.into_iter().collect())
    }

    /// Replaces the vendor.
    pub fn of_vendor(self, vendor: &str) -> Self {
        self.with_field("vendorLabel", json!(vendor))
    }

    /// Replaces a field by any value, as another version of the service could show it.
    pub fn with_field(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.to_owned(), value);
        self
    }
}

/// Describes one architecture of an image.
///
/// ```
/// use freshmaker_redhat::fakes::lightblue::FakeImage;
///
/// let image = FakeImage::new("python-container", "python-container-3.9-12")
///     .published_in("registry.example.com", "ubi9/python-39", ["latest"])
///     .with_content_set("rhel-9-baseos-rpms")
///     .with_rpm("bash", "bash-5.1.8-6.el9.x86_64");
/// let other = image.clone().on("s390x");
/// # drop((image, other));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct FakeImage {
    pub(super) fields: Map<String, Value>,
}

impl FakeImage {
    /// Makes an image for `amd64` by the name of its package and the NVR of its build, in no
    /// repository and without a manifest.
    pub fn new(package: &str, build: &str) -> Self {
        Self::without_build().with_field("brew", json!({ "package": package, "build": build }))
    }

    /// Makes an image that no build system has built.
    pub fn without_build() -> Self {
        Self { fields: Map::new() }.with_field("architecture", json!("amd64"))
    }

    /// Replaces the architecture.
    pub fn on(self, architecture: &str) -> Self {
        self.with_field("architecture", json!(architecture))
    }

    /// Adds a repository in which the image is published with these tags.
    pub fn published_in<'a>(self, registry: &str, repository: &str, tags: impl IntoIterator<Item = &'a str>) -> Self {
        self.with_entry(registry, repository, tags.into_iter().collect(), true)
    }

    /// Adds a repository that has the image with these tags, unpublished.
    pub fn unpublished_in<'a>(self, registry: &str, repository: &str, tags: impl IntoIterator<Item = &'a str>) -> Self {
        self.with_entry(registry, repository, tags.into_iter().collect(), false)
    }

    fn with_entry(mut self, registry: &str, repository: &str, tags: Vec<&str>, published: bool) -> Self {
        let tags: Vec<_> = tags.into_iter().map(|tag| json!({ "name": tag })).collect();
        let entry = json!({ "registry": registry, "repository": repository, "published": published, "tags": tags });
        self.push("repositories", entry);
        self
    }

    /// Adds a content set.
    pub fn with_content_set(mut self, content_set: &str) -> Self {
        self.push("content_sets", json!(content_set));
        self
    }

    /// Adds a manifest, if there is none.
    pub fn with_manifest(mut self) -> Self {
        self.fields.entry("rpm_manifest").or_insert_with(|| json!([{ "rpms": [] }]));
        self
    }

    /// Adds a package to the manifest by its name, and by its name, version, release and
    /// architecture.
    pub fn with_rpm(self, name: &str, nvra: &str) -> Self {
        let mut image = self.with_manifest();
        if let Some(rpms) = image.fields.get_mut("rpm_manifest").and_then(|it| it.pointer_mut("/0/rpms"))
            && let Some(rpms) = rpms.as_array_mut()
        {
            rpms.push(json!({ "name": name, "nvra": nvra }));
        }
        image
    }

    /// Adds a label.
    pub fn with_label(mut self, name: &str) -> Self {
        let parsed = self.fields.entry("parsed_data").or_insert_with(|| json!({ "labels": [] }));
        if let Some(labels) = parsed.get_mut("labels").and_then(Value::as_array_mut) {
            labels.push(json!({ "name": name, "value": "some" }));
        }
        self
    }

    /// Sets the NVR of the image that it was built from.
    pub fn with_parent(self, build: &str) -> Self {
        self.with_field("parent_brew_build", json!(build))
    }

    /// Replaces a field by any value, as another version of the service could show it.
    pub fn with_field(mut self, name: &str, value: Value) -> Self {
        self.fields.insert(name.to_owned(), value);
        self
    }

    fn push(&mut self, name: &str, value: Value) {
        if let Some(list) = self.fields.entry(name).or_insert_with(|| json!([])).as_array_mut() {
            list.push(value);
        }
    }
}

/// Says how one request fails.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The answer has this status and this JSON as its body.
    Status(u16, Value),
    /// The answer is an error object with this code and message, and the status 200.
    Error(String, String),
    /// The answer is a 429 that asks for this number of seconds.
    TooMany(u32),
    /// The answer is an HTML page with this status.
    Html(u16),
    /// There is no answer.
    Silence,
    /// The answer breaks off after this number of bytes, including the head.
    Cut(usize),
    /// The last object of the answer is missing.
    Short,
}

/// Serves a fake Lightblue on a free port of localhost. It stops when it is dropped.
///
/// ```
/// use freshmaker_redhat::fakes::lightblue::{FakeImage, FakeLightblue, FakeRepository};
/// use freshmaker_redhat::lightblue::{Lightblue, LightblueConfig};
/// use freshmaker_redhat::contracts::{Containing, Images};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let service = FakeLightblue::start().await?;
/// service.add_repository(FakeRepository::new("registry.example.com", "ubi9/python-39"));
/// service.add_image(
///     FakeImage::new("python-container", "python-container-3.9-12")
///         .published_in("registry.example.com", "ubi9/python-39", ["latest"])
///         .with_rpm("bash", "bash-5.1.8-6.el9.x86_64"),
/// );
/// let lightblue = Lightblue::new(LightblueConfig::new(service.url()))?;
/// let wanted = Containing { packages: ["bash".to_owned()].into(), content_sets: [].into() };
/// let found = lightblue.containing(&wanted).await?;
/// assert_eq!(found[0].nvr().to_string(), "python-container-3.9-12");
/// assert_eq!(service.asked().len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[doc(alias = "mock")]
pub struct FakeLightblue {
    server: Server,
    service: Arc<Mutex<Service>>,
}

impl FakeLightblue {
    /// Starts a service that is empty.
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

    /// Adds a repository, which later questions of the entity `containerRepository` find.
    pub fn add_repository(&self, repository: FakeRepository) {
        add(&mut lock(&self.service).repositories, repository.fields);
    }

    /// Adds one architecture of an image.
    pub fn add_image(&self, image: FakeImage) {
        add(&mut lock(&self.service).images, image.fields);
    }

    /// Makes the next request fail in this way. Several faults are used in the order of the calls.
    pub fn disturb(&self, fault: Fault) {
        lock(&self.service).faults.push_back(fault);
    }

    /// Returns the path and the body of each request, oldest first; at most the last 10,000.
    #[must_use]
    pub fn asked(&self) -> Vec<(String, Value)> {
        lock(&self.service).asked.iter().cloned().collect()
    }
}

/// Adds an object with an id that is greater than those before it.
fn add(objects: &mut Vec<Value>, mut fields: Map<String, Value>) {
    fields.insert("_id".to_owned(), json!(format!("{:024x}", objects.len() + 1)));
    objects.push(Value::Object(fields));
}

//! Fakes a Pyxis: it tells the world of a [`FakeLightblue`](super::lightblue::FakeLightblue), the
//! same repositories and images, by GraphQL. What it does not know it refuses, as the service does,
//! with an error that names it.

mod graphql;
mod types;

use super::lightblue::{FakeImage, FakeRepository};
use super::wire::{Wire, lock, serve};
use freshmaker_testing::http::{Reply, Request, Server};
use graphql::Field;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

/// Number of queries that are remembered; the oldest are forgotten.
const ASKED_MAX: usize = 10_000;

#[derive(Debug, Default)]
struct Service {
    wire: Wire,
    repositories: Vec<Value>,
    images: Vec<Value>,
    asked: VecDeque<Value>,
    page_max: Option<u64>,
    hides_packages: bool,
    api_key: Option<String>,
}

impl Service {
    fn reply(&mut self, request: &Request) -> Reply {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(body.clone());
        if self.api_key.as_deref().is_some_and(|key| request.header("x-api-key") != Some(key)) {
            return Reply::new(401)
                .with_body(json!({ "status": 401, "detail": "the API key is not valid" }).to_string());
        }
        let Self { wire, repositories, images, page_max, hides_packages, .. } = self;
        wire.reply(request, || {
            if request.method != "POST" || request.path != "/graphql/" {
                return None;
            }
            let world = World { repositories, images, page_max: *page_max, hides_packages: *hides_packages };
            Some(world.answer(&body).unwrap_or_else(|why| {
                let extensions = json!({ "code": "GRAPHQL_VALIDATION_FAILED" });
                json!({ "errors": [{ "message": why, "extensions": extensions }] })
            }))
        })
    }
}

struct World<'a> {
    repositories: &'a [Value],
    images: &'a [Value],
    page_max: Option<u64>,
    hides_packages: bool,
}

impl World<'_> {
    fn answer(&self, body: &Value) -> graphql::Parsed<Value> {
        let query = body["query"].as_str().ok_or("there is no query")?;
        let fields = graphql::parse(query, &body["variables"])?;
        let mut data = json!({});
        for field in &fields {
            let (objects, of, answer) = match field.name.as_str() {
                "find_repositories" => (self.repositories, "Repository", "Repositories"),
                "find_images" => (self.images, "Image", "Images"),
                other => return Err(format!("Cannot query field \"{other}\" on type \"Query\".")),
            };
            data[&field.name] = types::select(&self.find(field, objects, of)?, answer, &field.fields)?;
        }
        Ok(json!({ "data": data }))
    }

    /// Returns a page of the objects for which the filter of a field holds.
    fn find(&self, field: &Field, objects: &[Value], of: &str) -> graphql::Parsed<Value> {
        let known = ["page", "page_size", "sort_by", "filter"];
        if let Some(name) = field.arguments.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("Unknown argument \"{name}\" on field \"{}\".", field.name));
        }
        let argument = |name: &str| field.arguments.get(name);
        // They are kept in the order of their ids.
        if argument("sort_by").is_some_and(|order| *order != json!([{ "field": "_id", "order": "ASC" }])) {
            return Err("this order is not known here".to_owned());
        }
        let number = |name: &str, default| match argument(name) {
            None => Ok(default),
            Some(value) => value.as_u64().ok_or(format!("{name} is not a number: {value}")),
        };
        let (page, size) = (number("page", 0)?, number("page_size", 50)?);
        let size = self.page_max.map_or(size, |most| size.min(most));
        let filter = argument("filter").cloned().unwrap_or_else(|| json!({}));
        if self.hides_packages && filter.to_string().contains("\"rpm_manifest\"") {
            return Err("Field \"rpm_manifest\" is not defined by type \"ContainerImageFilter\".".to_owned());
        }
        // A filter that makes no sense is refused if there is nothing, too.
        types::holds(&filter, &json!({}), of)?;
        let mut matching = Vec::new();
        for object in objects {
            if types::holds(&filter, object, of)? {
                matching.push(object);
            }
        }
        let first = usize::try_from(page.saturating_mul(size)).unwrap_or(usize::MAX);
        let data: Vec<_> = matching.iter().skip(first).take(usize::try_from(size).unwrap_or(usize::MAX)).collect();
        Ok(json!({ "error": null, "page": page, "page_size": size, "total": matching.len(), "data": data }))
    }
}

/// Serves a fake Pyxis on a free port of localhost. It stops when it is dropped.
///
/// ```
/// use freshmaker_redhat::fakes::lightblue::{FakeImage, FakeRepository};
/// use freshmaker_redhat::fakes::pyxis::FakePyxis;
/// use freshmaker_redhat::contracts::{Containing, Images};
/// use freshmaker_redhat::pyxis::{Pyxis, PyxisConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let service = FakePyxis::start().await?;
/// service.add_repository(FakeRepository::new("registry.example.com", "ubi9/python-39"));
/// service.add_image(
///     FakeImage::new("python-container", "python-container-3.9-12")
///         .published_in("registry.example.com", "ubi9/python-39", ["latest"])
///         .with_rpm("bash", "bash-5.1.8-6.el9.x86_64"),
/// );
/// let pyxis = Pyxis::new(PyxisConfig::new(service.url()))?;
/// let wanted = Containing { packages: ["bash".to_owned()].into(), content_sets: [].into() };
/// let found = pyxis.containing(&wanted).await?;
/// assert_eq!(found[0].nvr().to_string(), "python-container-3.9-12");
/// assert_eq!(service.asked().len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[doc(alias = "mock")]
pub struct FakePyxis {
    server: Server,
    service: Arc<Mutex<Service>>,
}

impl FakePyxis {
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

    /// Adds a repository.
    pub fn add_repository(&self, repository: FakeRepository) {
        let mut fields = repository.fields;
        let vendor = fields.remove("vendorLabel").unwrap_or_default();
        fields.insert("vendor_label".to_owned(), vendor);
        add(&mut lock(&self.service).repositories, fields.into());
    }

    /// Adds one architecture of an image. A manifest is behind an edge here, with the filter beside
    /// it.
    pub fn add_image(&self, image: FakeImage) {
        let mut object = Value::Object(image.fields);
        let manifest = object.get_mut("rpm_manifest").and_then(|list| list.get_mut(0)).map(Value::take);
        let answer = match &manifest {
            Some(manifest) => json!({ "error": null, "data": manifest }),
            None => json!({ "error": { "status": 404, "detail": "there is no manifest" }, "data": null }),
        };
        object["rpm_manifest"] = manifest.unwrap_or_default();
        object["edges"] = json!({ "rpm_manifest": answer });
        add(&mut lock(&self.service).images, object);
    }

    /// From now on, a request needs this API key; any other is answered by 401.
    pub fn require_api_key(&self, key: &str) {
        lock(&self.service).api_key = Some(key.to_owned());
    }

    /// From now on, a page has at most this number of objects, whatever is asked for.
    pub fn limit_pages(&self, objects: u64) {
        lock(&self.service).page_max = Some(objects);
    }

    /// From now on, the filter by packages is unknown, as it is in the public interface.
    pub fn hide_package_filter(&self) {
        lock(&self.service).hides_packages = true;
    }

    /// Answers the next request by `reply`. Several replies are used in the order of the calls.
    pub fn disturb(&self, reply: Reply) {
        lock(&self.service).wire.disturb("", reply);
    }

    /// Returns the body of each request, with its query and variables, oldest first; at most the
    /// last 10,000.
    #[must_use]
    pub fn asked(&self) -> Vec<Value> {
        lock(&self.service).asked.iter().cloned().collect()
    }
}

/// Adds an object with an id that is greater than those before it.
fn add(objects: &mut Vec<Value>, mut object: Value) {
    object["_id"] = json!(format!("{:024x}", objects.len() + 1));
    objects.push(object);
}

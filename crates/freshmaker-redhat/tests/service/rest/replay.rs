//! Every recorded request is sent to our interface over the same rows, and the answers are
//! compared: status, types, names, nulls, order of keys and the newline.

use super::{api, ask, behind_proxy, deciding, open, recorded, request, while_running};
use crate::each;
use crate::fixture::store;
use crate::forms::ours;
use async_trait::async_trait;
use freshmaker::Client;
use freshmaker::artifact::Nvr;
use freshmaker::backend::Result;
use freshmaker_redhat::contracts::{Containing, ImageRepositories, Images, RebuiltRepository, TaggedImage};
use freshmaker_redhat::image::CatalogImage;
use freshmaker_testing::world::World;
use freshmaker_web::axum::Router;
use freshmaker_web::axum::body::Body;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// An answer, as it was recorded or as it is expected instead.
struct Expected {
    status: u16,
    json: Value,
}

/// What we answer instead, and why.
type Instead = fn(&mut Expected);

fn error(expected: &mut Expected, status: u16, error: &str, message: &str) {
    *expected = Expected { status, json: json!({ "status": status, "error": error, "message": message }) };
}

fn wrong_url(expected: &mut Expected) {
    error(expected, 404, "Not Found", "The requested URL was not found on the server.");
}

fn wrong_method(expected: &mut Expected) {
    error(expected, 405, "Method Not Allowed", "this path has other methods");
}

fn refused(expected: &mut Expected, message: &str) {
    error(expected, 400, "Bad Request", message);
}

fn not_an_integer(expected: &mut Expected) {
    refused(expected, "\"errata_id\" must be an integer.");
}

fn bounded_page(expected: &mut Expected) {
    let text = expected.json.to_string().replace("per_page=1000000", "per_page=100");
    expected.json = text.parse().unwrap();
    expected.json["meta"]["per_page"] = json!(100);
}

fn both_states(expected: &mut Expected) {
    let text = expected.json.to_string().replace("state=building\"", "state=building&state=skipped\"");
    expected.json = text.parse().unwrap();
}

fn about_us(expected: &mut Expected) {
    expected.json["version"] = json!(env!("CARGO_PKG_VERSION"));
}

fn other_catalog(expected: &mut Expected) {
    refused(expected, "No images found for the specified NVR");
}

/// Until what runs in Koji has ended, the event runs, and its build as well.
fn cancelled_when_it_is_true(expected: &mut Expected) {
    let [event, build] = [("BUILDING", 1), ("BUILD", 0)];
    (expected.json["state_name"], expected.json["state"]) = (json!(event.0), json!(event.1));
    (expected.json["time_done"], expected.json["state_reason"]) = (Value::Null, Value::Null);
    let first = &mut expected.json["builds"][0];
    (first["state_name"], first["state"], first["time_completed"]) = (json!(build.0), json!(build.1), Value::Null);
    for build in expected.json["builds"].as_array_mut().unwrap() {
        build["state_reason"] = Value::Null;
    }
}

fn another_login(expected: &mut Expected) {
    error(expected, 401, "Unauthorized", "this needs a login");
}

fn names_need_no_realm(expected: &mut Expected) {
    expected.status = 200;
    expected.json = json!({
        "builds": [], "depending_events": [], "depends_on_events": [], "dry_run": false, "event_type_id": 13,
        "message_id": "manual_rebuild_1768478400.0", "requested_rebuilds": [], "requester": null,
        "requester_metadata": {}, "search_key": "4242",
    });
}

/// The pairs that we answer otherwise. DESIGN.md has the same list in short.
const DIFFERENT: &[(i64, &str, Instead)] = &[
    (6, "an unknown URL is 404, not 500", wrong_url),
    (13, "a page has at most 100 rows", bounded_page),
    (20, "links between pages keep all values of a filter", both_states),
    (63, "our version", about_us),
    (70, "a wrong method is 405, not 500", wrong_method),
    (76, "the stub raises what it was told to; our catalog is empty", other_catalog),
    (79, "`true` is not advisory 1", not_an_integer),
    (89, "a list is a wrong body, not a fault of ours", |expected| {
        refused(expected, "The body must be a JSON object.")
    }),
    (90, "no body is a wrong body, not a fault of ours", |expected| refused(expected, NO_JSON)),
    (109, "CANCELED is said when it is true", cancelled_when_it_is_true),
    (110, "cancelling again changes nothing", cancelled_when_it_is_true),
    (112, "a wrong method is 405, not 500", wrong_method),
    (113, "a body that is not JSON is 400, not 500", |expected| refused(expected, NO_IDENT)),
    (115, "logins are not Kerberos alone", another_login),
    (122, "CANCELED is said when it is true", cancelled_when_it_is_true),
    (123, "the proxy says names without a realm", names_need_no_realm),
];

const NO_JSON: &str = "The body is not valid JSON: EOF while parsing a value at line 1 column 0";
const NO_IDENT: &str = "The body is not valid JSON: expected ident at line 1 column 2";

/// What is not compared as JSON: the root, which is a path of the program around; texts.
const OTHERWISE: [i64; 2] = [69, 73];

/// A catalog that knows no image.
#[derive(Debug)]
struct Empty;

#[async_trait]
impl Images for Empty {
    async fn containing(&self, _: &Containing) -> Result<Vec<CatalogImage>> {
        Ok(Vec::new())
    }

    async fn images(&self, _: &BTreeSet<Nvr>, _: &BTreeSet<String>) -> Result<Vec<CatalogImage>> {
        Ok(Vec::new())
    }

    async fn offered(&self, _: &BTreeSet<(String, String)>, _: &BTreeSet<String>) -> Result<Vec<CatalogImage>> {
        Ok(Vec::new())
    }
}

/// The answers of the catalog that was recorded: every repository has one image.
#[derive(Debug)]
struct OneImage;

#[async_trait]
impl ImageRepositories for OneImage {
    async fn rebuilt(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, std::result::Result<RebuiltRepository, String>>> {
        let rebuilt = |name: &String| {
            let tags = ["latest".to_owned()].into();
            (name.clone(), Ok(RebuiltRepository { registry: None, name: name.clone(), tags }))
        };
        Ok(names.iter().map(rebuilt).collect())
    }

    async fn images_in(&self, repository: &RebuiltRepository) -> Result<Vec<TaggedImage>> {
        let image = CatalogImage::new("foo-1-1".parse().unwrap()).with_content_set("cs-1");
        Ok(vec![TaggedImage { image, tags: repository.tags.clone() }])
    }
}

/// The form of events and builds, with the differences that `forms` has.
fn in_our_form(mut json: Value) -> Value {
    let is_form = |value: &Value| value.get("message_id").is_some() || value.get("original_nvr").is_some();
    if let Some(items) = json.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(|item| *item = in_our_form(item.take()));
    } else if is_form(&json) {
        json = if json.get("original_nvr").is_some() {
            ours(json!({ "builds": [json] }))["builds"][0].take()
        } else {
            ours(json)
        };
        // An empty reason is an empty text.
        let builds = json.get_mut("builds").and_then(Value::as_array_mut).into_iter().flatten();
        builds.for_each(without_null);
        without_null(&mut json);
    }
    json
}

fn without_null(form: &mut Value) {
    if form["state_reason"].is_null() {
        form["state_reason"] = json!("");
    }
}

/// What is only said by an engine of its own: numbers, and what its handler has decided.
const DECIDED: [&str; 7] = ["id", "url", "state", "state_name", "state_reason", "time_created", "time_done"];

fn forget(json: &mut Value, keys: &[&str]) {
    keys.iter().for_each(|key| drop(json.as_object_mut().unwrap().remove(*key)));
}

/// A world with the recorded rows, at the recorded moment.
async fn world_of(world: &World, fixture: &Value) {
    world.clock.set_forward(Duration::from_secs(1_768_478_400 - 1_764_000_000));
    store(world.storage.as_ref(), fixture).await;
}

fn sent(pair: &Value) -> freshmaker_web::axum::http::Request<Body> {
    let asked = &pair["request"];
    let (method, url) = (asked["method"].as_str().unwrap(), asked["url"].as_str().unwrap());
    let user = asked["wsgi_environ"]["REMOTE_USER"].as_str().unwrap_or_default();
    let mut headers = vec![("x-remote-user", user.split('@').next().unwrap())];
    let body = match (asked.get("json"), asked.get("raw_body")) {
        (Some(json), _) => {
            headers.push(super::JSON);
            json.to_string()
        }
        (None, Some(raw)) => raw.as_str().unwrap().to_owned(),
        (None, None) => String::new(),
    };
    request(method, url, &headers, body)
}

/// Cuts the identity of a message of the service at the second, and returns it whole.
fn cut_identity(json: &mut Value) -> String {
    let whole = json["message_id"].as_str().unwrap().to_owned();
    let second = whole.split('.').next().unwrap();
    assert!(second.ends_with("_1768478400"), "{whole}");
    for key in ["message_id", "search_key"].into_iter().filter(|key| json[key] == whole.as_str()).collect::<Vec<_>>() {
        json[key] = json!(second);
    }
    whole
}

/// Sends the request, compares the answer, and returns the identity of the message if one was sent.
async fn replay(router: &Router, pair: &Value) -> Option<String> {
    let n = pair["n"].as_i64().unwrap();
    let case = format!("{n} {}", pair["name"]);
    let told = ask(router, sent(pair)).await;
    let recorded = &pair["response"];
    let mut expected = Expected {
        status: recorded["status"].as_u64().unwrap().try_into().unwrap(),
        json: in_our_form(recorded["json"].clone()),
    };
    let instead = DIFFERENT.iter().find(|(number, ..)| *number == n).map(|(.., instead)| instead);
    instead.into_iter().for_each(|instead| instead(&mut expected));
    if n == 69 {
        assert_eq!((told.status, told.json()["status"].clone()), (404, json!(404)), "{case}");
        return None;
    }
    assert_eq!(told.status, expected.status, "{case}: {told:?}");
    let kind = recorded["content_type"].as_str().unwrap();
    assert!(told.status == 308 || told.header("content-type") == kind, "{case}: {told:?}");
    for header in ["location", "allow"] {
        let words = |text: &str| text.split(", ").map(str::to_owned).collect::<BTreeSet<_>>();
        let recorded = recorded[header].as_str().unwrap_or_default();
        assert!(recorded.is_empty() || words(told.header(header)) == words(recorded), "{case}: {told:?}");
    }
    recorded.get("json")?;
    let (mut json, mut expected) = (told.json(), expected.json);
    let mut sorted = json.clone();
    sorted.sort_all_objects();
    assert_eq!(told.body, format!("{sorted}\n"), "{case}: sorted keys and a newline");
    let mut sent = None;
    if pair["request"]["method"] == "POST" && told.status == 200 {
        let user = if pair["auth_backend"] == "noauth" { "local" } else { "alice" };
        expected["requester"] = json!(user);
        forget(&mut json, &DECIDED);
        forget(&mut expected, &DECIDED);
        cut_identity(&mut expected);
        sent = Some(cut_identity(&mut json));
    }
    if pair["request"]["method"] == "PATCH" && told.status == 200 {
        for form in [&mut json, &mut expected] {
            form["state_reason"] = Value::Null;
            for build in form["builds"].as_array_mut().unwrap() {
                build["state_reason"] = Value::Null;
                // The clock of a test may go on while a storage works.
                if let Some(minute) = build["time_completed"].as_str().map(|time| time[..16].to_owned()) {
                    build["time_completed"] = json!(minute);
                }
            }
        }
    }
    assert_eq!(json, expected, "{case}");
    sent
}

/// Asserts that the message that was sent says what the service published.
async fn same_message(client: &Client, pair: &Value, id: &str) {
    for published in pair["published"].as_array().into_iter().flatten() {
        let msg = published["msg"].as_object().unwrap();
        let message = client.message(Client::LOCAL, id).await.unwrap().message;
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        for (key, value) in msg.iter().filter(|(key, _)| !["requester", "msg_id"].contains(&key.as_str())) {
            assert_eq!(body[key], *value, "{} {key}", pair["name"]);
        }
        assert_eq!((&body["requester"], &body["msg_id"]), (&json!("local"), &json!(id)));
    }
}

#[tokio::test(start_paused = true)]
async fn every_recorded_request_is_answered_alike() {
    let recorded = recorded();
    let pairs = recorded["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 75);
    for (number, ..) in DIFFERENT {
        assert!(pairs.iter().any(|pair| pair["n"] == *number), "{number} is no pair");
    }
    for pair in pairs {
        for world in each() {
            world_of(&world, &recorded["fixture"]).await;
            let config = if pair["auth_backend"] == "noauth" { open() } else { behind_proxy() };
            // An engine makes events of requests. It would also go on with what the rows say.
            if pair["request"]["method"] == "POST" {
                let engine = deciding(&world).build().unwrap();
                let router = api(&world, engine.client(), config).router();
                if let Some(id) = while_running(&engine, replay(&router, pair)).await {
                    same_message(&engine.client(), pair, &id).await;
                }
            } else {
                let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
                let router =
                    api(&world, client, config).images(Arc::new(Empty)).repositories(Arc::new(OneImage)).router();
                if pair["n"] == 110 {
                    let before = pairs.iter().find(|pair| pair["n"] == 109).unwrap();
                    replay(&router, before).await;
                }
                replay(&router, pair).await;
            }
        }
    }
}

#[test]
fn the_list_of_differences_is_about_what_differs() {
    let numbers: BTreeSet<_> = DIFFERENT.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers.len(), DIFFERENT.len(), "no pair is there twice");
    assert!(OTHERWISE.iter().all(|number| !numbers.contains(number)));
    for (number, why, instead) in DIFFERENT {
        let recorded = recorded();
        let pair = recorded["pairs"].as_array().unwrap().iter().find(|pair| pair["n"] == *number).unwrap();
        let status = pair["response"]["status"].as_u64().unwrap().try_into().unwrap();
        let json = in_our_form(pair["response"]["json"].clone());
        let mut expected = Expected { status, json: json.clone() };
        instead(&mut expected);
        assert!(expected.status != status || expected.json != json, "{number}: {why}");
    }
}

/// Metrics are counts of the stored rows, under the names of the service.
#[tokio::test(start_paused = true)]
async fn metrics_have_the_names_of_the_service() {
    let recorded = recorded();
    for world in each() {
        world_of(&world, &recorded["fixture"]).await;
        let client = Client::new(world.storage.clone()).with_clock(world.clock.clone());
        let router = api(&world, client, open()).router();
        super::get(&router, "/api/1/events/").await;
        let told = super::get(&router, "/api/1/monitor/metrics").await;
        for line in [
            "messaging_rx_total 0",
            "messaging_rx_ignored_total 0",
            "messaging_rx_processed_ok_total 0",
            "messaging_rx_failed_total 0",
            "messaging_tx_to_send_total 0",
            "messaging_tx_sent_ok_total 0",
            "messaging_tx_failed_total 0",
            "freshmaker_artifact_build_done_total 3",
            "freshmaker_artifact_build_failed_total 1",
            "freshmaker_artifact_build_canceled_total 0",
            "freshmaker_event_complete_total 1",
            "freshmaker_event_failed_total 0",
            "freshmaker_event_skipped_total 1",
            "freshmaker_event_canceled_total 0",
            "build_api_latency_count 0",
            "event_api_latency_count 1",
            "event_api_latency_bucket{le=\"+Inf\"} 1",
        ] {
            assert!(told.body.lines().any(|found| found == line), "{line}: {}", told.body);
        }
    }
}

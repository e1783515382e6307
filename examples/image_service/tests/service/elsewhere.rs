//! Images that a service elsewhere builds.

use crate::builder::layers;
use crate::support::{Builder, World, has, is_idle};
use freshmaker::artifact::{Digest, ImageReference};
use freshmaker_oci::OciClient;
use freshmaker_oci::fakes::{FakeImage, push_to};
use freshmaker_testing::http::{Reply, Request, Server};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A service that speaks the protocol of `freshmaker-ci`, and pushes real images.
#[derive(Default)]
struct Farm {
    jobs: BTreeMap<String, Value>,
    /// How long a job runs, as a number of questions about it.
    questions: u32,
}

async fn farm(world: &World) -> (Server, Arc<Mutex<Farm>>) {
    let farm = Arc::new(Mutex::new(Farm::default()));
    let (behind, registries) = (Arc::clone(&farm), world.client());
    let server = Server::start(move |request| answer(Arc::clone(&behind), registries.clone(), request)).await.unwrap();
    (server, farm)
}

async fn answer(farm: Arc<Mutex<Farm>>, registries: OciClient, request: Request) -> Reply {
    let show = |value: &Value| Reply::new(200).with_body(value.to_string());
    match (request.method.as_str(), request.path.split('/').collect::<Vec<_>>().as_slice()) {
        ("POST", ["", "builds"]) => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let digest = build(&registries, &body).await;
            let mut farm = farm.lock().unwrap();
            let attempt = body["attempt"].as_str().unwrap().to_owned();
            let id = format!("job-{}", farm.jobs.len());
            let job = json!({
                "id": id, "attempt": attempt, "state": "running", "digest": digest,
                "left": farm.questions, "artifact": body["artifact"], "no_cache": body["no_cache"],
            });
            farm.jobs.insert(id, job.clone());
            show(&job)
        }
        ("GET", ["", "builds"]) => {
            let attempt = request.query.trim_start_matches("attempt=").to_owned();
            let farm = farm.lock().unwrap();
            let jobs: Vec<_> = farm.jobs.values().filter(|job| job["attempt"] == attempt.as_str()).collect();
            show(&json!({ "builds": jobs }))
        }
        ("GET", ["", "builds", id]) => {
            let mut farm = farm.lock().unwrap();
            let job = farm.jobs.get_mut(*id).unwrap();
            match job["left"].as_u64().unwrap() {
                0 if job["state"] == "running" => job["state"] = "succeeded".into(),
                0 => {}
                left => job["left"] = (left - 1).into(),
            }
            show(job)
        }
        ("POST", ["", "builds", id, "cancel"]) => {
            let mut farm = farm.lock().unwrap();
            let job = farm.jobs.get_mut(*id).unwrap();
            if job["state"] == "running" {
                job["state"] = "canceled".into();
            }
            show(job)
        }
        _ => Reply::new(404),
    }
}

/// Builds on the base of the request, and pushes to where it says.
async fn build(registries: &OciClient, request: &Value) -> Digest {
    let parent = &request["parents"][0];
    let base: ImageReference = parent["id"].as_str().unwrap().parse().unwrap();
    let content = format!("{}/{}@{}", base.registry(), base.repository(), parent["digest"].as_str().unwrap());
    let mut layers = layers(registries, &content.parse().unwrap()).await;
    layers.push(request["artifact"].as_str().unwrap().as_bytes().to_vec());
    let to = request["parameters"]["push_to"].as_str().unwrap().parse().unwrap();
    let mut image = FakeImage::default();
    image.layers = layers;
    push_to(&to, &image).await.unwrap()
}

/// `top` on `app` on a base, and the service that builds them.
async fn chain() -> (World, Server, Arc<Mutex<Farm>>) {
    let world = World::fake().await;
    world.push("base:1", &["base one"]).await;
    world.recipe("app", "FROM @/base:1\n");
    world.recipe("top", "FROM app\n");
    let (server, farm) = farm(&world).await;
    let section = format!("[build.elsewhere]\nservice = \"http\"\nurl = \"{}\"\npoll = 0.1\n", server.url());
    world.configure(&Builder::Test, &section, "");
    (world, server, farm)
}

/// Returns the artifacts of the jobs that were ever started, by their last part, and their states.
fn jobs(farm: &Mutex<Farm>) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    farm.lock().unwrap().jobs.values().map(|job| (text(&job["artifact"]), text(&job["state"]))).collect()
}

fn job(artifact: &str, state: &str) -> (String, String) {
    (format!("{artifact}:latest"), state.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_built_elsewhere_and_published_here() {
    let (world, _server, farm) = chain().await;
    world.serve();
    world.settled().await;
    let [app, top] = [world.layers("app").await, world.layers("top").await];
    assert_eq!(app[0], Digest::of(b"base one"));
    assert!(top.starts_with(&app) && top.len() == app.len() + 1, "{top:?}");
    assert_eq!(jobs(&farm), [job("app", "succeeded"), job("top", "succeeded")]);
    world.push("base:1", &["base two"]).await;
    world.until("followed", |status| is_idle(status) && jobs(&farm).len() == 4).await;
    world.settled().await;
    assert_eq!(world.layers("top").await[0], Digest::of(b"base two"));
    has(&world.run(&["logs", "top"]).1, "image_service: job job-");
    world.good(&["send", "top", "--fix", "CVE-2026-1234"]);
    world.until("fixed", |status| is_idle(status) && jobs(&farm).len() == 5).await;
    let without_cache: Vec<_> = farm.lock().unwrap().jobs.values().map(|job| job["no_cache"] == true).collect();
    assert_eq!(without_cache, [false, false, false, false, true]);
}

/// As when the machine stops: nobody is left who knows of the job, and it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_found_again_after_its_build_was_killed() {
    let (world, _server, farm) = chain().await;
    farm.lock().unwrap().questions = 1_000_000;
    world.serve();
    world.until("started", |_| jobs(&farm) == [job("app", "running")]).await;
    let attempts = world.tree().join(".image_service/attempts");
    for attempt in std::fs::read_dir(attempts).unwrap() {
        // A file beside the directories of the attempts has none.
        let Ok(group) = std::fs::read_to_string(attempt.unwrap().path().join("pgid")) else { continue };
        let killed = std::process::Command::new("kill").args(["-KILL", "--", &format!("-{}", group.trim())]).status();
        assert!(killed.unwrap().success());
    }
    world.until("begun again", |_| world.run(&["logs", "app"]).1.contains("image_service: job job-0")).await;
    for job in farm.lock().unwrap().jobs.values_mut() {
        job["left"] = 0.into();
    }
    farm.lock().unwrap().questions = 0;
    world.settled().await;
    assert_eq!(jobs(&farm), [job("app", "succeeded"), job("top", "succeeded")], "none was started twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_build_cancels_its_job() {
    let (world, _server, farm) = chain().await;
    farm.lock().unwrap().questions = 1_000_000;
    world.serve();
    world.until("started", |_| jobs(&farm) == [job("app", "running")]).await;
    world.good(&["cancel", "1"]);
    world.until("cancelled", |status| is_idle(status) && jobs(&farm) == [job("app", "canceled")]).await;
}

//! Who is told what became of their images.

use crate::support::{Builder, World};
use freshmaker_testing::http::{Reply, Server};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

#[tokio::test(flavor = "multi_thread")]
async fn each_recipient_is_told_about_each_event_with_their_images() {
    let world = World::fake().await;
    world.push("base:1", &["base one"]).await;
    world.recipe("app", "FROM @/base:1\n");
    world.recipe("top", "FROM app\n");
    let posted = Arc::new(Mutex::new(Vec::<Value>::new()));
    let behind = Arc::clone(&posted);
    let server = Server::start(move |request| {
        let message: Value = serde_json::from_slice(&request.body).unwrap();
        behind.lock().unwrap().push(message);
        async { Reply::new(204) }
    });
    let server = server.await.unwrap();
    let told = world.directory.path().join("told");
    let script = world.directory.path().join("tell.sh");
    std::fs::write(&script, format!("#!/bin/sh\ncat >>'{0}'; echo >>'{0}'\n", told.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let recipients = format!(
        "[[notify]]\ncommand = [\"/no/such/program\"]\n\
         [[notify]]\nimages = [\"{host}/top\"]\ncommand = [\"{script}\"]\n\
         [[notify]]\nimages = [\"{host}/other\"]\ncommand = [\"{script}\"]\n\
         [[notify]]\nurl = \"{url}/secret\"\n",
        host = world.host(),
        script = script.display(),
        url = server.url(),
    );
    world.configure(&Builder::Test, "", &recipients);
    world.serve();
    world.settled().await;
    world.until("told", |_| posted.lock().unwrap().len() == 1).await;
    // What ends while the service is stopped between two events is told by its next run.
    world.push("base:1", &["base two"]).await;
    world.until("followed", |status| status["overview"]["builds_done"] == 4).await;
    world.kill();
    world.serve();
    world.until("told again", |_| posted.lock().unwrap().len() >= 2).await;
    world.settled().await;

    let lines = std::fs::read_to_string(&told).unwrap();
    let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Killed between telling and noting that it has told, it tells again.
    lines.dedup();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for message in &lines {
        let images = message["images"].as_array().unwrap();
        assert_eq!(images.len(), 1, "the others are not theirs: {message:#}");
        assert_eq!(
            (&images[0]["image"], &images[0]["state"]),
            (&world.image("top:latest").to_string().into(), &"DONE".into())
        );
        assert!(images[0]["digest"].as_str().unwrap().starts_with("sha256:"));
        assert!(message["text"].as_str().unwrap().contains("top:latest: DONE"), "{message:#}");
    }
    let mut posted = posted.lock().unwrap().clone();
    posted.dedup();
    assert_eq!(posted[1]["images"].as_array().unwrap().len(), 2);
    assert_eq!((&posted[0]["event"], &posted[1]["event"]), (&lines[0]["event"], &lines[1]["event"]));
    // The recipient that cannot be told disturbs the others as little as it is forgotten.
    world.until("complained", |_| world.log().contains("/no/such/program")).await;
    assert!(!world.log().contains("secret"), "{}", world.log());
}

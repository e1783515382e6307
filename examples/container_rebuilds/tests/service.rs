//! The example service as its operators run it: processes on RabbitMQ, a hub and an ODCS, killed
//! while builds run.
#![allow(clippy::unwrap_used)]

use freshmaker::Message;
use freshmaker::backend::Bus;
use freshmaker::engine::SystemClock;
use freshmaker_amqp::{AmqpBus, AmqpConfig, Arguments, QueueConfig};
use freshmaker_redhat::contracts::Advisory;
use freshmaker_redhat::fakes::errata::{FakeBuild, FakeErrataTool};
use freshmaker_redhat::fakes::koji::{Fate, Hub, Trouble};
use freshmaker_redhat::fakes::lightblue::{FakeImage, FakeLightblue, FakeRepository};
use freshmaker_redhat::fakes::mbs::FakeMbs;
use freshmaker_redhat::fakes::odcs::FakeOdcs;
use freshmaker_redhat::fakes::pulp::FakePulp;
use freshmaker_redhat::fakes::pyxis::FakePyxis;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_container_rebuilds"))
}

/// Without a broker this says so, and fails where services are required.
fn broker() -> Option<String> {
    let address = test_support::broker::address();
    if std::net::TcpStream::connect(address.as_str()).is_ok() {
        return Some(test_support::broker::url());
    }
    test_support::missing(&format!("there is no broker at {address}"));
    None
}

/// A running service, which does not outlive its test.
struct Service(Child);

impl Service {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The world around the service, and the directory of its configuration.
struct World {
    prefix: String,
    hub: Hub,
    odcs: FakeOdcs,
    directory: tempfile::TempDir,
    bus: AmqpBus,
}

impl World {
    async fn new(broker: &str) -> Self {
        let hub = Hub::start(Arc::new(SystemClock)).await.unwrap();
        hub.add_user("freshmaker", "hush-hush");
        hub.add_target("f40-containers");
        let odcs = FakeOdcs::start(Arc::new(SystemClock)).await.unwrap();
        odcs.require_token("freshmaker", "hush-token");
        let directory = tempfile::tempdir().unwrap();
        let queue = format!("koji-service-{}", fastrand::u64(..));
        // Nobody else's messages.
        let prefix = format!("org.example.test{}", fastrand::u64(..));
        let mut config = AmqpConfig::new(broker).unwrap();
        config.topic_prefix.clone_from(&prefix);
        let bus = AmqpBus::new(config).unwrap();
        let world = Self { prefix, hub, odcs, directory, bus };
        let prefix = &world.prefix;
        world.write(
            "koji.conf",
            &format!(
                "[test]\nserver = {}\ntopurl = {}\nauthtype = password\nuser = freshmaker\npassword = hush-hush\n",
                world.hub.url(),
                world.hub.files_url()
            ),
        );
        world.write("token", "hush-token\n");
        world.write("catalog.toml", include_str!("../catalog.toml"));
        world.write("fedora_messaging.toml", &format!(
            "amqp_url = \"{broker}\"\ntopic_prefix = \"{prefix}\"\n[queues.{queue}]\ndurable = true\nauto_delete = false\nexclusive = false\n\
             arguments = {{ x-expires = 300000 }}\n[[bindings]]\nqueue = \"{queue}\"\nexchange = \"amq.topic\"\nrouting_keys = [\"nothing\"]\n"
        ));
        world.write("container_rebuilds.toml", &format!(
            "state = \"state.sqlite\"\ncatalog = \"catalog.toml\"\ntopic_prefixes = [\"{prefix}\"]\n\
             freshmaker_messages = \"https://fm.example.org\"\n\
             [fedora_messaging]\nfile = \"fedora_messaging.toml\"\n[koji]\nfile = \"koji.conf\"\nprofile = \"test\"\nverify = true\npoll_s = 1\nsettle_s = 2\n\
             [odcs]\nurl = \"{}\"\nowner = \"freshmaker\"\ntoken_file = \"token\"\n",
            world.odcs.url()
        ));
        world
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn ask(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = program();
        command.args(arguments).arg("--config").arg(self.path("container_rebuilds.toml"));
        let output: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("hush"), "a secret is told: {said}");
        (output.status.success(), said)
    }

    /// Somebody who listens to what is said of events and builds, from now on.
    async fn listener(&self, broker: &str) -> AmqpBus {
        let arguments = Arguments::from([("x-expires".to_owned(), 300_000.into())]);
        let queue = QueueConfig { arguments, ..QueueConfig::durable() };
        let config = AmqpConfig::new(broker).unwrap().with_queue(format!("{}-heard", self.prefix), queue);
        let listener = AmqpBus::new(config.bind([format!("{}.event.#", self.prefix)])).unwrap();
        let ready = Message {
            id: "ready".into(),
            topic: "event.ready".into(),
            headers: Default::default(),
            body: b"{}".to_vec(),
        };
        let mut heard = Vec::new();
        while heard.is_empty() {
            // What is published before the queue is there is lost.
            self.bus.publish(&ready).await.unwrap();
            heard = tokio::time::timeout(Duration::from_millis(200), listener.receive(1))
                .await
                .map_or(vec![], Result::unwrap);
        }
        listener
    }

    fn serve(&self) -> Service {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = program();
        command.arg("serve").arg("--config").arg(self.path("container_rebuilds.toml")).stderr(Stdio::from(log));
        Service(command.spawn().unwrap())
    }

    async fn publish(&self, id: &str, topic: &str, body: &serde_json::Value) {
        let body = body.to_string().into_bytes();
        self.bus
            .publish(&Message { id: id.into(), topic: topic.into(), headers: Default::default(), body })
            .await
            .unwrap();
    }

    /// Until a service has made its queue; what is published before is lost.
    async fn until_it_listens(&self) {
        let listens = async || {
            let (fine, said) = self.ask(&["check-config", "--online"]).await;
            fine && !said.contains("it will be made")
        };
        self.until("the queue", listens).await;
    }

    async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let patience = Instant::now() + Duration::from_secs(90);
        while !holds().await {
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(Instant::now() < patience, "{what} never happens:\n{log}");
            let _ = tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_survives_the_process_and_a_lost_answer() {
    let Some(broker) = broker() else { return };
    let world = World::new(&broker).await;
    world.hub.script(|_| {
        let fate = Fate::succeeds().taking(Duration::from_secs(1)).with_version("40");
        Some(fate.with_rpm("x86_64", "openssl-libs-3.2.2-3.fc40"))
    });
    world.hub.trouble("buildContainer", 1, Trouble::AnswerLost);

    let listener = world.listener(&broker).await;
    let mut service = world.serve();
    world.until_it_listens().await;
    let body = serde_json::json!({ "container_images": ["registry.example.org/base:40"], "errata_id": 7 });
    world.publish("8f3c2a10-0000-4000-8000-000000000001", "freshmaker.manual.rebuild", &body).await;
    world.until("the first task", async || !world.hub.ledger().entries.is_empty()).await;
    service.kill();

    let mut service = world.serve();
    world.until("the end", async || world.ask(&["show"]).await.1.contains("COMPLETE")).await;
    let (_, said) = world.ask(&["show", "1"]).await;
    assert!(said.contains("all 4 builds ended well"), "{said}");
    assert_eq!(world.hub.ledger().violations(), []);
    assert_eq!(world.hub.ledger().entries.len(), 3, "each image was built once: {said}");
    assert_eq!(world.odcs.violations(), Vec::<String>::new());

    let ended = async |topic: &str| loop {
        let heard = tokio::time::timeout(Duration::from_secs(30), listener.receive(1)).await.unwrap().unwrap();
        let Message { topic: came, body, .. } = &heard[0].message;
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        if came.ends_with(topic) && body["state_name"] == "COMPLETE" {
            return body;
        }
    };
    let event = ended(".event.state.changed").await;
    let builds = event["builds"].as_array().unwrap();
    assert_eq!(builds.len(), 3, "the repository is a compose, no build: {event}");
    assert_eq!(builds[0]["url"], format!("https://fm.example.org/api/1/builds/{}", builds[0]["id"]));
    assert!(builds.iter().all(|build| build["build_id"].is_i64() && build["state_name"] == "DONE"), "{event}");
    assert!(builds.iter().any(|build| build["odcs_composes"][0].is_i64()), "{event}");
    assert_eq!(ended(".event.state.changed.min").await["builds_summary"]["DONE"], 3);

    let status = Command::new("kill").arg(service.0.id().to_string()).status().unwrap();
    assert!(status.success());
    assert!(service.0.wait().unwrap().success(), "it ends well when it is told to");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_can_be_cancelled_beside_the_service() {
    let Some(broker) = broker() else { return };
    let world = World::new(&broker).await;
    world.hub.script(|_| Some(Fate::hangs()));
    let (fine, said) = world.ask(&["check-config", "--online"]).await;
    assert!(fine && said.contains("is not there yet; it will be made"), "{said}");
    let mut service = world.serve();
    world.until_it_listens().await;
    let body = serde_json::json!({ "container_images": ["registry.example.org/website:40"], "errata_id": 7 });
    world.publish("8f3c2a10-0000-4000-8000-000000000002", "freshmaker.manual.rebuild", &body).await;
    world.until("the task", async || !world.hub.live_tasks().is_empty()).await;
    let (cancelled, said) = world.ask(&["cancel", "1", "--by", "alice"]).await;
    assert!(cancelled && said.contains("cancelled by alice"), "{said}");
    world.until("the cancellation", async || world.hub.live_tasks().is_empty()).await;
    world.until("the end", async || world.ask(&["show"]).await.1.contains("event 1 CANCELED")).await;
    service.kill();
}

/// The services that know of one released image, and of an advisory for a package in it.
struct Advisories {
    errata: FakeErrataTool,
    pulp: FakePulp,
    lightblue: FakeLightblue,
}

impl Advisories {
    /// They are part of the configuration, too.
    async fn new(world: &World) -> Self {
        let errata = FakeErrataTool::start().await.unwrap();
        let pulp = FakePulp::start().await.unwrap();
        let lightblue = FakeLightblue::start().await.unwrap();
        let advisory = Advisory {
            id: 7,
            name: "RHSA-2026:7".into(),
            state: "SHIPPED_LIVE".into(),
            content_types: ["rpm".to_owned()].into(),
            security_impact: "important".into(),
            product: "RHEL".into(),
            release: "RHEL-9".into(),
            reporter: "somebody".into(),
            ..Advisory::default()
        };
        let build = FakeBuild::new("bash-5.1-9.el9".parse().unwrap(), ["RHEL-9"]);
        errata.add(advisory, [build.with_files(["bash-5.1-9.el9.x86_64.rpm"])], ["baseos__x86_64"]);
        pulp.add("baseos__x86_64", Some("baseos"));
        lightblue.add_repository(FakeRepository::new("registry.example.com", "shop"));
        let image = FakeImage::new("shop-container", "shop-container-2.1-4").with_content_set("baseos");
        let image = image.published_in("registry.example.com", "shop", ["latest"]);
        lightblue.add_image(image.with_rpm("bash", "bash-5.1-6.el9.x86_64"));
        let installed = Fate::succeeds().with_rpm("x86_64", "bash-5.1-6.el9");
        world
            .hub
            .add_built_image(&"shop-container-2.1-4".parse().unwrap(), "f40-containers", None, &installed)
            .unwrap();
        let text = std::fs::read_to_string(world.path("container_rebuilds.toml")).unwrap();
        let section = format!(
            "[advisories.errata]\nurl = \"{}\"\n[advisories.pulp]\nurl = \"{}\"\nuser = \"fm\"\npassword_file = \"pulp\"\n\
             [advisories.lightblue]\nurl = \"{}\"\n",
            errata.url(),
            pulp.url(),
            lightblue.url()
        );
        world.write("pulp", "hush-pulp\n");
        world.write("container_rebuilds.toml", &(text + &section));
        Self { errata, pulp, lightblue }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_advisory_would_rebuild_is_shown() {
    let world = World::new("amqp://guest:guest@127.0.0.1:1/%2F").await;
    let (good, said) = world.ask(&["plan", "7"]).await;
    assert!(!good && said.contains("the configuration has no [advisories]"), "{said}");
    let services = Advisories::new(&world).await;
    let (good, said) = world.ask(&["plan", "7"]).await;
    let why = "shop-container-2.1-4 (also: it contains bash-5.1-6.el9, older than bash-5.1-9.el9)";
    assert!(good && said.contains(why), "{said}");
    assert!(!world.path("state.sqlite").exists(), "a plan keeps nothing");
    assert!(world.hub.ledger().entries.is_empty(), "and builds nothing");
    let (good, said) = world.ask(&["plan", "8"]).await;
    assert!(!good && said.contains("8"), "{said}");

    services.pulp.require_authorization("Basic Zm06aHVzaC1wdWxw");
    let (_, said) = world.ask(&["check-config", "--online"]).await;
    for line in ["ok      errata:", "ok      errata login", "ok      pulp login", "ok      lightblue login"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    services.errata.require_authorization("Negotiate nothing");
    services.lightblue.disturb(freshmaker_redhat::fakes::lightblue::Fault::Html(401));
    let (good, said) = world.ask(&["check-config", "--online"]).await;
    assert!(!good && said.contains("FAILED  errata login") && said.contains("FAILED  lightblue login"), "{said}");
}

/// Pyxis says the same as Lightblue, and only one of them can be asked.
#[tokio::test(flavor = "multi_thread")]
async fn released_images_come_from_pyxis_instead() {
    let world = World::new("amqp://guest:guest@127.0.0.1:1/%2F").await;
    let services = Advisories::new(&world).await;
    let pyxis = FakePyxis::start().await.unwrap();
    pyxis.add_repository(FakeRepository::new("registry.example.com", "shop"));
    let image = FakeImage::new("shop-container", "shop-container-2.1-4").with_content_set("baseos");
    let image = image.published_in("registry.example.com", "shop", ["latest"]);
    pyxis.add_image(image.with_rpm("bash", "bash-5.1-6.el9.x86_64"));
    let text = std::fs::read_to_string(world.path("container_rebuilds.toml")).unwrap();
    let section = format!("[advisories.pyxis]\nurl = \"{}\"\napi_key_file = \"pyxis\"\n", pyxis.url());
    world.write("pyxis", "hush-pyxis\n");
    world.write("container_rebuilds.toml", &format!("{text}{section}"));
    let (good, said) = world.ask(&["check-config"]).await;
    let both = "[advisories.lightblue] and [advisories.pyxis]: only one of them can say which images there are";
    assert!(!good && said.contains(both), "{said}");

    let lightblue = format!("[advisories.lightblue]\nurl = \"{}\"\n", services.lightblue.url());
    world.write("container_rebuilds.toml", &format!("{}{section}", text.replace(&lightblue, "")));
    let (good, said) = world.ask(&["plan", "7"]).await;
    let why = "shop-container-2.1-4 (also: it contains bash-5.1-6.el9, older than bash-5.1-9.el9)";
    assert!(good && said.contains(why), "{said}");
    assert_eq!(services.lightblue.asked().len(), 0);
    let (_, said) = world.ask(&["check-config", "--online"]).await;
    assert!(said.contains("ok      pyxis:") && said.contains("ok      pyxis login: answers"), "{said}");
    pyxis.require_api_key("another");
    let (good, said) = world.ask(&["check-config", "--online"]).await;
    assert!(!good && said.contains("FAILED  pyxis login"), "{said}");

    world.write("container_rebuilds.toml", &text.replace(&lightblue, ""));
    let (good, said) = world.ask(&["check-config"]).await;
    assert!(!good && said.contains("needs [advisories.lightblue] or [advisories.pyxis]"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_build_system_of_modules_is_checked() {
    let world = World::new("amqp://guest:guest@127.0.0.1:1/%2F").await;
    let mbs = FakeMbs::start(Arc::new(SystemClock)).await.unwrap();
    mbs.require_token("hush-mbs");
    let text = std::fs::read_to_string(world.path("container_rebuilds.toml")).unwrap();
    let section = format!("[mbs]\nurl = \"{}\"\ntoken_file = \"mbs\"\n", mbs.url());
    world.write("mbs", "hush-mbs\n");
    world.write("container_rebuilds.toml", &format!("{text}{section}"));
    let (_, said) = world.ask(&["check-config", "--online"]).await;
    for line in ["ok      mbs: http", "ok      mbs: version 3.9.2", "ok      mbs login: modules may be submitted"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(said.contains("warning mbs: without [mbs.commits] no module is rebuilt for a package in it"), "{said}");
    assert_eq!(mbs.submitted().len(), 0);
    mbs.require_token("another");
    let commits = "[mbs.commits]\nname = \"fm\"\nemail = \"fm@example.com\"\n";
    world.write("container_rebuilds.toml", &format!("{text}{section}{commits}"));
    let (good, said) = world.ask(&["check-config", "--online"]).await;
    assert!(!good && said.contains("FAILED  mbs login") && !said.contains("warning mbs"), "{said}");
    world.write("container_rebuilds.toml", &format!("{text}{section}name = \"koji\"\n"));
    let (good, said) = world.ask(&["check-config"]).await;
    assert!(!good && said.contains("FAILED  mbs: Koji has the name \"koji\", too"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shipped_advisory_rebuilds_its_images() {
    let Some(broker) = broker() else { return };
    let world = World::new(&broker).await;
    let services = Advisories::new(&world).await;
    world.hub.script(|_| Some(Fate::succeeds().with_version("2.1").with_rpm("x86_64", "bash-5.1-9.el9")));
    let mut service = world.serve();
    world.until_it_listens().await;
    // A scan for advisories that were missed may come in between.
    let asked = || services.errata.asked().iter().filter(|request| !request.contains("search")).count();
    let before = asked();
    let body = serde_json::json!({ "errata_id": 7, "from": "REL_PREP", "to": "SHIPPED_LIVE" });
    world.publish("8f3c2a10-0000-4000-8000-000000000003", "errata.activity.status", &body).await;
    world.until("the end", async || world.ask(&["show"]).await.1.contains("COMPLETE")).await;
    let (_, said) = world.ask(&["show", "1"]).await;
    assert!(said.contains("DONE shop-container-2.1-4 as shop-container-2.1-4."), "{said}");
    assert!(said.contains("it was built, and has what was demanded"), "{said}");
    assert_eq!(world.hub.ledger().violations(), []);
    let asked = asked() - before;
    assert_eq!(asked, 9, "twice three for the advisory, two for its packages without CVEs, one for its repositories");
    service.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_stored_once() {
    let world = World::new("amqp://guest:guest@127.0.0.1:1/%2F").await;
    let since = ["rescan", "--since", "2026-11-29T06:00:00Z"];
    let (good, said) = world.ask(&since).await;
    assert!(!good && said.contains("the configuration has no [advisories]"), "{said}");
    let services = Advisories::new(&world).await;
    let time = |text: &str| text.parse().unwrap();
    services.errata.date(7, time("2026-11-01T00:00:00Z"), time("2026-11-29T07:00:00Z"));
    for (since, expected) in [
        ("2026-11-29T06:00:00Z", "1 advisories have shipped since 2026-11-29 06:00:00 UTC, 1 of them are new here"),
        ("2026-11-29T06:30:00Z", "1 advisories have shipped since 2026-11-29 06:30:00 UTC, 0 of them are new here"),
        ("2026-11-29T08:00:00Z", "0 advisories have shipped since 2026-11-29 08:00:00 UTC, 0 of them are new here"),
    ] {
        let (good, said) = world.ask(&["rescan", "--since", since]).await;
        assert!(good && said.contains(expected), "{said}");
    }
    let (good, said) = world.ask(&["rescan", "--since", "yesterday"]).await;
    assert!(!good && said.contains("\"yesterday\" is no time like 2026-11-29T06:00:00Z"), "{said}");
}

#[test]
fn the_lists_of_the_service_before_become_a_policy() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lists.json");
    let convert = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let Output { status, stdout, stderr } = program().arg("convert-policy").arg(&file).output().unwrap();
        (status.success(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    };
    let (good, policy, notes) =
        convert(r#"{"HANDLER_BUILD_ALLOWLIST": {"global": {"image": {"advisory_name": "RHSA"}}}}"#);
    assert!(good, "{notes}");
    let policy: toml::Table = policy.parse().unwrap();
    assert_eq!(policy["policy"]["kind"]["image"]["allow"][0]["advisory_name"].as_str(), Some("RHSA.*"));
    assert!(notes.contains("`RHSA` matches the beginning there, and is `RHSA.*` here"), "{notes}");
    let (good, _, error) = convert(r#"{"HANDLER_BUILD_ALLOWLIST": []}"#);
    assert!(!good && error.contains("lists.json: HANDLER_BUILD_ALLOWLIST: expected an object"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_shown_and_mistakes_are_named() {
    let world = World::new("amqp://guest:guest@127.0.0.1:1/%2F").await;
    let (good, said) = world.ask(&["plan", "registry.example.org/nginx:40"]).await;
    assert!(good && said.contains("registry.example.org/website:40"), "{said}");
    let (good, said) = world.ask(&["plan", "nobody"]).await;
    assert!(!good && said.contains("nobody"), "{said}");
    assert!(!world.path("state.sqlite").exists(), "a plan keeps nothing");

    let (good, said) = world.ask(&["check-config"]).await;
    assert!(good, "{said}");
    let (good, said) = world.ask(&["check-config", "--online"]).await;
    assert!(!good && said.contains("FAILED  ") && said.contains("127.0.0.1:1"), "{said}");
    let others = ["ok      koji login", "ok      odcs", "ok      odcs login"];
    assert!(others.iter().all(|line| said.contains(line)), "one failure hides no other: {said}");
    assert!(world.odcs.composes().is_empty(), "a check makes nothing");
    world.odcs.require_token("freshmaker", "another");
    let (good, said) = world.ask(&["check-config", "--online"]).await;
    assert!(!good && said.contains("FAILED  odcs login: odcs: POST /api/1/composes/: status 401"), "{said}");

    let text = std::fs::read_to_string(world.path("container_rebuilds.toml")).unwrap();
    world.write("container_rebuilds.toml", &text.replace("profile = ", "profil = "));
    let (good, said) = world.ask(&["check-config"]).await;
    assert!(!good && said.contains("profil") && said.contains("container_rebuilds.toml"), "{said}");
}

/// What cannot work is found without the network, each fault by itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_found_offline() {
    let world = World::new("amqp://guest:guest@127.0.0.1:1/%2F").await;
    let (hub, odcs, url) = (world.hub.url(), world.odcs.url(), "amqp://guest:guest@127.0.0.1:1/%2F");
    let swap = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    for (file, (from, to), fault) in [
        ("koji.conf", swap(&hub, "https://koji.example.org:44e3/hub"), "koji: KOJI: [test] server: this is not a URL"),
        ("koji.conf", swap(&hub, "https://%(nowhere)s/hub"), "koji: KOJI: [test] server: it refers to `nowhere`"),
        ("koji.conf", swap("topurl = ", "topurl = files:"), "koji: KOJI: [test] topurl: this is not an HTTP URL"),
        ("koji.conf", swap("hush-hush", ""), "koji: KOJI: [test] password: it is missing"),
        ("koji.conf", swap("authtype = password", "authtype = ssl\ncert = /no/such.pem"), "koji: /no/such.pem"),
        ("koji.conf", swap("authtype", "serverca = /no/ca.pem\nauthtype"), "koji: /no/ca.pem"),
        ("koji.conf", swap("authtype = password", "principal = p\nkeytab = /no/tab\nauthtype = kerberos"), "koji: "),
        ("token", swap("hush-token", ""), "odcs: odcs: token file"),
        ("fedora_messaging.toml", swap(url, "amqp://robot@127.0.0.1"), "fedora_messaging: "),
        ("fedora_messaging.toml", swap("topic_prefix", "topic_perfix"), "fedora_messaging: "),
        (
            "fedora_messaging.toml",
            swap(&format!("\"{url}\""), "\"amqps://127.0.0.1\"\ntls = { ca_cert = \"/no/ca.pem\" }"),
            "fedora_messaging: /no/ca.pem",
        ),
        ("container_rebuilds.toml", swap("state.sqlite", "no/such/directory/state"), "state: "),
        ("container_rebuilds.toml", swap(&odcs, "https://odcs:99999"), "odcs: https://odcs:99999: this is not a URL"),
        ("container_rebuilds.toml", swap("token_file = \"token\"", "token_file = \"no\""), "odcs: odcs: token file"),
        ("container_rebuilds.toml", swap("[odcs]", "[odcs]\nslots = 0"), "odcs: `slots` is 0"),
        ("container_rebuilds.toml", swap("poll_s = 1", "poll_s = 0"), "koji: "),
        ("container_rebuilds.toml", swap("[odcs]", "[odcs]\nname = \"compose\""), "catalog: nothing is configured"),
        ("container_rebuilds.toml", swap("https://fm.example.org", "fm.example.org"), "freshmaker_messages: "),
    ] {
        let good = std::fs::read_to_string(world.path(file)).unwrap();
        assert!(good.contains(&from), "{file} has no {from}");
        world.write(file, &good.replace(&from, &to));
        let (fine, said) = world.ask(&["check-config"]).await;
        let failed: Vec<_> = said.lines().filter(|line| line.starts_with("FAILED")).collect();
        let fault = fault.replace("KOJI", &world.path("koji.conf").display().to_string());
        assert!(!fine && failed.len() == 1, "{fault}: {said}");
        assert!(failed[0].starts_with(&format!("FAILED  {fault}")), "{fault}: {said}");
        world.write(file, &good);
    }
    let good = std::fs::read_to_string(world.path("koji.conf")).unwrap();
    world.write("koji.conf", &good.replace("authtype", "authtipe"));
    let (fine, said) = world.ask(&["check-config"]).await;
    assert!(fine && said.contains("warning koji: keys without a meaning: authtipe"), "{said}");
    world.write("koji.conf", &good.replace("= password", "= noauth"));
    let (fine, said) = world.ask(&["check-config"]).await;
    assert!(fine && said.contains("warning koji: anonymous: it cannot build"), "{said}");
}

/// A storage in PostgreSQL is told apart from a file, and its server is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_used_is_found() {
    let world = World::new("amqp://guest:guest@127.0.0.1:1/%2F").await;
    let text = std::fs::read_to_string(world.path("container_rebuilds.toml")).unwrap();
    let text = text.replace("[fedora_messaging]\nfile = \"fedora_messaging.toml\"\n", "");
    let file = "container_rebuilds.toml";
    let nowhere = "[storage.postgres]\nurl = \"postgresql://me:hush-sql@127.0.0.1:1/none\"\ntls = \"disable\"\n";
    let without = text.replace("state = \"state.sqlite\"\n", "");
    for (text, fault) in [
        (format!("{text}{nowhere}"), "storage: both `state` and [storage.postgres] are given"),
        (without.clone(), "state: neither `state` nor [storage.postgres]"),
        (format!("{without}{nowhere}password_file = \"no-file\"\n"), "storage: PostgreSQL: `password_file` "),
        (format!("{without}{nowhere}password_env = \"NO_SUCH\"\n"), "storage: PostgreSQL: `password_env`: there is no"),
        (format!("{without}{nowhere}sslmode = 1\n"), "configuration: "),
    ] {
        world.write(file, &text);
        let (good, said) = world.ask(&["check-config"]).await;
        assert!(!good && said.contains(&format!("FAILED  {fault}")), "{fault}: {said}");
    }
    world.write(file, &format!("{without}{nowhere}[storage]\nreplica = \"host-a\"\n"));
    let (good, said) = world.ask(&["check-config"]).await;
    assert!(good && said.contains("ok      storage: schema \"public\" of PostgreSQL, as replica host-a"), "{said}");
    let (good, said) = world.ask(&["check-config", "--online"]).await;
    assert!(!good && said.contains("FAILED  storage server: PostgreSQL 127.0.0.1/none: "), "{said}");
}

/// Sends a request over a connection of its own, and returns the whole answer; an empty one if
/// nobody listens.
fn http(address: &str, method: &str, path: &str, token: &str, body: &str) -> String {
    let Ok(mut connection) = std::net::TcpStream::connect(address) else { return String::new() };
    let login = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{login}content-length: {length}\r\n\r\n{body}"
    );
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_is_served_beside_the_engine() {
    let world = World::new("amqp://guest:guest@127.0.0.1:1/%2F").await;
    let text = std::fs::read_to_string(world.path("container_rebuilds.toml")).unwrap();
    let text = text.replace("[fedora_messaging]\nfile = \"fedora_messaging.toml\"\n", "");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let file = "container_rebuilds.toml";
    world.write(file, &format!("{text}[web]\n"));
    let (good, said) = world.ask(&["check-config"]).await;
    assert!(!good && said.contains("FAILED  web: `listen` is missing"), "{said}");
    world.write(file, &format!("{text}[web]\nlisten = \"0.0.0.0:80\"\nauthentication.none = true\n"));
    let (good, said) = world.ask(&["check-config"]).await;
    assert!(!good && said.contains("FAILED  web: authentication.none: is only for a listener on a loopback"), "{said}");
    world.write(file, &format!("{text}[web]\nlisten = \"{free}\"\n"));
    let (good, said) = world.ask(&["check-config"]).await;
    assert!(good && said.contains(&format!("ok      web: {free}")), "{said}");

    let (good, said) = world.ask(&["token", "create", "ops", "--role", "admin", "--by", "tester"]).await;
    assert!(good, "{said}");
    let token = said.lines().find(|line| line.starts_with("fmt_")).unwrap().to_owned();
    let mut service = world.serve();
    world.until("the service", async || http(&free, "GET", "/healthz", "", "").starts_with("HTTP/1.1 200")).await;
    let unknown = http(&free, "GET", "/api/2/events/", "", "");
    assert!(unknown.starts_with("HTTP/1.1 401") && unknown.contains("\"error\":\"Unauthorized\""), "{unknown}");
    let event = http(&free, "POST", "/api/1/builds/", &token, r#"{"errata_id": 7}"#);
    assert!(event.starts_with("HTTP/1.1 200") && event.contains("\"requester\":\"token:ops\""), "{event}");
    for (path, there) in [
        ("/api/2/events/", "\"search_key\":\"7\""),
        ("/api/3/events", "\"search_key\":\"7\""),
        ("/metrics", "freshmaker_builds"),
        ("/api/1/monitor/metrics", "messaging_rx_processed_ok_total 1"),
    ] {
        let told = http(&free, "GET", path, &token, "");
        assert!(told.starts_with("HTTP/1.1 200") && told.contains(there), "{path}: {told}");
    }

    let (_, said) = world.ask(&["token", "list"]).await;
    assert!(said.contains(" ops [admin] until ") && said.contains("by tester") && !said.contains(&token), "{said}");
    let id = said.split_whitespace().next().unwrap().to_owned();
    let (good, said) = world.ask(&["token", "revoke", &id]).await;
    assert!(good, "{said}");
    assert!(http(&free, "GET", "/api/2/events/", &token, "").starts_with("HTTP/1.1 401"));
    let (good, said) = world.ask(&["token", "revoke", &id]).await;
    assert!(!good && said.contains("there is no token"), "{said}");

    let id = rustix::process::Pid::from_child(&service.0);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let ended = service.0.wait().unwrap();
    assert!(ended.success(), "{ended}");
}

//! Pages say what is so: what was done before, what still fails, and why something was not rebuilt.

use super::pages::{attributes, form, html, lived_in, page, planned, resolved, service, text, wide};
use super::support::{Service, ask};
use freshmaker::backend::{BuildFilter, Paging};
use freshmaker::client::RetryPart;
use freshmaker::handler::{ImagePushed, rebuild_dependents};
use freshmaker::rebuild::{BuildState, EventId, Failure, FailureClass};
use freshmaker::{Artifact, ArtifactGraph, ArtifactKind, Context, Decision, EdgeKind};
use freshmaker_testing::world::until;
use freshmaker_web::axum::http::Method;
use freshmaker_web::{Config, PageConfig, Role};
use std::time::Duration;

async fn newest(service: &Service) -> i64 {
    service.get("/api/3/events").await.json()["items"][0]["id"].as_i64().unwrap()
}

fn fail_next(service: &Service, artifact: &str) {
    service.world.builds.fail_next(&artifact.into(), Failure::new(FailureClass::Permanent, "no space"));
}

async fn pushed(service: &Service) {
    service.push("base").await;
    service.settle().await;
}

/// Sends a form twice, and returns the pages to which both lead.
async fn sent_twice(service: &Service, path: &str, fields: &str) -> [String; 2] {
    let mut pages = Vec::new();
    for _ in 0..2 {
        let sent = ask(&service.router, form(path, fields)).await;
        assert_eq!(sent.status, 303, "{}", text(&sent));
        service.settle().await;
        pages.push(page(service, &resolved(path, sent.header("location"))).await);
    }
    pages.try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_was_retried_before_is_said_to_be() {
    let service = service();
    fail_next(&service, "app");
    pushed(&service).await;
    let failed = newest(&service).await;
    let path = format!("/events/{failed}/retry");
    let [first, second] = sent_twice(&service, &path, "part=failed").await;
    let retry = newest(&service).await;
    assert!(first.contains("Retried. The new event"), "{first}");
    assert!(second.contains("It was retried already") && !second.contains("Retried."), "{second}");
    assert!(second.contains(&format!("events/{retry}\">event {retry}")), "{second}");
    let shown = page(&service, &format!("/events/{failed}")).await;
    let (_, said) = shown.split_once("What did not end well was retried by").expect("the event says so");
    assert!(said.split_once("</p>").unwrap().0.contains(&format!("event {retry}")), "{said}");
    assert!(!shown.contains("Retry what failed") && shown.contains("Retry the whole event"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_was_applied_before_is_said_to_be() {
    let service = service();
    let sent = ask(&service.router, form("/plans", "what=image&subject=base")).await;
    let plan = resolved("/plans", sent.header("location"));
    let [first, second] = sent_twice(&service, &format!("{plan}/apply"), "").await;
    assert!(first.contains("Applied. The event") && second.contains("It was applied already"), "{second}");
    let shown = page(&service, &plan).await;
    assert!(shown.contains("Applied by") && !shown.contains("Apply exactly this"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_applied_has_no_button() {
    let service = service();
    let sent = ask(&service.router, form("/plans", "what=image&subject=base")).await;
    let plan = resolved("/plans", sent.header("location"));
    service.world.catalog.update(|graph| {
        graph.insert(Artifact::new("shop", ArtifactKind::Image).with_source("shop", None));
        graph.depend("shop", "site", EdgeKind::ParentImage).unwrap();
    });
    let shown = page(&service, &format!("{plan}/diff")).await;
    assert!(shown.contains("added: shop") && !shown.contains("Apply exactly this"), "{shown}");
    assert!(!shown.contains("estimate:") && !shown.contains("rank:"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn what_was_built_well_since_is_no_failure() {
    let service = service();
    for _ in 0..2 {
        fail_next(&service, "app");
        pushed(&service).await;
    }
    let alarm = "app failed in builder";
    assert!(page(&service, "/").await.contains(alarm), "two failed builds of one artifact");
    let failures = page(&service, "/failures").await;
    assert!(failures.contains("data-l=\"artifacts\">1</td>"), "{failures}");
    pushed(&service).await;
    // Failed builds are kept for a moment.
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(page(&service, "/").await.contains("Nothing needs anybody"));
    assert!(page(&service, "/failures").await.contains("was built well since"));
    let group = "system=builder&reason=failed";
    let nothing = ask(&service.router, form("/failures/retry", group)).await;
    assert_eq!((nothing.status.as_u16(), nothing.header("location")), (303, "../failures?told=nothing-to-retry"));
    let told = page(&service, "/failures?told=nothing-to-retry").await;
    assert!(told.contains("Nothing was retried"), "{told}");
    assert_eq!(service.get("/api/3/failures").await.json()["items"], serde_json::json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_counted_once() {
    let service = service();
    let client = service.engine.client();
    client.receive(freshmaker_testing::world::message("m1", "image.pushed", "{")).await.unwrap();
    service.settle().await;
    service.world.clock.set_forward(Duration::from_secs(3600));
    let overview = page(&service, "/").await;
    assert!(overview.contains("1 thing needs somebody"), "{overview}");
    assert!(overview.contains("1 message could not be handled"), "{overview}");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_failed_by_itself_is_shown_until_it_is_retried() {
    let service = service();
    let engine = service
        .world
        .builder()
        .on_as("rebuild_dependents", |_: ImagePushed, cx: Context| async move {
            let graph = cx.catalog().dependents(&["base".into()]).await?;
            Ok(Decision::Rebuild(graph.planner().rebuild("upside-down").plan()?))
        })
        .build()
        .unwrap();
    service.push("base").await;
    service.world.settle(&engine).await;
    let id = newest(&service).await;
    for path in ["/", "/failures"] {
        let shown = page(&service, path).await;
        assert!(shown.contains("upside-down") && shown.contains(&format!("events/{id}")), "{path}: {shown}");
    }
    service.engine.client().retry(EventId(id), RetryPart::Whole, "alice").await.unwrap();
    for path in ["/", "/failures"] {
        assert!(!page(&service, path).await.contains("upside-down"), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_artifact_that_was_left_out_is_found() {
    let service = service();
    service.world.catalog.update(|graph| {
        graph.insert(Artifact::new("vendor-image", ArtifactKind::Image));
        graph.depend("vendor-image", "base", EdgeKind::ParentImage).unwrap();
    });
    pushed(&service).await;
    service.world.catalog.update(|graph| {
        graph.insert(Artifact::new("other", ArtifactKind::Image));
        graph.insert(Artifact::new("other-app", ArtifactKind::Image).with_source("x", None));
        graph.depend("other-app", "other", EdgeKind::ParentImage).unwrap();
    });
    for _ in 0..10 {
        service.push("other").await;
        service.settle().await;
    }
    let whole = ask(&service.router, html(Method::GET, "/search?q=vendor-image")).await;
    assert_eq!((whole.status.as_u16(), whole.header("location")), (303, "./artifacts/vendor-image"));
    let shown = page(&service, "/artifacts/vendor-image").await;
    assert!(shown.contains("NOT REBUILT") && shown.contains("Found among the 11 latest events"), "{shown}");
    let part = page(&service, "/search?q=VENDOR").await;
    assert!(attributes(&part, "href").contains(&"./artifacts/vendor-image"), "{part}");
    let part = page(&service, "/search?q=ther-a").await;
    assert!(attributes(&part, "href").contains(&"./artifacts/other-app"), "{part}");
    let nothing = page(&service, "/search?q=nosuch").await;
    assert!(nothing.contains("plans of the 11 latest events"), "{nothing}");
    let unknown = ask(&service.router, html(Method::GET, "/artifacts/nosuch")).await;
    let shown = text(&unknown);
    assert_eq!(unknown.status, 404, "{shown}");
    assert!(shown.contains("Nothing is known here of an artifact with this name. Look whether"), "{shown}");
    assert!(shown.contains("No event has to do with it"), "{shown}");
    assert!(attributes(&shown, "href").contains(&"../search?q=nosuch"), "{shown}");
    // Who asks about an event is told of that event.
    let asked = page(&service, "/artifacts/nosuch?event=1").await;
    assert!(asked.contains("UNAFFECTED"), "{asked}");
    let number = newest(&service).await;
    let event = ask(&service.router, html(Method::GET, &format!("/search?q=event%20{number}"))).await;
    assert_eq!(event.header("location"), format!("./events/{number}"));
}

#[tokio::test(start_paused = true)]
async fn an_artifact_has_the_states_of_its_builds() {
    let service = lived_in().await;
    let shown = page(&service, "/artifacts/app").await;
    assert!(!shown.contains(">REBUILT<"), "{shown}");
    let (_, why) = shown.split_once("id=\"why\"").unwrap();
    let why = why.split_once("</ul>").unwrap().0;
    for state in ["READY", "FAILED", "DONE"] {
        assert!(why.contains(&format!(">{state}</span>")), "{state}: {why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_critical_path_has_only_what_is_open() {
    let service = service();
    service.push("base").await;
    planned(&service, &service.engine).await;
    let path = format!("/events/{}", newest(&service).await);
    let critical = async || {
        let shown = page(&service, &path).await;
        let (_, critical) = shown.split_once("What decides when it ends").expect("it is open");
        critical.split_once("</p>").unwrap().0.to_owned()
    };
    assert!(critical().await.contains("artifacts/app"));
    let client = service.engine.client();
    let done = BuildFilter { states: vec![BuildState::Done], ..BuildFilter::default() };
    let one = until(async || client.builds(done.clone(), Paging::first(1)).await.unwrap().items.len() == 1);
    service.engine.run_until(one).await.unwrap();
    let then = critical().await;
    assert!(then.contains("artifacts/site") && !then.contains("artifacts/app"), "{then}");
}

#[tokio::test(start_paused = true)]
async fn what_was_cancelled_is_not_said_to_have_failed() {
    let service = lived_in().await;
    let id = newest(&service).await;
    service.engine.client().cancel(EventId(id), "alice").await.unwrap();
    let canceled = page(&service, &format!("/events/{id}")).await;
    assert!(canceled.contains("Retry what was cancelled") && !canceled.contains("Retry what failed"), "{canceled}");
}

#[tokio::test(start_paused = true)]
async fn an_event_of_which_nothing_was_built_says_so() {
    let service = service();
    fail_next(&service, "app");
    pushed(&service).await;
    assert!(page(&service, "/events").await.contains("COMPLETE, ALL FAILED"));
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_was_confirmed_is_not_asked_about_again() {
    let service = service();
    let engine = service
        .world
        .builder()
        .on(rebuild_dependents)
        .policy(freshmaker::policy::Policy::allow_all().with_ask_above(1))
        .build()
        .unwrap();
    service.push("base").await;
    service.world.settle(&engine).await;
    let asks = newest(&service).await;
    let before = page(&service, &format!("/events/{asks}")).await;
    assert!(before.contains("Confirm: rebuild 2 artifacts"), "{before}");
    let value = |name: &str| {
        let (_, rest) = before.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let fields = format!("version={}&plan={}", value("version"), value("plan"));
    let path = format!("/events/{asks}/confirm");
    let mut told = Vec::new();
    for _ in 0..2 {
        let sent = ask(&service.router, form(&path, &fields)).await;
        told.push(page(&service, &resolved(&path, sent.header("location"))).await);
        service.world.settle(&engine).await;
    }
    assert!(told[0].contains("Confirmed.") && told[1].contains("It was confirmed already"), "{told:?}");
    let follows = newest(&service).await;
    let after = page(&service, &format!("/events/{asks}")).await;
    assert!(!after.contains("Confirm: rebuild") && !after.contains("ASKS FIRST"), "{after}");
    assert!(after.contains(&format!("events/{follows}\">event {follows}")), "{after}");
    assert!(after.contains("<p>Confirmed by <bdi>"), "{after}");
    assert!(page(&service, &format!("/events/{follows}")).await.contains("asked about"), "it leads back");
    let list = page(&service, "/events").await;
    assert!(list.contains("CONFIRMED") && !list.contains("ASKS FIRST"), "{list}");
    let (_, choice) = list.split_once("reason=ask_first").expect("the list can be narrowed to it");
    assert!(choice.split_once("</li>").unwrap().0.contains(", 1 confirmed"), "{choice}");
}

#[tokio::test(start_paused = true)]
async fn problems_speak_to_people() {
    let service = service();
    for (path, said) in [
        ("/artifacts/app?event=x", "it is not the number of an event"),
        ("/events?state=NONSENSE", "This address cannot be read"),
    ] {
        let told = text(&ask(&service.router, html(Method::GET, path)).await);
        assert!(told.contains(said), "{path}: {told}");
        for word in ["`errors`", "`detail`", "Retry-After", "invalid digit"] {
            assert!(!told.contains(word), "{path}: {told}");
        }
    }
    let empty = text(&ask(&service.router, form("/plans", "what=image&subject=")).await);
    assert!(empty.contains("write the name of an artifact") && empty.contains("go back and correct it"), "{empty}");
    let subject = page(&service, "/plans/new").await;
    assert!(subject.contains("name=\"subject\" value=\"\" required"), "{subject}");
}

#[tokio::test(start_paused = true)]
async fn who_mistypes_a_token_still_comes_back() {
    let service = Service::new(|config| config.page = Some(PageConfig::default()));
    service.token("alice", &[Role::ManualRebuilder]).await;
    let wrong = text(&ask(&service.router, form("/sign-in", "token=fmt_x&to=events/7?a=b")).await);
    assert!(wrong.contains("value=\"events/7?a=b\""), "{wrong}");
    let foreign = text(&ask(&service.router, form("/sign-in", "token=fmt_x&to=//evil.example")).await);
    assert!(!foreign.contains("evil.example"), "{foreign}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_build_leads_to_its_log_and_to_a_rebuild() {
    let service = Service::new(|config: &mut Config| {
        config.authentication.none = true;
        let mut page = PageConfig::default();
        page.links.insert("builder".to_owned(), "https://builds.example.org/{id}".to_owned());
        config.page = Some(page);
    });
    fail_next(&service, "app");
    pushed(&service).await;
    let builds = service.get("/api/3/builds?artifact=app").await.json();
    let shown = page(&service, &format!("/builds/{}", builds["items"][0]["id"])).await;
    assert!(shown.contains("Its log in") && shown.contains("plans/new?rebuild=app"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn waves_have_the_numbers_of_the_plan() {
    let service = service();
    wide(&service, 500, |number| format!("service-{number}"));
    service.engine.client().pause("builder", "a test", "alice").await.unwrap();
    service.push("base").await;
    planned(&service, &service.engine).await;
    let path = format!("/events/{}/graph", newest(&service).await);
    let graph = page(&service, &path).await;
    assert!(graph.contains("500 builds in 2 waves") && graph.contains("what changed"), "{graph}");
    assert!(graph.contains("wave 2") && !graph.contains("wave 3"), "{graph}");
    let first = page(&service, &format!("{path}?wave=2")).await;
    assert!(first.contains("Wave 1 <span"), "{first}");
}

/// A page that is refreshed must be able to tell silence from a lost connection.
#[tokio::test(start_paused = true)]
async fn the_script_notices_when_the_page_is_old() {
    let service = service();
    let shown = page(&service, "/").await;
    let script = attributes(&shown, "src").into_iter().find(|path| path.ends_with(".js")).unwrap();
    let script = text(&service.get(&resolved("/", script)).await);
    for part in ["AbortSignal.timeout(", "!answer.ok", "\"alive\"", "Not up to date since"] {
        assert!(script.contains(part), "{part}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_cause_of_failures_comes_before_what_follows_from_it() {
    let service = service();
    wide(&service, 61, |number| format!("image-{number}"));
    fail_next(&service, "image-0");
    pushed(&service).await;
    let event = page(&service, &format!("/events/{}", newest(&service).await)).await;
    let place = |text: &str| event.find(text).unwrap_or_else(|| panic!("no {text:?} in {event}"));
    assert!(place("no space") < place("because its dependency"), "{event}");
    let overview = page(&service, "/").await;
    assert!(overview.contains("image-0 failed in builder: no space"), "{overview}");
}

#[tokio::test(start_paused = true)]
async fn what_is_open_says_when_it_is_expected_to_end() {
    let service = service();
    let client = service.engine.client();
    let mut graph = ArtifactGraph::new();
    graph.insert(Artifact::new("base", ArtifactKind::Image));
    let estimate = Duration::from_secs(600);
    graph.insert(Artifact::new("app", ArtifactKind::Image).with_source("x", None).with_estimate(estimate));
    graph.depend("app", "base", EdgeKind::ParentImage).unwrap();
    service.world.catalog.set(graph);
    let message = service.push("base").await;
    service.engine.run_until(async { drop(client.wait_until_handled(&message).await.unwrap()) }).await.unwrap();
    let id = service.get("/api/3/builds").await.json()["items"][0]["id"].as_i64().unwrap();
    for path in [format!("/builds/{id}"), "/artifacts/app".to_owned()] {
        assert!(page(&service, &path).await.contains("Expected to end <time"), "{path}");
    }
    service.settle().await;
    for path in [format!("/builds/{id}"), "/artifacts/app".to_owned()] {
        assert!(!page(&service, &path).await.contains("Expected to end"), "{path} has ended");
    }
}

//! What the world brings: markup, marks that turn the direction of text, and very long names.

use super::pages::{attributes, form, html, lived_in, page, planned, service, text, wide};
use super::support::ask;
use freshmaker::handler::{RebuildRequested, rebuild_dependents, rebuild_requested};
use freshmaker::rebuild::{Failure, FailureClass};
use freshmaker_web::axum::http::Method;

/// Names with markup, with marks that turn the direction of text, and long ones.
fn hostile(number: usize) -> String {
    match number {
        0 => "<script>alert(1)</script>".to_owned(),
        1 => "\"><img src=x onerror=alert(1)>".to_owned(),
        2 => "a\u{202e}gpj.exe\u{2066}".to_owned(),
        3 => "../../events?told=cancelled#'".to_owned(),
        4 => "..".to_owned(),
        _ => format!("{number}{}", "x".repeat(10_000)),
    }
}

/// No markup of others is on the page, and nothing that turns the direction of its own text. What
/// is in a field has a direction of its own.
fn is_harmless(path: &str, page: &str) {
    let page = attributes(page, "value").iter().fold(page.to_owned(), |page, value| match value.is_empty() {
        true => page,
        false => page.replace(&format!("value=\"{value}\""), "value"),
    });
    for broken in ["<script>", "<img", "onerror=alert(1)>", "<b>y", "<i>m", "</pre><", "\u{202e}", "\u{2066}"] {
        assert!(!page.contains(broken), "{path} has {broken:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn hostile_names_stay_text() {
    let service = service();
    wide(&service, 7, hostile);
    let reason = format!("<b>{}\u{202e}</b>", "y".repeat(10_000));
    service.world.builds.fail_next(&hostile(0).as_str().into(), Failure::new(FailureClass::Permanent, &reason));
    service.push("base").await;
    service.settle().await;
    let client = service.engine.client();
    let message = freshmaker_testing::world::message("<i>m", "image.pushed", "{\"image\": \"</pre><script>\"");
    client.receive(message).await.unwrap();
    service.settle().await;
    let engine = service.world.builder().on(rebuild_dependents).on(rebuild_requested).build().unwrap();
    for number in 0..7 {
        let requester = Some(hostile(number));
        let request = RebuildRequested { artifacts: vec![hostile(number)], dependents: false, requester };
        engine.client().send(&request).await.unwrap();
    }
    client.pause("builder", &reason, &hostile(0)).await.unwrap();
    planned(&service, &engine).await;
    let mut paths: Vec<_> =
        ["/", "/events", "/builds", "/queue", "/failures", "/dead-letters", "/health", "/audit", "/report"]
            .map(str::to_owned)
            .to_vec();
    paths.push("/search?q=%3Cscript%3E&told=%3Cscript%3E".to_owned());
    paths.push("/messages/local/%3Ci%3Em".to_owned());
    let events = service.get("/api/3/events").await.json();
    for event in events["items"].as_array().unwrap() {
        paths.extend(
            ["", "/graph", "/graph?wave=1", "/not-rebuilt"].map(|rest| format!("/events/{}{rest}", event["id"])),
        );
    }
    paths
        .extend((0..7).map(|number| {
            format!("/builds?artifact={}", encoded(&hostile(number)[..hostile(number).len().min(2000)]))
        }));
    let builds = service.get("/api/3/builds").await.json();
    paths.extend(builds["items"].as_array().unwrap().iter().map(|build| format!("/builds/{}", build["id"])));
    paths.push("/artifacts/%3Cscript%3Ealert%281%29%3C%2Fscript%3E".to_owned());
    for path in paths {
        let answer = ask(&service.router, html(Method::GET, &path)).await;
        assert!(matches!(answer.status.as_u16(), 200 | 404), "{path}: {}", text(&answer));
        let page = text(&answer);
        is_harmless(&path, &page);
        assert!(page.len() < 100_000, "{path} has {} bytes", page.len());
        // What leads to another step of the path, or is too long to be asked for, has no link.
        for link in attributes(&page, "href") {
            assert!(link.len() < 3000 && !link.ends_with("/..") && !link.contains("%2E%2E\""), "{path}: {link}");
        }
    }
}

/// As a browser sends a text.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test(start_paused = true)]
async fn every_field_takes_everything_and_answers_with_a_sentence() {
    let service = lived_in().await;
    let builds = service.get("/api/3/builds?state=BLOCKED").await.json();
    let blocked = builds["items"][0]["id"].as_i64().unwrap();
    let give_up = format!("/builds/{blocked}/give-up");
    let forms = [
        ("/systems/builder/pause", vec!["reason"], ""),
        (give_up.as_str(), vec!["why"], "version=0&"),
        ("/attempts/x/resolve", vec!["external_id"], "build=1&outcome=found&"),
        ("/plans", vec!["subject"], "what=image&"),
        ("/plans", vec!["topic", "body"], "what=message&"),
        ("/failures/retry", vec!["system", "reason"], ""),
        ("/sign-in", vec!["token", "to"], ""),
    ];
    for (path, fields, rest) in forms {
        for number in 0..6 {
            let value = encoded(&hostile(number));
            let pairs: Vec<_> = fields.iter().map(|field| format!("{field}={value}")).collect();
            let answer = ask(&service.router, form(path, &format!("{rest}{}", pairs.join("&")))).await;
            let (status, page) = (answer.status.as_u16(), text(&answer));
            assert!(status == 303 || status == 200 || (400..500).contains(&status), "{path}: {status} {page}");
            is_harmless(path, &page);
            let location = answer.header("location");
            assert!(!location.starts_with("//") && !location.contains(':'), "{path} leads to {location}");
            assert!(status == 303 || page.contains("<h1>") && page.contains("<p>"), "{path}: {page}");
            // Rates are not what is tested here.
            tokio::time::advance(std::time::Duration::from_secs(60)).await;
        }
    }
    for path in [
        "/search?q=",
        "/builds?artifact=",
        "/events?requester=",
        "/audit?who=",
        "/artifacts/",
        "/events/1/graph?focus=",
    ] {
        for number in 0..6 {
            let value: String = hostile(number).chars().take(300).collect();
            let answer = ask(&service.router, html(Method::GET, &format!("{path}{}", encoded(&value)))).await;
            assert!(!answer.status.is_server_error(), "{path}: {}", text(&answer));
            is_harmless(path, &text(&answer));
        }
    }
    assert!(page(&service, "/queue").await.contains("PAUSED"));
}

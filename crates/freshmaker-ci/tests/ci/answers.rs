//! What answers mean.

use crate::support::{KINDS, Kind, request};
use freshmaker::backend::{BuildSystem, Remedy, Result};
use freshmaker::rebuild::{ExternalId, FailureClass, Observed};
use freshmaker::time::Timestamp;
use freshmaker_ci::Login;
use freshmaker_ci::fakes::{Course, Fault, Naming};
use freshmaker_ci::github::{GithubBuildSystem, GithubConfig};
use freshmaker_testing::http::Reply;

/// Everything that was ever submitted is younger.
const LONG_AGO: Timestamp = Timestamp::UNIX_EPOCH;

fn remedy<T: std::fmt::Debug>(result: Result<T>) -> Remedy {
    result.unwrap_err().remedy
}

async fn status(system: &dyn BuildSystem, id: &ExternalId) -> Observed {
    let found = system.status(std::slice::from_ref(id)).await.unwrap();
    assert_eq!(found.len(), 1);
    found[0].observed.clone()
}

fn instead(status: u16, body: &str) -> Fault {
    Fault::Instead(Reply::new(status).with_body(body))
}

#[tokio::test]
async fn a_lost_answer_is_unclear_and_the_job_is_found() {
    for kind in KINDS {
        let service = kind.service().await;
        let system = kind.client(&service);
        for number in 0..250 {
            system.submit(&request(1000 + number, "other")).await.unwrap();
        }
        service.disturb(kind.start(), Fault::Lost);
        let lost = request(1, "app");
        assert_eq!(remedy(system.submit(&lost).await), Remedy::Unclear, "{kind:?}");
        system.submit(&request(2, "later")).await.unwrap();
        let found = system.find(&lost, LONG_AGO).await.unwrap();
        assert_eq!(found.len(), 1, "{kind:?}: behind other pages too");
        assert!(matches!(found[0].observed, Observed::Succeeded(_)), "{kind:?}");
        assert_eq!(system.find(&request(3, "app"), LONG_AGO).await.unwrap(), [], "{kind:?}");
    }
}

#[tokio::test]
async fn refusals_start_nothing_and_say_when_to_come_again() {
    for kind in KINDS {
        for (fault, expected) in [
            (instead(401, ""), Remedy::Unavailable),
            (instead(403, ""), Remedy::Unavailable),
            (instead(302, ""), Remedy::Unavailable),
            (Fault::Instead(Reply::new(403).with_header("x-ratelimit-remaining", "0")), Remedy::NotNow),
            (Fault::Instead(Reply::new(429).with_header("retry-after", "60")), Remedy::NotNow),
            (instead(422, r#"{"message":"No ref found for: x"}"#), Remedy::Rejected),
            (instead(502, "<html>"), Remedy::Unclear),
            (instead(200, "<html>"), Remedy::Unclear),
            (instead(200, "{}"), Remedy::Unclear),
        ] {
            let service = kind.service().await;
            let system = kind.client(&service);
            service.disturb(kind.start(), fault.clone());
            assert_eq!(remedy(system.submit(&request(1, "app")).await), expected, "{kind:?} {fault:?}");
            assert_eq!(service.started(), []);
        }
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_never_nothing() {
    for kind in KINDS {
        for body in ["<html>", "{}", r#"{"builds":7,"total_count":1,"workflow_runs":[{}]}"#, "[{}]", "null"] {
            let service = kind.service().await;
            let system = kind.client(&service);
            service.disturb("GET", instead(200, body));
            assert_eq!(remedy(system.find(&request(1, "app"), LONG_AGO).await), Remedy::Corrupt, "{kind:?} {body}");
        }
    }
}

#[tokio::test]
async fn one_job_that_cannot_be_read_hides_no_other_one() {
    for kind in KINDS {
        let service = kind.service().await;
        let system = kind.client(&service);
        let mut ids = Vec::new();
        for number in 1..=3 {
            ids.push(system.submit(&request(number, "app")).await.unwrap());
        }
        service.disturb(&format!("{}{}", kind.about(), ids[1]), instead(200, "<html>"));
        let known: Vec<_> = system.status(&ids).await.unwrap().into_iter().map(|found| found.external).collect();
        assert_eq!(known, [ids[0].clone(), ids[2].clone()], "{kind:?}");
        service.disturb("GET", instead(503, ""));
        assert_eq!(remedy(system.status(&ids[..1]).await), Remedy::Unavailable, "{kind:?}");
    }
}

#[tokio::test]
async fn a_job_that_is_gone_has_vanished_and_one_that_is_hidden_has_not() {
    for kind in KINDS {
        let service = kind.service().await;
        let system = kind.client(&service);
        let id = system.submit(&request(1, "app")).await.unwrap();
        service.forget(id.as_str());
        assert_eq!(status(&*system, &id).await, Observed::Vanished, "{kind:?}");
        if kind != Kind::Http {
            // What a login may not see is not there, for these services.
            service.disturb(kind.about(), instead(404, ""));
            service.disturb("GET", instead(404, ""));
            let answer = system.status(&[id]).await;
            assert_eq!(remedy(answer), Remedy::Unavailable, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn failures_say_what_failed() {
    for (kind, text) in [
        (Kind::Github, "step `compile` of job `build` failed: https://github.com/example/images/actions/runs/1"),
        (
            Kind::Gitlab,
            "job `compile` failed with `script_failure`: https://gitlab.example.org/example/images/-/pipelines/1",
        ),
        (Kind::Http, "the compiler says no"),
    ] {
        let service = kind.service().await;
        let system = kind.client(&service);
        service.script("app", Course::Fails);
        let id = system.submit(&request(1, "app")).await.unwrap();
        let Observed::Failed(failure) = status(&*system, &id).await else { panic!("{kind:?}") };
        assert_eq!((failure.class, failure.text.as_str()), (FailureClass::Deterministic, text));
    }
}

#[tokio::test]
async fn a_digest_that_is_not_told_is_not_known() {
    for kind in KINDS {
        let service = kind.service().await;
        let system = kind.client(&service);
        service.script("app", Course::SucceedsSilently);
        let id = system.submit(&request(1, "app")).await.unwrap();
        let Observed::Succeeded(output) = status(&*system, &id).await else { panic!("{kind:?}") };
        assert_eq!(output.digest, None, "{kind:?}");
    }
}

#[tokio::test]
async fn a_name_without_the_marker_is_refused_and_its_job_is_cancelled() {
    for kind in [Kind::Github, Kind::Gitlab] {
        let service = kind.service().await;
        let system = kind.client(&service);
        service.name_jobs(Naming::Plain);
        service.script("app", Course::Hangs);
        let error = system.submit(&request(1, "app")).await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Rejected, "{error}");
        assert!(error.text.contains("lacks the marker"), "{error}");
        assert_eq!((service.started().len(), service.running()), (1, 0), "{kind:?}");
        // If it cannot be cancelled, it may be running: then it is looked for.
        service.disturb("/cancel", instead(503, ""));
        assert_eq!(remedy(system.submit(&request(2, "app")).await), Remedy::Unclear, "{kind:?}");
    }
}

#[tokio::test]
async fn a_token_in_a_file_may_change() {
    for kind in KINDS {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "0ld\n").unwrap();
        let service = kind.service().await;
        service.require_token("n3w");
        let system = kind.client_as(&service, Login::TokenFile(file.clone()));
        let error = system.submit(&request(1, "app")).await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Unavailable, "{kind:?}");
        assert!(!error.to_string().contains("0ld"), "{error}");
        std::fs::write(&file, "n3w\n").unwrap();
        system.submit(&request(1, "app")).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_names_no_run_has_it_looked_up() {
    let service = Kind::Github.service().await;
    service.keep_runs_to_itself();
    let system = Kind::Github.client(&service);
    let app = request(1, "app");
    assert_eq!(remedy(system.submit(&app).await), Remedy::Unclear);
    assert_eq!(system.find(&app, LONG_AGO).await.unwrap().len(), 1);
}

#[tokio::test]
async fn mistakes_in_a_configuration_are_named() {
    let mut config = GithubConfig::new("example", "..", "rebuild.yml");
    assert!(GithubBuildSystem::new(config.clone()).unwrap_err().text.contains("`repository`"));
    config.repository = "images".to_owned();
    config.login = Login::TokenFile("/no/such/file".into());
    let error = config.check_offline().unwrap_err();
    assert_eq!(error.remedy, Remedy::Unsupported);
    assert!(error.to_string().contains("/no/such/file"), "{error}");
}

#[tokio::test]
async fn a_request_that_no_input_can_hold_is_refused() {
    let service = Kind::Github.service().await;
    let mut large = request(1, "app");
    large.target = "x".repeat(70_000);
    assert_eq!(remedy(Kind::Github.client(&service).submit(&large).await), Remedy::Rejected);
    assert_eq!(service.started(), []);
}

//! The same facts in each form, and what is wrong in each.

use crate::samples::{message, parse, refusal};
use freshmaker::event::Event;
use freshmaker::{Message, Severity};
use freshmaker_redhat::messages;
use freshmaker_redhat::messages::{NUMBERS, errata, koji, odcs};
use freshmaker_redhat::messages::{RESERVED_KINDS, RESERVED_NUMBERS};
use serde_json::{Value, json};

/// A good message for each parser: its topic, its body, and the paths without which it cannot be
/// read.
fn good() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let request = json!(["git://h/containers/nginx#abc", "target", {"git_branch": "b"}]);
    let commit = json!({"namespace": "rpms", "repo": "kernel", "branch": "f35", "rev": "abc", "stats": {"files": {"kernel.spec": {}}}});
    vec![
        (
            "brew.task.closed",
            json!({"old": "OPEN", "new": "CLOSED", "info": {"id": 7, "method": "buildContainer", "request": request}}),
            vec!["new", "info.id", "info.method", "info.request[0]"],
        ),
        (
            "buildsys.task.state.change",
            json!({"id": 7, "old": "OPEN", "new": "FAILED", "method": "build"}),
            vec!["id", "new"],
        ),
        ("brew.sign.rpm", json!({"build": {"nvr": "a-1-1"}}), vec!["build.nvr"]),
        ("errata.activity.status", json!({"errata_id": 7, "to": "SHIPPED_LIVE"}), vec!["errata_id", "to"]),
        (
            "errata.activity.signing",
            json!({"errata_id": 7, "errata_status": "QE", "content_types": ["module"]}),
            vec!["errata_id", "errata_status", "content_types"],
        ),
        ("odcs.state.changed", json!({"compose": {"id": 7, "state": 2}}), vec!["compose.id", "compose.state"]),
        (
            "mbs.module.state.change",
            json!({"id": 7, "name": "perl", "stream": "5.30", "state": 5}),
            vec!["id", "name", "stream", "state"],
        ),
        (
            "git.receive",
            json!({"commit": commit}),
            vec!["commit", "commit.repo", "commit.branch", "commit.rev", "commit.stats.files"],
        ),
        ("distgit.commit", commit, vec!["repo", "branch", "rev", "stats.files"]),
        (
            "distgit.push",
            json!({"namespace": "modules", "repo": "perl", "branch": "b", "newrev": "abc"}),
            vec!["repo", "branch", "newrev"],
        ),
        (
            "pagure.git.receive",
            json!({"repo": {"name": "nginx", "namespace": "containers"}, "branch": "refs/heads/b", "end_commit": "abc"}),
            vec!["repo.name", "branch", "end_commit"],
        ),
        (
            "bodhi.update.complete.stable",
            json!({"update": {"alias": "F-1", "builds": [{"nvr": "a-1-1"}], "release": {"name": "F29"}}}),
            vec!["update.alias", "update.builds", "update.builds[0].nvr", "update.release.name"],
        ),
        ("freshmaker.manual.rebuild", json!({"errata_id": 7}), vec!["errata_id"]),
        (
            "freshmaker.async.manual.build",
            json!({"dist_git_branch": "b", "container_images": ["a"]}),
            vec!["dist_git_branch", "container_images"],
        ),
        (
            "freshmaker.manage.eventcancel",
            json!({"action": "eventcancel", "event_id": 7, "builds_id": [1]}),
            vec!["action", "event_id", "builds_id"],
        ),
    ]
}

fn pointer(path: &str) -> String {
    format!("/{}", path.replace('[', "/").replace(']', "").replace('.', "/"))
}

/// Removes what is at the path, or puts something else there.
fn change(body: &Value, path: &str, to: Option<Value>) -> Value {
    let mut body = body.clone();
    let pointer = pointer(path);
    match to {
        Some(value) => *body.pointer_mut(&pointer).unwrap() = value,
        None => {
            let (above, name) = pointer.rsplit_once('/').unwrap();
            match body.pointer_mut(above).unwrap() {
                Value::Object(fields) => drop(fields.remove(name).unwrap()),
                Value::Array(items) => drop(items.remove(name.parse().unwrap())),
                other => panic!("{other}"),
            }
        }
    }
    body
}

#[test]
fn each_parser_has_a_good_message() {
    let mut topics: Vec<_> = good().into_iter().map(|(topic, ..)| topic).collect();
    topics.extend(["brew.task.failed", "odcs.state.change", "odcs.compose.state-changed"]);
    let mut all: Vec<_> = messages::ALL.iter().flat_map(|parser| parser.topics()).copied().collect();
    topics.sort_unstable();
    all.sort_unstable();
    assert_eq!(topics, all);
}

#[test]
fn every_form_says_the_same() {
    for (topic, body, _) in good() {
        let section = |code: &[u8], text: &str| {
            [&[0, 0x53], code, &u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
        };
        let text = body.to_string();
        let plain = parse(&message(topic, text.as_str())).unwrap().unwrap();
        for (form, body) in [
            (
                "fedmsg",
                json!({"i": 3, "msg": body, "topic": topic, "headers": {"errata_id": "9"}}).to_string().into_bytes(),
            ),
            ("text within fedmsg", json!({"msg": text}).to_string().into_bytes()),
            ("text within text", json!(text).to_string().into_bytes()),
            ("AMQP 1.0 value", section(&[0x77, 0xb1], &text)),
            ("AMQP 1.0 data", section(&[0x75, 0xb0], &text)),
            ("spaces", format!(" \n{text}\t").into_bytes()),
        ] {
            assert_eq!(parse(&message(topic, body)), Some(Ok(plain.clone())), "{topic}: {form}");
        }
        let prefixed = message(&format!("/topic/VirtualTopic.eng.{topic}"), text.as_str());
        assert_eq!(parse(&prefixed), Some(Ok(plain)), "{topic}");
    }
}

fn pointer_is_gone(body: &Value, change: &Value, path: &str) -> bool {
    let list = pointer(path).rsplit_once('/').map(|(list, _)| list.to_owned()).unwrap();
    let length = |body: &Value| body.pointer(&list).and_then(Value::as_array).map(Vec::len);
    length(body) != length(change)
}

#[test]
fn what_is_missing_is_named() {
    for (topic, body, required) in good() {
        for path in required {
            for (change, places) in [
                (change(&body, path, None), vec![path.to_owned()]),
                (change(&body, path, Some(Value::Null)), vec![path.to_owned()]),
                (change(&body, path, Some(json!(1.5))), vec![path.to_owned()]),
                (change(&body, path, Some(json!(true))), vec![path.to_owned(), format!("{path}[0]")]),
                (change(&body, path, Some(json!(" "))), vec![path.to_owned()]),
            ] {
                // Without its first item a list is another list.
                if path.ends_with(']') && pointer_is_gone(&body, &change, path) {
                    continue;
                }
                let error = refusal(&message(topic, change.to_string()));
                assert!(places.contains(&error.place), "{topic} {change}: {error}");
                let wrapped = refusal(&message(topic, json!({"msg": change}).to_string()));
                assert_eq!(wrapped.place, format!("msg.{}", error.place), "{topic}");
            }
        }
    }
}

#[test]
fn what_is_no_object_is_refused() {
    for (topic, body, _) in good() {
        for (text, place) in
            [("[", "line 1 column 1"), ("{}{", "line 1 column 3"), ("\"{\"", "text within text, line 1 column 1")]
        {
            assert_eq!(refusal(&message(topic, text)).place, place, "{topic} {text}");
        }
        assert_eq!(refusal(&message(topic, [&b"{\"a\": \""[..], &[0xff]].concat())).place, "byte 7");
        for text in ["7", "null", "true", "[]", "{\"msg\": 7}"] {
            match parse(&message(topic, text)) {
                Some(Err(error)) => {
                    assert!(!error.place.is_empty() && !error.reason.is_empty(), "{topic} {text}: {error}")
                }
                // A project without a namespace is nobody's source.
                None => assert!(topic.contains("git") && topic != "git.receive", "{topic} {text}"),
                Some(Ok(envelope)) => panic!("{topic} {text}: {envelope:?}"),
            }
        }
        let text = body.to_string();
        for end in 1..text.len() {
            let place = refusal(&message(topic, &text[..end])).place;
            assert!(place.starts_with("line 1 column "), "{topic} {place}");
        }
    }
}

#[test]
fn what_is_of_another_sort_is_ignored_and_not_refused() {
    let signing = |status: &str, content: &str| {
        ("errata.activity.signing", json!({"errata_id": 7, "errata_status": status, "content_types": [content]}))
    };
    let commit = |namespace: Value, file: &str| {
        let stats = json!({"files": {file: {}}});
        (
            "git.receive",
            json!({"commit": {"namespace": namespace, "repo": "r", "branch": "b", "rev": "c", "stats": stats}}),
        )
    };
    for (topic, body) in [
        ("brew.task.closed", json!({"info": {"method": "buildArch", "request": "<?xml?>"}})),
        signing("NEW_FILES", "module"),
        signing("QE", "rpm"),
        commit(json!("rpms"), "fix.patch"),
        commit(json!("modules"), "other.yaml"),
        commit(json!("container"), "dir/Dockerfile"),
        commit(json!("forks"), "r.spec"),
        commit(Value::Null, "r.spec"),
        ("distgit.push", json!({"namespace": "rpms", "repo": "r", "branch": "refs/tags/1", "newrev": "c"})),
    ] {
        assert_eq!(parse(&message(topic, body.to_string())), None, "{topic} {body}");
    }
}

fn advisory(headers: &[(&str, &str)]) -> Message {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Message { headers, ..message("errata.activity.status", "") }
}

#[test]
fn an_empty_body_means_headers() {
    let mut headers =
        vec![("errata_id", "26924"), ("to", "QE"), ("from", "null"), ("content_types", "[\"module\", \"rpm\"]")];
    let envelope = parse(&advisory(&headers)).unwrap().unwrap();
    assert_eq!(envelope.payload, json!({"errata_id": 26924, "to": "QE", "content_types": ["module", "rpm"]}));
    headers[0].1 = "99999999999999999999";
    let error = refusal(&advisory(&headers));
    assert_eq!((error.place.as_str(), error.reason.as_str()), ("headers.errata_id", "a number that is too large"));
    assert_eq!(refusal(&advisory(&headers[1..])).place, "headers.errata_id");
    let error = refusal(&advisory(&[]));
    assert_eq!(
        (error.place.as_str(), error.reason.as_str()),
        ("headers.errata_id", "missing, expected a whole number, not negative")
    );
}

#[test]
fn words_say_how_severe_it_is() {
    let severity = |topic: &str, body: Value| parse(&message(topic, body.to_string())).unwrap().unwrap().severity;
    for (word, expected) in [
        ("Critical: x", Severity::Critical),
        ("Important: x", Severity::Important),
        ("Low: x", Severity::Low),
        ("libvirt: bug fix", Severity::Moderate),
    ] {
        let body = json!({"errata_id": 7, "to": "QE", "synopsis": word});
        assert_eq!(severity("errata.activity.status", body), expected, "{word}");
    }
    for (word, expected) in
        [("urgent", Severity::Critical), ("high", Severity::Important), ("medium", Severity::Moderate)]
    {
        let body = json!({"update": {"updateid": "U", "builds": [], "release": {"name": "F"}, "severity": word}});
        assert_eq!(severity("bodhi.update.complete.stable", body), expected, "{word}");
    }
}

#[test]
fn numbers_of_tasks_composes_and_modules_may_be_written_as_text() {
    for (topic, body, key) in [
        ("buildsys.task.state.change", r#"{"id": "8", "new": "OPEN", "method": "build"}"#, "8"),
        ("odcs.state.change", r#"{"compose": {"id": "9", "state": 2}}"#, "9"),
        ("mbs.module.state.change", r#"{"id": "10", "name": "m", "stream": "s", "version": "1", "state": 5}"#, "10"),
    ] {
        assert_eq!(parse(&message(topic, body)).unwrap().unwrap().search_key, key, "{topic}");
    }
}

#[test]
fn hints_are_found_or_there_are_none() {
    for (topic, body, task, compose) in [
        ("x.y.brew.task.canceled", r#"{"info": {"id": 7}}"#, Some("7"), None),
        ("brew.task.free", r#"{"info": {"id": 7}}"#, Some("7"), None),
        ("a.buildsys.task.state.change", r#"{"msg": {"id": 8, "info": {"id": 7}}}"#, Some("8"), None),
        ("/topic/VirtualTopic.eng.odcs.state.changed", r#"{"compose": {"id": 9, "state": "?"}}"#, None, Some("9")),
        ("odcs.compose.state-changed", r#"{"compose": {"id": "9"}}"#, None, Some("9")),
        ("mybrew.task.closed", r#"{"info": {"id": 7}}"#, None, None),
        ("brew.build.complete", r#"{"info": {"id": 7}}"#, None, None),
        ("brew.task.closed", r#"{"info": {"id": -7}}"#, None, None),
        ("brew.task.closed", r#"{"info": {"id": "7"}}"#, Some("7"), None),
        ("brew.task.closed", "", None, None),
        ("odcs.state.change", "[", None, None),
    ] {
        let message = message(topic, body);
        let found = (koji::task_hint(&message), odcs::compose_hint(&message));
        let found = (found.0.as_ref().map(|id| id.as_str()), found.1.as_ref().map(|id| id.as_str()));
        assert_eq!(found, (task, compose), "{topic} {body}");
    }
}

/// Several Kojis send the same messages about tasks of the same numbers.
#[test]
fn messages_name_the_koji_that_sent_them() {
    let task = |of: &str| format!(r#"{{"id": 4711, {of}"method": "buildContainer", "new": "CLOSED", "old": "OPEN"}}"#);
    let topic = "org.fedoraproject.prod.buildsys.task.state.change";
    for (of, instance, hints) in [
        ("", "primary", [true, false]),
        (r#""instance": null, "#, "primary", [true, false]),
        (r#""instance": "primary", "#, "primary", [true, false]),
        (r#""instance": "secondary", "#, "secondary", [false, true]),
        // An empty text says nothing.
        (r#""instance": "", "#, "primary", [true, false]),
    ] {
        for body in [task(of), format!(r#"{{"msg": {}}}"#, task(of))] {
            let message = message(topic, body.as_str());
            let envelope = parse(&message).unwrap().unwrap();
            let event = envelope.open::<koji::TaskChanged>().unwrap();
            assert_eq!((event.task_id, event.instance.as_str()), (4711, instance), "{body}");
            let found = ["primary", "secondary"].map(|ours| koji::task_hint_of(ours)(&message).is_some());
            assert_eq!(found, hints, "{body}");
            assert_eq!(koji::task_hint(&message).is_some(), hints[0], "{body}");
        }
    }
    let odd = message(topic, task(r#""instance": 7, "#));
    assert_eq!(parse(&odd).unwrap().unwrap_err().place, "instance");
    assert_eq!(koji::task_hint(&odd), None);
    // Events that were stored before have no instance.
    let stored: koji::TaskChanged = serde_json::from_str(r#"{"task_id": 1, "new": "OPEN"}"#).unwrap();
    assert_eq!(stored.instance, koji::PRIMARY);
    let signed = message("brew.sign.rpm", r#"{"instance": "other", "build": {"nvr": "a-1-1"}}"#);
    assert_eq!(parse(&signed).unwrap().unwrap().open::<koji::RpmSigned>().unwrap().instance, "other");
}

#[test]
fn numbers_are_those_that_are_reserved() {
    let mut kinds = freshmaker_redhat::messages::parsers([""]).kinds();
    // No message brings this one: a handler emits it.
    kinds.push(errata::AdvisoryRpmsSigned::KIND);
    for (kind, number) in RESERVED_NUMBERS {
        assert!(!kinds.contains(&kind) && messages::number(kind).is_none(), "{kind}");
        let is_free = NUMBERS.iter().all(|(_, other)| *other != number);
        assert!(is_free && RESERVED_KINDS.iter().any(|(reserved, _)| *reserved == number), "{kind}");
    }
    for (kind, number) in NUMBERS {
        assert!(kinds.contains(&kind) && RESERVED_KINDS.iter().any(|(reserved, _)| *reserved == number), "{kind}");
        assert_eq!(messages::number(kind), Some(number));
    }
    let without: Vec<_> = kinds.into_iter().filter(|kind| messages::number(kind).is_none()).collect();
    assert_eq!(without, ["freshmaker.cancel-event"]);
}

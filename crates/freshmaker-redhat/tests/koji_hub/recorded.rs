//! What the real hub answered, asked again of the fake.

use crate::line::{Got, send};
use crate::world::{Hands, SECOND, hub};
use base64::Engine as _;
use freshmaker_redhat::fakes::koji::{Fate, Hub};
use freshmaker_redhat::koji::xmlrpc::{Response, Value};
use std::collections::BTreeMap;

struct Exchange {
    name: String,
    line: String,
    headers: BTreeMap<String, String>,
    asked: Vec<u8>,
    status: u64,
    answered: Vec<u8>,
}

fn exchanges() -> BTreeMap<String, Exchange> {
    let body = |side: &serde_json::Value| match side["base64"].as_str() {
        Some(text) => base64::engine::general_purpose::STANDARD.decode(text).unwrap(),
        None => side["body"].as_str().unwrap().as_bytes().to_vec(),
    };
    let lines = include_str!("../data/koji/exchanges.jsonl").lines();
    let exchange = |line| {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        let (request, response) = (&json["request"], &json["response"]);
        let exchange = Exchange {
            name: json["name"].as_str().unwrap().to_owned(),
            line: request["line"].as_str().unwrap().to_owned(),
            headers: serde_json::from_value(request["headers"].clone()).unwrap(),
            asked: body(request),
            status: response["status"].as_u64().unwrap(),
            answered: body(response),
        };
        (exchange.name[..3].to_owned(), exchange)
    };
    lines.map(exchange).collect()
}

/// Plays recorded exchanges to a fake, with its keys in place of the recorded ones.
struct Player {
    hub: Hub,
    exchanges: BTreeMap<String, Exchange>,
    keys: BTreeMap<String, String>,
    ids: BTreeMap<String, String>,
    compared: usize,
    /// What was different.
    faults: Vec<String>,
}

impl Player {
    async fn ask(&self, exchange: &Exchange) -> Got {
        let known = |text: &str| {
            let mut text = text.to_owned();
            for (recorded, ours) in &self.keys {
                text = text.replace(recorded, ours);
            }
            text
        };
        let pair = |(name, value): (&String, &String)| {
            let id = self.ids.get(value).filter(|_| name == "koji-session-id");
            format!("{name}: {}\r\n", id.cloned().unwrap_or_else(|| known(value)))
        };
        let headers: String = exchange.headers.iter().map(pair).collect();
        send(&self.hub, &known(&exchange.line), &headers, &exchange.asked).await.expect(&exchange.name)
    }

    /// The answer must have the same shape: faults with their code and text, values with their
    /// types and keys.
    async fn play(&mut self, numbers: &str) {
        for number in numbers.split_whitespace() {
            let exchange = &self.exchanges[number];
            let name = &exchange.name;
            let got = self.ask(exchange).await;
            self.compared += 1;
            if u64::from(got.status) != exchange.status {
                self.faults.push(format!("{name}: status {} not {}", got.status, exchange.status));
                continue;
            }
            match (Response::parse(&exchange.answered), Response::parse(&got.body)) {
                (Ok(Response::Value(recorded)), Ok(Response::Value(ours))) => {
                    self.faults.extend(differences(name, &recorded, &ours));
                    if let (Some((id, key)), Some((our_id, our_key))) = (granted(&recorded), granted(&ours)) {
                        self.keys.insert(key, our_key);
                        self.ids.insert(id, our_id);
                    }
                }
                (Ok(recorded), Ok(ours)) if recorded == ours => {}
                // Of a page or a sentence, the first words.
                (Err(_), Err(_)) if start(&got.body) == start(&exchange.answered) => {}
                (recorded, ours) => self.faults.push(format!("{name}: {ours:?} not {recorded:?}")),
            }
        }
    }

    fn check(self, compared: usize) {
        assert!(self.faults.is_empty(), "{}", self.faults.join("\n"));
        assert_eq!(self.compared, compared);
    }
}

fn start(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines().next().and_then(|line| line.split(':').next()).unwrap_or_default().to_owned()
}

/// Id and key of the session that was opened, if one was.
fn granted(value: &Value) -> Option<(String, String)> {
    let id: i64 = value.get(&["session-id"]).ok()?;
    let key: &str = value.get(&["session-key"]).ok()?;
    Some((id.to_string(), key.to_owned()))
}

/// Where the fake knows more, or less, than the hub did when it was recorded: in which exchanges,
/// and in which fields.
const OTHERWISE: [(&[&str], &[&str]); 7] = [
    // Children of tasks had no builder yet.
    (&["053", "054"], &["/host_id", "/start_time", "/start_ts"]),
    // The recorded builder told no place to pull from.
    (&["084"], &["/repositories"]),
    // The recorded image can be pulled by its tag only, and names its base by a pull specification.
    (&["100", "101", "103", "104", "122"], &["/index/pull", "/parent_images"]),
    // The recorded image has a layer.
    (&["107", "108"], &["/layer_sizes"]),
    // Tracebacks have as many lines as calls were under way.
    (&["122", "428"], &["/traceback"]),
    // Users have no tickets here.
    (&["127", "128", "130", "131"], &["/krb_principal", "/krb_principals"]),
    // The recorded packages were imported, without a task.
    (&["309"], &["/task_id"]),
];

fn otherwise(at: &str) -> bool {
    let applies = |exchanges: &[&str], fields: &[&str]| {
        exchanges.iter().any(|number| at.starts_with(number)) && fields.iter().any(|field| at.ends_with(field))
    };
    OTHERWISE.iter().any(|(exchanges, fields)| applies(exchanges, fields))
}

/// Where types or keys are not the same.
fn differences(at: &str, recorded: &Value, ours: &Value) -> Vec<String> {
    if otherwise(at) {
        return Vec::new();
    }
    let mut found = Vec::new();
    match (recorded, ours) {
        (Value::Struct(recorded), Value::Struct(ours)) => {
            let names = |fields: &BTreeMap<String, Value>| fields.keys().cloned().collect::<Vec<_>>();
            if names(recorded) != names(ours) {
                found.push(format!("{at}: {:?} not {:?}", names(ours), names(recorded)));
            }
            for (name, value) in recorded {
                if let Some(other) = ours.get(name) {
                    found.extend(differences(&format!("{at}/{name}"), value, other));
                }
            }
        }
        (Value::Array(recorded), Value::Array(ours)) => {
            if recorded.len() != ours.len() {
                found.push(format!("{at}: {} items, not {}", ours.len(), recorded.len()));
            }
            for (number, (recorded, ours)) in recorded.iter().zip(ours).enumerate() {
                found.extend(differences(&format!("{at}[{number}]"), recorded, ours));
            }
        }
        (_, _) if ours.kind() == recorded.kind() => {}
        (_, _) => found.push(format!("{at}: {ours:?} not {recorded:?}")),
    }
    found
}

async fn player(clock: &std::sync::Arc<Hands>) -> Player {
    Player {
        hub: hub(clock).await,
        exchanges: exchanges(),
        keys: BTreeMap::new(),
        ids: BTreeMap::new(),
        compared: 0,
        faults: Vec::new(),
    }
}

#[tokio::test]
async fn a_day_of_the_real_hub_is_answered_alike() {
    let clock = Hands::new();
    let mut player = player(&clock).await;
    let fate = Fate::succeeds().queued(SECOND).taking(SECOND).with_version("1.24");
    player.hub.next("git://pkgs.example.com/containers/nginx", fate);
    let mut bad = Fate::fails(2001, "BuildError: image build failed\nlast line").queued(SECOND);
    bad.rpms.clear();
    player.hub.next("git://pkgs.example.com/containers/bad", bad.clone());
    player.hub.next("git://pkgs.example.com/containers/bad", bad.queued(SECOND * 900));
    player.hub.next("git://pkgs.example.com/containers/c", Fate::hangs().queued(SECOND));
    let base = "ubi9-container-9.4-1".parse().unwrap();
    player.hub.add_image(&base, "", &Fate::succeeds()).unwrap();

    player.play("001 002 003 004 005 008 009 010 011 020 021 023 032 033 034 035 036 037 038 039 040 041").await;
    clock.forward(SECOND);
    player.play("053 054").await;
    clock.forward(SECOND);
    player.play("083 084 085 086").await;
    clock.forward(SECOND);
    player.play("090 091 092 093 094 095 096 097 098 099 100 101 103 104 105 106 107 108 109 110 111").await;
    player.play("114 115 116 119 122 123 124 125 126 127 128 129 130 131 132 133 134 135 136").await;
    player.hub.expire_sessions();
    player.play("137 138 139 140 141 142 202 204 206").await;
    assert_eq!(player.hub.ledger().violations(), []);
    player.check(77);
}

#[tokio::test]
async fn mistakes_are_answered_alike() {
    let clock = Hands::new();
    let mut player = player(&clock).await;
    player.play("401 402 403 404 405 406 407 408 409 410 411 412 413 414 415 416 417 418 419 420").await;
    player.play("421 422 423 424 425 427 428 429 430 431").await;
    player.check(30);
}

#[tokio::test]
async fn sessions_below_others_and_certificates_are_answered_alike() {
    let clock = Hands::new();
    let mut player = player(&clock).await;
    player.play("201").await;
    player.hub.certificate(Some("freshmaker"));
    player.play("200 202 009 143 144").await;
    assert_eq!(player.hub.open_sessions(), [1, 2]);
    player.check(6);
}

#[tokio::test]
async fn the_faults_of_missing_parameters_name_them() {
    let clock = Hands::new();
    let player = player(&clock).await;
    let exchange = &player.exchanges["006"];
    let (code, text) = player.ask(exchange).await.fault();
    assert_eq!((code, text.as_str()), (1019, "getBuild() missing 1 required positional argument: 'buildInfo'"));
}

#[tokio::test]
async fn packages_are_told_alike() {
    let clock = Hands::new();
    let player = player(&clock).await;
    let mut fate = Fate::succeeds().with_version("3.0.7").with_rpm("src", "openssl-libs-3.0.7-24.el9");
    fate = fate.with_rpm("noarch", "openssl-libs-3.0.7-24.el9");
    fate.rpms.remove("x86_64");
    player.hub.next("git://pkgs.example.com/rpms/openssl-libs", fate);
    let mut session = crate::line::Session::login(&player.hub, "freshmaker", "freshpw").await;
    let options = Value::record([("release", "24.el9".into())]);
    let source = Value::from("git://pkgs.example.com/rpms/openssl-libs#1");
    session.call(&player.hub, "build", vec![source, "rhel-9".into(), options]).await.unwrap().value();
    let build = session.call(&player.hub, "getBuild", vec!["openssl-libs-3.0.7-24.el9".into()]).await.unwrap().value();
    let Response::Value(recorded) = Response::parse(&player.exchanges["309"].answered).unwrap() else { panic!() };
    let own = ["/cg_id", "/cg_name", "/extra", "/source"];
    let without = |value: &Value| match value {
        Value::Struct(fields) => {
            let kept = fields.iter().filter(|(name, _)| !own.contains(&format!("/{name}").as_str()));
            Value::Struct(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        other => other.clone(),
    };
    assert_eq!(differences("309", &without(&recorded), &without(&build)), <[String; 0]>::default());
    let id = build.get::<i64>(&["id"]).unwrap();
    let rpms = session.call(&player.hub, "listRPMs", vec![id.into()]).await.unwrap().value();
    let Response::Value(recorded) = Response::parse(&player.exchanges["311"].answered).unwrap() else { panic!() };
    assert_eq!(differences("311", &recorded, &rpms), <[String; 0]>::default());
}

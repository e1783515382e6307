//! What a message costs before anybody wants it, against Python doing what the service does; and
//! what one of ours costs to be read.
//!
//! `cargo bench --bench messages`. The ratio is what counts; times only orient. The topics and
//! messages are the recorded ones of `tests/data/messages`.

use freshmaker::Message;
use freshmaker::event::Parsers;
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const PREFIXES: [&str; 2] = ["org.fedoraproject.prod", "VirtualTopic.eng"];
const ROUNDS: u32 = 2000;

/// The loop over prefixes and topics that a parser of the service makes for each message.
const PYTHON: &str = r#"
import sys, time
prefixes, suffixes, topics = (part.split("\n") for part in sys.stdin.read().split("\n\n"))
def wanted(topic):
    for suffix in suffixes:
        for prefix in prefixes:
            if topic == prefix + "." + suffix:
                return True
    return False
for topic in topics: wanted(topic)
rounds = 20
start = time.process_time()
for _ in range(rounds):
    for topic in topics: wanted(topic)
print((time.process_time() - start) / rounds / len(topics) * 1e9)
"#;

fn data(name: &str) -> Result<String, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/messages").join(name);
    Ok(std::fs::read_to_string(path)?)
}

fn message(topic: &str, body: Vec<u8>) -> Message {
    Message { id: "m".into(), topic: topic.into(), headers: BTreeMap::new(), body }
}

/// The time for one of these, at best of five.
fn best(messages: &[Message], parsers: &Parsers) -> Duration {
    let once = || {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            for message in messages {
                let _ = black_box(parsers.parse(black_box(message)));
            }
        }
        start.elapsed() / ROUNDS / u32::try_from(messages.len()).unwrap_or(1)
    };
    (0..5).map(|_| once()).min().unwrap_or_default()
}

fn python(topics: &[&str], parsers: &Parsers) -> Result<f64, Box<dyn Error>> {
    let first = format!("{}.", PREFIXES[0]);
    let suffixes: Vec<_> =
        parsers.topics().into_iter().filter_map(|it| it.strip_prefix(&first).map(str::to_owned)).collect();
    let directory = tempfile::tempdir()?;
    let (script, input) = (directory.path().join("loop.py"), directory.path().join("input"));
    std::fs::write(&script, PYTHON)?;
    std::fs::write(&input, [PREFIXES.join("\n"), suffixes.join("\n"), topics.join("\n")].join("\n\n"))?;
    let output = Command::new("python3").arg(&script).stdin(std::fs::File::open(&input)?).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let parsers = freshmaker_redhat::messages::parsers(PREFIXES);
    let topics = data("topics.txt")?;
    let foreign: Vec<_> =
        topics.lines().filter(|topic| parsers.parse(&message(topic, b"?".to_vec())).is_none()).collect();
    let ignored: Vec<_> = foreign.iter().map(|topic| message(topic, vec![b'{'; 2000])).collect();
    let ours = best(&ignored, &parsers);
    println!("ignored, of {} topics   {:>8.1} ns", foreign.len(), ours.as_secs_f64() * 1e9);
    match python(&foreign, &parsers) {
        Ok(theirs) => {
            println!("the same in Python      {theirs:>8.1} ns");
            println!("times less              {:>8.0}", theirs / (ours.as_secs_f64() * 1e9));
        }
        Err(error) => println!("the same in Python      not measured: {error}"),
    }
    let mut read = Vec::new();
    for line in ["fedora.jsonl", "umb.jsonl"]
        .map(data)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .flat_map(|text| text.lines())
    {
        let row: Value = serde_json::from_str(line)?;
        let body = match &row["body"] {
            Value::String(text) => text.clone(),
            body => serde_json::json!({ "msg": body }).to_string(),
        };
        let message = message(row["topic"].as_str().unwrap_or_default(), body.into_bytes());
        if let Some(Ok(_)) = parsers.parse(&message) {
            read.push(message);
        }
    }
    let bytes = read.iter().map(|message| message.body.len()).sum::<usize>() / read.len();
    println!("read, {} of ours, {bytes} bytes each   {:.1?}", read.len(), best(&read, &parsers));
    Ok(())
}

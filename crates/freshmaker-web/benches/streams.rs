//! What idle subscribers of the stream of changes take, and how fast one change reaches them all:
//! `cargo bench -p freshmaker-web --bench streams`. The server is a process of its own, whose
//! memory the system tells; the subscribers are sockets of this one.

use freshmaker::handler::rebuild_dependents;
use freshmaker_testing::world::World;
use freshmaker_web::{Config, Quota, serve_with_engine};
use std::error::Error;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

const SUBSCRIBERS: usize = 1_000;

/// Set in the process that serves.
const SERVES: &str = "FRESHMAKER_BENCH_SERVES";

/// What the server must take for each, and how long a change may take.
const BYTES_GOAL: u64 = 16 << 10;
const TIME_GOAL: Duration = Duration::from_secs(1);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    if std::env::var_os(SERVES).is_some() { serve().await } else { measure().await }
}

async fn serve() -> Result<()> {
    let world = World::new();
    let engine = world.builder().on(rebuild_dependents).build()?;
    let mut config = Config::loopback();
    config.limits.requests = Quota { per_minute: 1_000_000, burst: 1_000_000 };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let router = freshmaker_web::router(engine.client(), config);
    Ok(serve_with_engine(&engine, listener, router, std::future::pending()).await?)
}

/// The memory of a process that is in use, in bytes.
fn memory(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("the system does not tell")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

/// Reads until a text was sent.
async fn until(stream: &mut TcpStream, wanted: &str) -> Result<()> {
    let (mut text, mut buffer) = (String::new(), [0; 2048]);
    while !text.contains(wanted) {
        match stream.read(&mut buffer).await? {
            0 => return Err(format!("it ended before {wanted:?}: {text}").into()),
            size => text.push_str(&String::from_utf8_lossy(&buffer[..size])),
        }
    }
    Ok(())
}

async fn subscriber(address: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /api/3/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    until(&mut stream, "retry: 2000").await?;
    Ok(stream)
}

async fn measure() -> Result<()> {
    let mut program = Command::new(std::env::current_exe()?);
    program.env(SERVES, "1").stdout(Stdio::piped()).kill_on_drop(true);
    let mut server = program.spawn()?;
    let (process, output) = (server.id().ok_or("it has ended")?, server.stdout.take().ok_or("it has no output")?);
    let address = BufReader::new(output).lines().next_line().await?.ok_or("it has ended")?;

    let first = subscriber(&address).await?;
    let before = memory(process)?;
    let mut streams = Vec::with_capacity(SUBSCRIBERS);
    for _ in 0..SUBSCRIBERS {
        streams.push(subscriber(&address).await?);
    }
    let each = memory(process)?.saturating_sub(before) / SUBSCRIBERS as u64;
    println!("{SUBSCRIBERS} idle subscribers: {each} bytes each (goal: {BYTES_GOAL})");

    let mut waiting = JoinSet::new();
    for mut stream in streams {
        waiting.spawn(async move { until(&mut stream, "event: event.changed").await.map(|()| Instant::now()) });
    }
    let body = r#"{"topic": "image.pushed", "body": {"image": "base"}}"#;
    let request = format!(
        "POST /api/3/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut sender = TcpStream::connect(&address).await?;
    let began = Instant::now();
    sender.write_all(request.as_bytes()).await?;
    let mut times = Vec::with_capacity(SUBSCRIBERS);
    while let Some(reached) = waiting.join_next().await {
        times.push(reached??.duration_since(began));
    }
    times.sort_unstable();
    let (median, last) = (times[times.len() / 2], times[times.len() - 1]);
    println!("one change reaches half of them after {median:.1?}, all after {last:.1?} (goal: {TIME_GOAL:?})");
    drop(first);
    Ok(())
}

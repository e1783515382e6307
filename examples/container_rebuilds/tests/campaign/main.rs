//! Three replicas of the service as processes, each with a network of its own, on a PostgreSQL, a
//! RabbitMQ and a hub that keeps a ledger, while all of them are treated badly. At the end the
//! ledger, the database and the messages must say the same.
//!
//! The short form is one run. The long form goes on until so many rounds are done, writes its
//! figures after each run, and adds to those of earlier calls:
//!
//! ```console
//! $ FRESHMAKER_CAMPAIGN_ROUNDS=100 cargo test -p container_rebuilds --test campaign -- --nocapture
//! ```
#![allow(clippy::unwrap_used)]

mod figures;
mod ledger;
mod namespace;
mod proxy;
mod replicas;
mod told;
mod world;

use crate::figures::Figures;
use crate::proxy::Net;
use crate::replicas::Replica;
use crate::world::{SLOTS, World, pass};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The rounds of one part: after these nothing is disturbed any more, and everything is compared.
const ROUNDS: u64 = 6;

/// Longer than a lease holds, of 10 seconds.
const BEYOND: Duration = Duration::from_millis(10_800);

/// From the last fault to the end of all work.
const CALM_MAX: Duration = Duration::from_secs(180);

/// From the request to end to the end of a replica, when no call is under way for longer.
const END_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_is_built_twice() {
    let rounds = std::env::var("FRESHMAKER_CAMPAIGN_ROUNDS").ok().map(|rounds| rounds.parse::<u64>().unwrap());
    let Some(rounds) = rounds else {
        let Some(figures) = run(0).await else { return };
        println!("{figures:#?}");
        assert_eq!(figures.violations, Vec::<String>::new());
        let away = figures.stops + figures.partitions + figures.cut_off;
        assert!(figures.kills > 0 && away == ROUNDS, "{figures:?}");
        assert!(figures.database_restarts > 0 && figures.broker_restarts > 0, "{figures:?}");
        return;
    };
    let mut all = Figures::read();
    for _ in 0..rounds.div_ceil(ROUNDS) {
        let Some(figures) = run(all.runs).await else { return };
        all.add(&figures);
        all.write();
    }
    assert_eq!(all.violations, Vec::<String>::new());
}

/// One world, treated badly and then left in peace.
async fn run(seed: u64) -> Option<Figures> {
    let began = Instant::now();
    let mut run = Run {
        world: World::new(seed).await?,
        random: fastrand::Rng::with_seed(seed),
        figures: Figures { runs: 1, ..Figures::default() },
    };
    run.world.start().await;
    for _ in 0..ROUNDS {
        run.round().await;
    }
    run.calm(seed).await;
    let mut figures = run.figures;
    figures.messages = run.world.sent.len() as u64;
    figures.ended_by_themselves = run.world.replicas.iter().map(|replica| replica.ended_by_itself).sum();
    figures.seconds = began.elapsed().as_secs();
    if !figures.violations.is_empty() {
        // The logs are kept for whoever looks into it.
        eprintln!("{}", run.world.logs());
        eprintln!("kept: {}", run.world.directory.keep().display());
    }
    Some(figures)
}

struct Run {
    world: World,
    random: fastrand::Rng,
    figures: Figures,
}

impl Run {
    /// One replica is away for longer than its lease; meanwhile all else happens to the others.
    async fn round(&mut self) {
        let away = self.random.usize(..self.world.replicas.len());
        self.world.replicas[away].revive();
        match self.random.u32(..6) {
            0..2 if self.world.replicas[away].cut_off() => self.figures.cut_off += 1,
            2..5 if self.world.replicas[away].stop() => self.figures.stops += 1,
            _ => {
                self.world.replicas[away].ways.database.set(Net::Silent);
                self.figures.partitions += 1;
            }
        }
        let broker = self.restart_broker();
        let until = Instant::now() + BEYOND + Duration::from_millis(self.random.u64(..1500));
        while Instant::now() < until {
            self.trouble(away).await;
            for _ in 0..self.random.u32(1..8) {
                pass(Duration::from_millis(200)).await;
                self.look();
            }
            if self.random.bool() {
                self.world.ask().await;
            }
            self.revive_others(away);
        }
        if let Some(broker) = broker {
            broker.await.unwrap();
        }
        if self.random.u32(..4) == 0 {
            self.kill(away);
        }
        self.world.replicas[away].go_on();
        self.world.ask().await;
    }

    /// In the first round, and now and then, the broker is started again, which takes as long as a
    /// round.
    fn restart_broker(&mut self) -> Option<tokio::task::JoinHandle<()>> {
        if self.random.u32(..3) > 0 && self.figures.broker_restarts > 0 {
            return None;
        }
        self.figures.broker_restarts += 1;
        let (node, crashes) = (Arc::clone(&self.world.broker), self.random.bool());
        Some(tokio::task::spawn_blocking(move || if crashes { node.crash() } else { node.restart() }))
    }

    /// How long a killed replica stays down: mostly short, now and then beyond its lease.
    fn pause(&mut self) -> Duration {
        Duration::from_millis(if self.random.u32(..6) == 0 { 11_000 } else { self.random.u64(..1500) })
    }

    fn kill(&mut self, number: usize) {
        let pause = self.pause();
        if self.world.replicas[number].kill(pause) {
            self.figures.kills += 1;
        }
    }

    fn revive_others(&mut self, away: usize) {
        let others = self.world.replicas.iter_mut().enumerate().filter(|(number, _)| *number != away);
        others.for_each(|(_, replica)| replica.revive());
    }

    /// One fault of those that do not last.
    async fn trouble(&mut self, away: usize) {
        match self.random.u32(..20) {
            fault @ 0..2 => {
                let cluster = Arc::clone(&self.world.cluster);
                let restart = move || if fault == 0 { cluster.crash() } else { cluster.restart() };
                tokio::task::spawn_blocking(restart).await.unwrap();
                self.figures.database_restarts += 1;
            }
            2..4 => {
                let set = |net| self.world.replicas.iter().for_each(|replica| replica.ways.broker.set(net));
                set(Net::Cut);
                let while_cut = Duration::from_millis(self.random.u64(..1000));
                pass(while_cut).await;
                set(Net::Whole);
                self.figures.broker_cuts += 1;
            }
            4 => self.world.hub.expire_sessions(),
            _ => {
                let other = (away + self.random.usize(1..self.world.replicas.len())) % self.world.replicas.len();
                self.kill(other);
            }
        }
    }

    /// Counts what is alive at the hub.
    fn look(&mut self) {
        self.figures.most_alive = self.figures.most_alive.max(self.world.hub.live_tasks().len() as u64);
    }

    /// Lets all end, and compares.
    async fn calm(&mut self, seed: u64) {
        self.world.hub.calm();
        self.world.replicas.iter_mut().for_each(Replica::go_on);
        let began = Instant::now();
        while !self.is_over().await {
            if began.elapsed() > CALM_MAX {
                let overview = self.world.client.overview().await;
                self.figures.violations.push(format!("seed {seed}: not over after {CALM_MAX:?}: {overview:?}"));
                break;
            }
            self.world.replicas.iter_mut().for_each(Replica::revive);
            pass(Duration::from_millis(200)).await;
            self.look();
        }
        self.figures.longest_calm = began.elapsed().as_secs();
        let account = self.world.account().await;
        self.end(seed).await;
        self.figures.builds = account.builds as u64;
        self.figures.tasks = account.tasks as u64;
        self.figures.not_submitted = account.not_submitted as u64;
        let found = account.violations.into_iter().map(|text| format!("seed {seed}: {text}"));
        self.figures.violations.extend(found);
        if self.figures.most_alive > SLOTS as u64 {
            let text = format!("seed {seed}: {} tasks at once, the limit is {SLOTS}", self.figures.most_alive);
            self.figures.violations.push(text);
        }
    }

    /// All that the broker has taken is done, and told.
    async fn is_over(&self) -> bool {
        let Ok(overview) = self.world.client.overview().await else { return false };
        let events = overview.messages_waiting == 0 && self.world.told.ended() == self.world.sent.len();
        events && overview.is_idle() && self.world.hub.live_tasks().is_empty()
    }

    /// Ends all replicas as a service manager does.
    async fn end(&mut self, seed: u64) {
        for replica in &mut self.world.replicas {
            let Some((status, took)) = replica.terminate().await else { continue };
            self.figures.longest_end = self.figures.longest_end.max(took.as_millis() as u64);
            if !status.success() || took > END_MAX {
                self.figures.violations.push(format!("seed {seed}: {} ended with {status} in {took:?}", replica.name));
            }
        }
    }
}

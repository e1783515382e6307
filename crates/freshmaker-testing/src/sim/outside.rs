//! What happens outside of the engines: pushes, a person with a client in a process of its own,
//! clocks that are set. It runs as long as the simulation.

use super::backends::Shared;
use super::bus::Kind;
use super::oracle;
use super::storage::SimStorage;
use super::trouble::{self, Trouble};
use super::world::{SYSTEMS, World};
use freshmaker::backend::{BuildFilter, Clock, EventFilter, Paging, Storage};
use freshmaker::client::Client;
use freshmaker::rebuild::{AttemptRecord, BuildState, EventState};
use freshmaker::time::{Timestamp, later, since};
use std::sync::Arc;
use std::time::Duration;

/// What happens from outside.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Send(Kind),
    Cancel,
    SetClock,
    Pause(&'static str),
    Resume(&'static str),
}

/// What a message may say beside that one base was pushed.
const KINDS: [Kind; 4] = [Kind::Pushes(0), Kind::Withdrawal, Kind::Note, Kind::Riddle];

/// Returns what happens, and when, in the order of time.
pub(super) fn script(world: &mut World, start: Timestamp) -> Vec<(Timestamp, Action)> {
    let mut script = Vec::new();
    let pushes = world.rng.u32(1..4);
    // Some pushes come together, some while builds run, some after all is quiet.
    let spread = [5, 300, 7200][world.rng.usize(..3)];
    for _ in 0..pushes {
        let at = later(start, Duration::from_secs(world.rng.u64(..=spread)));
        let odd = world.weather.odd_message;
        let odd = world.chance(odd).then(|| KINDS[world.rng.usize(..KINDS.len())]);
        // What says something else comes beside a push.
        script.extend(odd.map(|kind| (at, Action::Send(kind))));
        script.push((at, Action::Send(Kind::Push)));
        let cancel = world.weather.cancel;
        if world.chance(cancel) {
            let within = [2, 30, 900][world.rng.usize(..3)];
            script.push((later(at, Duration::from_secs(world.rng.u64(1..=within))), Action::Cancel));
        }
        let clock = world.weather.clock;
        if world.chance(clock) {
            script.push((later(at, Duration::from_secs(world.rng.u64(1..=900))), Action::SetClock));
        }
    }
    let pause = world.weather.pause;
    if world.chance(pause) {
        let system = SYSTEMS[world.rng.usize(..world.weather.systems as usize)];
        let at = later(start, Duration::from_secs(world.rng.u64(..=spread)));
        script.push((at, Action::Pause(system)));
        script.push((later(at, Duration::from_secs(world.rng.u64(600..=1800))), Action::Resume(system)));
    }
    script.sort_by_key(|(at, _)| *at);
    script
}

/// Lets the script happen, and waits until nothing is left to do.
pub(super) async fn happens(script: Vec<(Timestamp, Action)>, storage: SimStorage) {
    let (shared, rows) = (storage.shared.clone(), Arc::clone(&storage.rows));
    let clock = shared.world().clock.clone();
    let client = Client::new(Arc::new(storage)).with_clock(Arc::new(clock.clone()));
    for (at, action) in script {
        clock.sleep_until(at).await;
        match action {
            Action::Send(kind) => shared.world().send(kind),
            Action::Cancel => cancel(&shared, &client).await,
            Action::SetClock => shared.world().set_clock(),
            Action::Pause(system) => pause(&shared, &client, system).await,
            Action::Resume(system) => resume(&shared, &client, system).await,
        }
    }
    if shared.world().trouble.is_some() {
        hours_of_trouble(&shared, &*rows).await;
    }
    if shared.world().second_bus_is_down {
        hours_without_the_second_bus(&shared, &client, &*rows).await;
    }
    quiet(&shared, &client).await;
    if shared.world().weather.retention {
        // What has ended is removed within this time, and then something changes again.
        clock.sleep(Duration::from_secs(4200)).await;
        shared.world().send(Kind::Push);
        quiet(&shared, &client).await;
    }
}

/// Waits until no message is on its way and nothing is left to do. A person decides about what
/// waits for a host that is gone.
async fn quiet(shared: &Shared, client: &Client) {
    let clock = shared.world().clock.clone();
    loop {
        {
            let (idle, hour) = (client.wait_until_idle(), clock.sleep(Duration::from_secs(3600)));
            futures_util::pin_mut!(idle, hour);
            futures_util::future::select(idle, hour).await;
        }
        decide_about_the_lost(shared, client).await;
        let idle = client.overview().await.is_ok_and(|overview| overview.is_idle());
        if idle && shared.world().is_quiet() {
            return;
        }
        clock.sleep(Duration::from_secs(1)).await;
    }
}

/// A person says that what was being submitted on a host that is gone was not, and gives up what
/// ran there, after its events are cancelled. What is refused is tried again later.
async fn decide_about_the_lost(shared: &Shared, client: &Client) {
    let lost = shared.world().lost_host;
    let Some(host) = lost else { return };
    let states = vec![BuildState::Submitting, BuildState::Building, BuildState::Canceling];
    let Ok(builds) = client.builds(BuildFilter { states, ..BuildFilter::default() }, Paging::first(100)).await else {
        return;
    };
    for build in builds.items {
        let Ok(attempts) = client.attempts(build.id).await else { return };
        let here = |attempt: &&AttemptRecord| shared.world().is_here(host, attempt.session.as_ref());
        let Some(attempt) = attempts.iter().filter(|attempt| attempt.state.is_live()).find(here) else { continue };
        if client.resolve(&attempt.id, None, "somebody").await.is_ok() {
            continue;
        }
        shared.world().canceled = true;
        let filter = EventFilter { states: vec![EventState::Building], ..EventFilter::default() };
        for event in client.events(filter, Paging::first(100)).await.map(|events| events.items).unwrap_or_default() {
            let _ = client.cancel(event.id, "somebody").await;
        }
        let _ = client.give_up(build.id, "its host is gone", "somebody").await;
    }
}

/// A person pauses a build system. What is submitted long after that was stored breaks a promise.
async fn pause(shared: &Shared, client: &Client, system: &'static str) {
    if client.pause(system, "it is repaired", "somebody").await.is_ok() {
        let mut world = shared.world();
        let now = world.now();
        world.paused.insert(system, now);
        world.say(|| format!("{system} is paused"));
    }
}

async fn resume(shared: &Shared, client: &Client, system: &'static str) {
    shared.world().paused.remove(system);
    if let Err(error) = client.resume(system).await {
        shared.world().violation(format!("{system} cannot be resumed: {error}"));
    }
    shared.world().say(|| format!("{system} is resumed"));
}

/// Waits until everything has ended that the trouble does not touch, and an hour longer, and mends
/// it.
async fn hours_of_trouble(shared: &Shared, rows: &dyn Storage) {
    let clock = shared.world().clock.clone();
    let begun = shared.world().now();
    loop {
        clock.sleep(Duration::from_secs(60)).await;
        let left = trouble::untouched(shared, rows).await.unwrap_or_else(|error| vec![error.to_string()]);
        let quiet = shared.world().is_quiet();
        if left.is_empty() && quiet {
            break;
        }
        let mut world = shared.world();
        if since(world.now(), begun) > Duration::from_secs(20 * 3600) {
            let (trouble, victim) = (world.trouble, world.victim.clone());
            world.violation(format!("{trouble:?} of {victim} holds up {left:?}, quiet: {quiet}"));
            break;
        }
    }
    clock.sleep(Duration::from_secs(3600)).await;
    if shared.world().suffers(Trouble::Publishing) {
        // The first message about each build of the victim delays the others by up to seven
        // minutes, each further one by two.
        clock.sleep(Duration::from_secs(3600)).await;
        for text in oracle::untold(shared, rows) {
            shared.world().violation(format!("while a bus does not take something: {text}"));
        }
    }
    let mut world = shared.world();
    world.mend();
    // What is refused, or has gone wrong for half a day, may have failed for good.
    let refused = world.weather.trouble == Some(Trouble::Refusals);
    world.canceled |= refused || since(world.now(), begun) > Duration::from_secs(12 * 3600);
}

/// Waits until everything has ended except the publications to the second bus, and lets that bus
/// work again two hours later. By then the first bus has got everything.
async fn hours_without_the_second_bus(shared: &Shared, client: &Client, rows: &dyn Storage) {
    let clock = shared.world().clock.clone();
    loop {
        let quiet = shared.world().is_quiet();
        let left = client.overview().await.map_or(1, |it| it.messages_waiting + it.events_open + it.builds_running);
        if quiet && left == 0 {
            break;
        }
        decide_about_the_lost(shared, client).await;
        clock.sleep(Duration::from_secs(60)).await;
    }
    clock.sleep(Duration::from_secs(2 * 3600)).await;
    for text in oracle::untold(shared, rows) {
        shared.world().violation(format!("while another bus is down: {text}"));
    }
    shared.world().second_bus_is_down = false;
}

async fn cancel(shared: &Shared, client: &Client) {
    let filter = EventFilter { states: vec![EventState::Building], ..EventFilter::default() };
    let Ok(events) = client.events(filter, Paging::first(100)).await else { return };
    if events.items.is_empty() {
        return;
    }
    let (one, other) = {
        let mut world = shared.world();
        world.canceled = true;
        let mut ids: Vec<_> = events.items.iter().map(|event| event.id).collect();
        world.rng.shuffle(&mut ids);
        let picked = (ids[0], ids[ids.len() - 1]);
        world.say(|| format!("events {} and {} are to be cancelled", picked.0, picked.1));
        picked
    };
    // They may have ended meanwhile, or be the same.
    let _ = futures_util::join!(client.cancel(one, "somebody"), client.cancel(other, "somebody else"));
}

//! Checks that every output contains exactly the outputs of its parents, from the data and the
//! outputs, without asking the engine.

use crate::out::{complain, say};
use crate::store::Store;
use crate::world::{World, policy};
use crate::{Outcome, Result};
use freshmaker::Policy;
use freshmaker::artifact::Digest;
use freshmaker::policy::Facts;
use std::collections::BTreeSet;
use std::path::Path;

/// Enough to see what went wrong.
const FAULTS_SHOWN: usize = 20;

pub(crate) fn run(state: &Path) -> Result<Outcome> {
    report(&World::load()?, &Store::open(state)?)
}

/// Checks, and says what was found.
pub(crate) fn report(world: &World, store: &Store) -> Result<Outcome> {
    let expected = expected(world, &policy()?)?;
    let mut faults = Vec::new();
    for at in world.pushed() {
        pushed(world, store, at, &mut faults)?;
    }
    let mut parents = 0;
    for &at in &expected {
        parents += world.images[at].parents.len();
        embeds_its_parents(world, store, at, &mut faults)?;
    }
    if faults.is_empty() {
        say!("checked: all {} outputs embed the present content of their {parents} parents", expected.len());
        return Ok(Outcome::Good);
    }
    for fault in faults.iter().take(FAULTS_SHOWN) {
        complain!("wrong: {fault}");
    }
    if faults.len() > FAULTS_SHOWN {
        complain!("wrong: and {} more", faults.len() - FAULTS_SHOWN);
    }
    Ok(Outcome::Bad)
}

/// What must have been rebuilt: whatever the rules allow and a changed or rebuilt parent reaches.
fn expected(world: &World, policy: &Policy) -> Result<BTreeSet<usize>> {
    let pushed = world.pushed();
    let candidates = world.dependents(&pushed);
    let graph = world.graph()?;
    let mut fresh = pushed.clone();
    for &at in world.order.iter().filter(|at| candidates.contains(at)) {
        let image = &world.images[at];
        let reached = image.parents.iter().any(|parent| fresh.contains(parent));
        let allowed = graph
            .get(&image.id)
            .is_some_and(|artifact| artifact.buildable() && policy.judge(&Facts::default().about(artifact)).allowed);
        if reached && allowed {
            fresh.insert(at);
        }
    }
    Ok(fresh.difference(&pushed).copied().collect())
}

fn pushed(world: &World, store: &Store, at: usize, faults: &mut Vec<String>) -> Result<()> {
    let id = &world.images[at].id;
    let content = store.pushed()?.map_or(0, |pushed| pushed.content);
    match store.tag(id)?.map(|digest| store.read(&digest)) {
        Some(Ok((document, _))) if document.content == content => {}
        Some(Ok((document, _))) => {
            faults
                .push(format!("{id} shows the content of push {}, expected that of push {content}", document.content));
        }
        Some(Err(error)) => faults.push(format!("{id}: {error}")),
        None => faults.push(format!("{id} has no output")),
    }
    Ok(())
}

fn embeds_its_parents(world: &World, store: &Store, at: usize, faults: &mut Vec<String>) -> Result<()> {
    let image = &world.images[at];
    let id = &image.id;
    let Some(digest) = store.tag(id)? else {
        faults.push(format!("{id} has no output"));
        return Ok(());
    };
    let (document, real) = match store.read(&digest) {
        Ok(found) => found,
        Err(error) => {
            faults.push(format!("{id}: {error}"));
            return Ok(());
        }
    };
    if real != digest {
        faults.push(format!("{id}: the output {digest} was altered, its content is {real}"));
    }
    if document.artifact != *id {
        faults.push(format!("{id} shows an output of {}", document.artifact));
    }
    for parent in image.parents.iter().map(|&parent| &world.images[parent].id) {
        let (expected, found) = (store.tag(parent)?, document.parents.get(parent).cloned());
        if expected != found {
            let show =
                |digest: Option<Digest>| digest.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string());
            faults.push(format!("{id} is stale: of {parent} expected {}, found {}", show(expected), show(found)));
        }
    }
    if document.parents.len() != image.parents.len() {
        let (found, known) = (document.parents.len(), image.parents.len());
        faults.push(format!("{id} was built from {found} parents, the data knows {known}"));
    }
    Ok(())
}

//! The hash of a plan, which a person confirms and by which plans are kept.
//!
//! It is made build by build, so that the hash of a plan of 50,000 builds can be interrupted (see
//! `rebuild::admitting`). Estimates and ranks are left out: they change with every build, and a
//! confirmation must stay valid.

use super::{Plan, PlanNode};
use crate::artifact::Digest;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::slice::Iter;
use std::time::Duration;

/// The hash of a plan, made build by build: the SHA-256 of its JSON form without estimates.
///
/// *Invariant:* the bytes are those that the plan would have as a whole, so the hash does not
/// depend on when it was interrupted.
#[derive(Debug)]
pub(crate) struct Hashing<'a> {
    plan: &'a Plan,
    nodes: Iter<'a, PlanNode>,
    /// What comes before the next build.
    separator: &'static str,
    hash: Sha256,
}

impl<'a> Hashing<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        let mut hashing = Self { plan, nodes: plan.nodes.values(), separator: "", hash: Sha256::new() };
        hashing.text("{\"version\":");
        hashing.value(&plan.version);
        hashing.text(",\"changed\":");
        hashing.value(&plan.changed);
        hashing.text(",\"nodes\":{");
        hashing
    }

    /// Adds one build; returns the hash after the last one.
    pub(crate) fn step(&mut self) -> Option<Digest> {
        let Some(node) = self.nodes.next() else { return Some(self.end()) };
        let separator = std::mem::replace(&mut self.separator, ",");
        self.text(separator);
        self.value(&node.artifact.id);
        self.text(":");
        self.value(&PlanNode { estimate: Duration::ZERO, rank: Duration::ZERO, ..node.clone() });
        None
    }

    fn end(&mut self) -> Digest {
        self.text("},\"excluded\":");
        self.value(&self.plan.excluded);
        if !self.plan.cycles.is_empty() {
            self.text(",\"cycles\":");
            self.value(&self.plan.cycles);
        }
        self.text("}");
        Digest::sha256(std::mem::take(&mut self.hash))
    }

    fn text(&mut self, text: &str) {
        self.hash.update(text);
    }

    fn value(&mut self, value: &impl Serialize) {
        // Maps are ordered and the form has no floats, so equal values have equal bytes;
        // serialising cannot fail for such a form.
        self.hash.update(serde_json::to_vec(value).unwrap_or_default());
    }
}

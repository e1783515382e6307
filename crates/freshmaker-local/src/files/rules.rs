//! The policy of a manifest.

use super::reader::{At, Reader};
use freshmaker::policy::Policy;
use serde::Deserialize;
use toml::de::DeTable;

#[derive(Deserialize)]
struct Only {
    #[serde(default)]
    policy: Policy,
}

/// Reads `[policy]`, if there is one. A mistake is reported with the line of the innermost value on
/// the path in the error of the policy.
pub(super) fn policy(reader: &mut Reader<'_>, text: &str, root: &DeTable<'_>) -> Policy {
    let Some(value) = root.get("policy") else { return Policy::allow_all() };
    match toml::from_str::<Only>(text) {
        Ok(only) => only.policy,
        Err(error) => {
            let (path, what) = error.message().split_once(": ").unwrap_or(("policy", error.message()));
            let mut at = At::new("policy", value);
            // The first name of a path such as `policy.block[1].artifact` is the policy itself.
            for step in path.split(['.', '[', ']']).filter(|step| !step.is_empty()).skip(1) {
                let value = at.value.get_ref();
                let inner = value.as_table().and_then(|table| table.get(step));
                let item = || step.parse().ok().and_then(|index: usize| value.as_array()?.get(index));
                let Some(inner) = inner.or_else(item) else { break };
                at = At::new(at.place, inner);
            }
            reader.problem(at.start(), path, what);
            Policy::allow_all()
        }
    }
}

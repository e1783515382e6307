use freshmaker::plan::Plan;

/// Most images that a sentence names.
const NAMED_MAX: usize = 50;

/// Says in a sentence what a plan that is not started would rebuild, in the order of the builds.
pub(super) fn would_rebuild(what: &str, plan: &Plan) -> String {
    if plan.is_empty() {
        return format!("{what} would rebuild no image");
    }
    let mut left = NAMED_MAX;
    let mut waves = Vec::new();
    for wave in plan.waves() {
        let names: Vec<_> = wave.iter().take(left).map(|node| node.artifact.id.to_string()).collect();
        left -= names.len();
        if !names.is_empty() {
            waves.push(names.join(", "));
        }
    }
    let more = plan.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{what} would rebuild {} images: {}{more}", plan.len(), waves.join("; then "))
}

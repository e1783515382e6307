use super::ConversionError;
use freshmaker::policy::{Policy, Rule};

/// Returns an expression that matches a whole value where this one matches the beginning of it.
///
/// ```text
/// RHSA          RHSA.*
/// RHSA-.*       RHSA-.*
/// ^rhel-8$      rhel-8
/// foo|bar       (?:foo|bar).*
/// ```
///
/// # Errors
/// If a policy refuses the expression.
pub(super) fn whole(place: &str, beginning: &str) -> Result<String, ConversionError> {
    let inner = beginning.strip_prefix('^').unwrap_or(beginning);
    let ended = inner.strip_suffix('$').filter(|rest| !is_escaped(rest));
    let bare = ended.unwrap_or(inner);
    let has_alternatives = bare.contains('|');
    let whole = match ended {
        // An anchor within alternatives belongs to the last one alone.
        _ if has_alternatives => format!("(?:{inner}).*"),
        Some(bare) => bare.to_owned(),
        None if inner.ends_with(".*") && !is_escaped(&inner[..inner.len() - 2]) => inner.to_owned(),
        None => format!("{inner}.*"),
    };
    match Policy::from_rules([], [Rule::when("artifact", whole.as_str())]) {
        Ok(_) => Ok(whole),
        Err(error) => Err(ConversionError::new(place, error.text)),
    }
}

/// Whether what follows this text is escaped by a backslash at its end.
fn is_escaped(text: &str) -> bool {
    text.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches_a_beginning_matches_the_whole() {
        for (beginning, expected) in [
            ("RHSA", "RHSA.*"),
            ("RHSA-.*", "RHSA-.*"),
            ("RHSA-\\.*", "RHSA-\\.*.*"),
            ("^rhel-8$", "rhel-8"),
            ("price\\$", "price\\$.*"),
            ("foo|bar", "(?:foo|bar).*"),
            ("foo|bar$", "(?:foo|bar$).*"),
            ("", ".*"),
        ] {
            assert_eq!(whole("here", beginning).unwrap(), expected, "{beginning}");
        }
        let error = whole("here", "(?!rhel).*").unwrap_err();
        assert!(error.to_string().starts_with("here: "), "{error}");
        assert!(whole("here", "legacy-*").unwrap_err().text.contains("looks like a glob"));
    }
}

//! The value of `RUN --mount=`.

/// Returns the `from` of a mount such as `type=bind,from=build,target=/x`; `None` if there is none.
///
/// # Errors
/// What builders refuse, as a sentence.
pub(super) fn source(value: &str) -> Result<Option<String>, String> {
    let (mut from, mut kind) = (None, None);
    for field in fields(value)? {
        let (key, value) = field.split_once('=').unwrap_or((&field, ""));
        let key = key.to_ascii_lowercase();
        check_key(&key)?;
        match key.as_str() {
            // The last one counts.
            "from" => from = Some(value.to_owned()).filter(|value| !value.is_empty()),
            "type" => kind = Some(value.to_ascii_lowercase()),
            _ => {}
        }
    }
    match kind.as_deref() {
        Some("secret") if from.is_some() => Err("--mount: a secret comes from no image".to_owned()),
        Some(kind) if !TYPES.contains(&kind) && !kind.contains('$') => {
            Err(format!("--mount: there is no type {kind:?}, only {}", TYPES.join(", ")))
        }
        _ => Ok(from),
    }
}

/// Refuses a key that neither BuildKit nor `buildah` knows for any type.
fn check_key(key: &str) -> Result<(), String> {
    if KEYS.iter().any(|keys| keys.split(' ').any(|known| known == key)) || key.contains('$') {
        return Ok(());
    }
    let usual: Vec<&str> = KEYS[0].split(' ').collect();
    let near = super::reader::nearest(key, &usual).map(|near| format!(", did you mean {near}?"));
    Err(format!("--mount has no key {key:?}{}", near.unwrap_or_default()))
}

/// The keys of BuildKit, and what only `buildah` knows besides.
const KEYS: [&str; 2] = [
    "type from source src target dst destination readonly ro readwrite rw required size id sharing mode uid gid env",
    "bind-nonrecursive bind-propagation chown consistency dev exec idmap no-dereference nodev noexec nosuid notmpcopyup \
     private rbind relabel rprivate rshared rslave runbindable shared slave suid tmpcopyup tmpfs-mode tmpfs-size u \
     unbindable z",
];

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

/// Splits a line of CSV. A field may be quoted, with each quote in it doubled.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("--mount={line}: a quoted field has no end, or is followed by more than a comma");
    let mut found = Vec::new();
    let mut rest = line;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, after) = rest.split_once(',').map_or((rest, None), |(field, after)| (field, Some(after)));
            found.push(field.to_owned());
            match after {
                Some(after) => rest = after,
                None => return Ok(found),
            }
            continue;
        };
        let mut field = String::new();
        rest = quoted;
        loop {
            let (part, after) = rest.split_once('"').ok_or_else(wrong)?;
            field.push_str(part);
            rest = after;
            match rest.strip_prefix('"') {
                Some(after) => {
                    field.push('"');
                    rest = after;
                }
                None => break,
            }
        }
        found.push(field);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(found),
            None => return Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_found() {
        for (value, expected) in [
            ("type=bind,from=a,target=/x", Some("a")),
            ("FROM=a", Some("a")),
            ("from=a,from=b", Some("b")),
            ("from=", None),
            ("type=cache,target=/x,rw", None),
            ("\"from=a,b\",target=/x", Some("a,b")),
            ("target=\"/x\",from=a", Some("a")),
            ("\"from=a\"\"b\"", Some("a\"b")),
            ("type=$T,from=a", Some("a")),
            ("type=bind,from=a,target=/x,Z,relabel=shared", Some("a")),
        ] {
            assert_eq!(source(value), Ok(expected.map(str::to_owned)), "{value}");
        }
    }

    #[test]
    fn what_builders_refuse_is_refused() {
        for (value, expected) in [
            ("type=secret,from=a", "--mount: a secret comes from no image"),
            ("type=bnd,from=a", "--mount: there is no type \"bnd\", only bind, cache, tmpfs, secret, ssh"),
            ("type=bind,form=a", "--mount has no key \"form\", did you mean from?"),
            ("type=cache,,target=/x", "--mount has no key \"\""),
            ("\"from=a", "--mount=\"from=a: a quoted field has no end, or is followed by more than a comma"),
            ("\"a\"b", "--mount=\"a\"b: a quoted field has no end, or is followed by more than a comma"),
        ] {
            assert_eq!(source(value), Err(expected.to_owned()), "{value}");
        }
    }
}

//! Which file names are those of Containerfiles.

use super::passed::Why;
use crate::files::containerfile::{Problem, Recipe};

const IGNORED_ENDINGS: [&str; 2] = ["dockerignore", "containerignore"];
const BACKUP_ENDINGS: [&str; 9] = ["bak", "orig", "old", "save", "rej", "swp", "tmp", "patch", "diff"];
const TEMPLATE_ENDINGS: [&str; 11] =
    ["in", "j2", "jinja", "jinja2", "tmpl", "tpl", "gotmpl", "template", "erb", "ejs", "hbs"];
const MORE_TEMPLATE_ENDINGS: [&str; 2] = ["mustache", "handlebars"];
const TEXT_ENDINGS: [&str; 8] = ["md", "rst", "adoc", "html", "json", "yaml", "yml", "lock"];
/// A program about Containerfiles may have the name of one; a Containerfile may also be named after
/// the language of its contents.
const PROGRAM_ENDINGS: [&str; 20] = [
    "c", "cc", "cpp", "cs", "go", "h", "java", "js", "kt", "lua", "mjs", "php", "pl", "py", "rb", "rs", "sh", "swift",
    "ts", "vim",
];
const SEPARATORS: [char; 3] = ['.', '-', '_'];
const WORDS: [&str; 2] = ["containerfile", "dockerfile"];

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    /// It is the name of a Containerfile, with what it adds to `Containerfile` or `Dockerfile`.
    Containerfile(Option<&'a str>),
    /// It begins or ends with one of these words; the content decides.
    Perhaps(&'a str),
    /// It looks like one, but is passed over.
    PassedOver(Why),
    Other,
}

pub(super) fn look(name: &str) -> Name<'_> {
    let (hidden, plain) = name.strip_prefix('.').map_or((false, name), |plain| (true, plain));
    let found = look_at(plain);
    match found {
        Name::Other => Name::Other,
        _ if IGNORED_ENDINGS.contains(&ending(name).as_str()) => Name::Other,
        _ if hidden => Name::PassedOver(Why::Hidden),
        _ => by_ending(name).map_or(found, Name::PassedOver),
    }
}

fn look_at(name: &str) -> Name<'_> {
    for word in WORDS {
        let (start, rest) = name.split_at_checked(word.len()).unwrap_or(("", name));
        if start.eq_ignore_ascii_case(word) {
            let added = Some(rest.trim_start_matches(SEPARATORS)).filter(|added| !added.is_empty());
            return match rest.chars().next() {
                None | Some('.' | '-' | '_' | '0'..='9') => Name::Containerfile(added),
                Some('~') if rest.len() == 1 => Name::Containerfile(None),
                Some(_) => Name::Perhaps(rest),
            };
        }
    }
    for word in WORDS {
        let end = name.len().checked_sub(word.len()).and_then(|at| name.split_at_checked(at));
        let Some((rest, end)) = end else { continue };
        if end.eq_ignore_ascii_case(word) {
            let added = Some(rest.trim_end_matches(SEPARATORS)).filter(|added| !added.is_empty());
            return if rest.ends_with(SEPARATORS) { Name::Containerfile(added) } else { Name::Perhaps(rest) };
        }
    }
    Name::Other
}

fn by_ending(name: &str) -> Option<Why> {
    let ending = ending(name);
    let is = |endings: &[&str]| endings.contains(&ending.as_str());
    if is(&BACKUP_ENDINGS) || name.ends_with('~') {
        Some(Why::Backup)
    } else if is(&TEMPLATE_ENDINGS) || is(&MORE_TEMPLATE_ENDINGS) {
        Some(Why::Template)
    } else if is(&TEXT_ENDINGS) {
        Some(Why::Text)
    } else {
        None
    }
}

fn ending(name: &str) -> String {
    name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase()
}

/// Returns why a file with the name of a Containerfile is passed over, by its content.
pub(super) fn passed_over(path: &str, text: &str, parsed: &Result<Recipe, Problem>) -> Option<Why> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let uncertain = PROGRAM_ENDINGS.contains(&ending(name).as_str()) || matches!(look(name), Name::Perhaps(_));
    let is_template = |problem: &Problem| text.lines().nth(problem.line.saturating_sub(1)).is_some_and(has_marks);
    match parsed {
        Err(_) if text.lines().any(has_marks) => Some(Why::Template),
        Err(_) if uncertain && !begins_like_one(text) => Some(Why::Program),
        Ok(recipe) if recipe.problems.iter().any(is_template) => Some(Why::Template),
        _ => None,
    }
}

/// The marks at which templates of other languages begin and end. Only the first ones need no end,
/// because the others are also common in commands.
const MARKS: [(&str, &str); 4] = [("{{", ""), ("{%", ""), ("<%", "%>"), ("[%", "%]")];
/// The marks on both sides of a name that is replaced.
const NAME_MARKS: [&str; 2] = ["@@", "%%"];
/// The marks around a name that is replaced in `FROM`, where they mean nothing else. Elsewhere they
/// are common in commands.
const FROM_MARKS: [(&str, &str); 5] = [("@", "@"), ("<", ">"), ("__", "__"), ("#{", "}"), ("$(", ")")];

/// Returns whether a line has a mark of a template outside of quotes. Within quotes they are
/// arguments of commands, such as `docker inspect --format '{{.Id}}'`.
fn has_marks(line: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let names = |rest: &str, mark: &str| rest.split_once(mark).is_some_and(|(name, _)| is_name(name));
    let is_from = line.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("FROM"));
    MARKS.iter().any(|(begin, end)| after(line, begin).any(|rest| rest.contains(end)))
        || is_from && FROM_MARKS.iter().any(|(begin, end)| after(line, begin).any(|rest| names(rest, end)))
        || NAME_MARKS.iter().any(|mark| after(line, mark).any(|rest| names(rest, mark)))
}

/// Returns what follows a mark, wherever that is outside of quotes.
fn after<'a>(line: &'a str, mark: &'static str) -> impl Iterator<Item = &'a str> {
    let is_free = |at: &usize| ['\'', '"'].iter().all(|quote| line[..*at].matches(*quote).count() % 2 == 0);
    line.match_indices(mark).filter(move |(at, _)| is_free(at)).map(|(at, mark)| &line[at + mark.len()..])
}

/// Returns whether the first line that is no comment begins as in a Containerfile, in upper case:
/// `from x import y` is a line of another language.
fn begins_like_one(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines.next().and_then(|line| line.split_whitespace().next());
    first.is_some_and(|word| word == "FROM" || word == "ARG")
}

/// Returns what a name adds to `Containerfile` or `Dockerfile`.
pub(super) fn tag_of(name: &str) -> Option<&str> {
    match look_at(name) {
        Name::Containerfile(tag) => tag,
        Name::Perhaps(tag) => Some(tag),
        Name::PassedOver(_) | Name::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::containerfile::parse;

    #[test]
    fn templates_are_known_by_the_marks_in_their_from() {
        for base in ["@BASE@", "<base>", "__BASE__", "#{base}", "$(BASE)", "reg/{{ x }}", "a/@BASE@:1"] {
            let text = format!("FROM {base}\nRUN x\n");
            assert_eq!(passed_over("Dockerfile", &text, &parse(&text)), Some(Why::Template), "{base}");
        }
        for text in ["FROM Debian\nRUN a@b@c <x> $(pwd)\n", "FROM debian:12\nINSTALL $(pwd)\n", "FROM a__b__c\n"] {
            assert_eq!(passed_over("Dockerfile", text, &parse(text)), None, "{text}");
        }
    }

    #[test]
    fn containerfiles_are_known_by_name() {
        for (name, expected) in [
            ("Dockerfile", Name::Containerfile(None)),
            ("containerfile", Name::Containerfile(None)),
            ("DOCKERFILE.Alpine", Name::Containerfile(Some("Alpine"))),
            ("Containerfile.a.b", Name::Containerfile(Some("a.b"))),
            ("web.dockerfile", Name::Containerfile(Some("web"))),
            ("Dockerfile-api", Name::Containerfile(Some("api"))),
            ("Dockerfile_worker", Name::Containerfile(Some("worker"))),
            ("Dockerfile2", Name::Containerfile(Some("2"))),
            ("Containerfile-rhel9.test", Name::Containerfile(Some("rhel9.test"))),
            ("api-Dockerfile", Name::Containerfile(Some("api"))),
            ("Dockerfile_", Name::Containerfile(None)),
            ("Dockerfile--api", Name::Containerfile(Some("api"))),
            ("_Dockerfile", Name::Containerfile(None)),
            ("Dockerfiles", Name::Perhaps("s")),
            ("MyDockerfile", Name::Perhaps("My")),
            ("DockerfileBuilder", Name::Perhaps("Builder")),
            ("Dockerfile.go", Name::Containerfile(Some("go"))),
            ("Dockerfile~", Name::PassedOver(Why::Backup)),
            ("Dockerfile.alpine~", Name::PassedOver(Why::Backup)),
            ("Dockerfile.bak", Name::PassedOver(Why::Backup)),
            ("Dockerfile.in", Name::PassedOver(Why::Template)),
            ("Dockerfile-linux.template", Name::PassedOver(Why::Template)),
            ("Dockerfile.J2", Name::PassedOver(Why::Template)),
            ("Dockerfile.md", Name::PassedOver(Why::Text)),
            (".Dockerfile", Name::PassedOver(Why::Hidden)),
            ("._Dockerfile", Name::PassedOver(Why::Hidden)),
            ("Dockerfile.dockerignore", Name::Other),
            ("Dockerfile.alpine.dockerignore", Name::Other),
            (".dockerignore", Name::Other),
            ("docker", Name::Other),
            ("é", Name::Other),
            ("mydockerfile.txt", Name::Other),
        ] {
            assert_eq!(look(name), expected, "{name}");
        }
    }
}

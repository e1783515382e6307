//! Joins the lines of a Containerfile to instructions, as BuildKit does
//! (`frontend/dockerfile/parser/parser.go`): parser directives, comments, continuations,
//! here-documents.

use super::containerfile::Problem;
use super::instruction::Instruction;
use super::words::{self, HereDocument, Tabs};

/// The instructions of a file, and what only comments contain.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) instructions: Vec<Instruction>,
    /// The character that continues lines and escapes other characters.
    pub(super) escape: char,
    /// The value of `# freshmaker: image=…` before the first instruction, with its line.
    pub(super) image: Option<(usize, String)>,
    /// The value of the directive `syntax`: the image of the frontend, with its line.
    pub(super) syntax: Option<(usize, String)>,
}

/// Longest line in bytes. Builders read no longer ones.
const LINE_MAX: usize = 65535;

pub(super) fn read(text: &str) -> Result<Lines, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.lines().map(|line| line.trim_end_matches('\r')).collect();
    if let Some(at) = lines.iter().position(|line| line.len() > LINE_MAX) {
        let text = format!("the line is longer than {LINE_MAX} bytes, and builders read no longer ones");
        return Err(Problem { line: at + 1, text });
    }
    let mut directives = Directives::default();
    let mut found = Lines { instructions: Vec::new(), escape: '\\', image: None, syntax: None };
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let line = line.trim_start();
        let read = directives.read(line).map_err(|text| Problem { line: at + 1, text })?;
        if let Some(("syntax", value)) = read {
            found.syntax = value.split(' ').next().map(|image| (at + 1, image.to_owned()));
        }
        found.escape = directives.escape;
        if line.is_empty() || line.starts_with('#') {
            if found.instructions.is_empty() && found.image.is_none() {
                found.image = image_directive(line).map(|image| (at + 1, image.to_owned()));
            }
            at += 1;
            continue;
        }
        let (text, after) = join(&lines, at, found.escape);
        let instruction = Instruction::parse(at + 1, &text, found.escape)?;
        let end = skip_here_documents(&lines, &instruction, &text, after)?;
        found.instructions.push(instruction);
        at = end;
    }
    Ok(found)
}

fn image_directive(line: &str) -> Option<&str> {
    let text = line.strip_prefix('#')?.trim().strip_prefix("freshmaker:")?.trim_start();
    text.strip_prefix("image")?.trim_start().strip_prefix('=').map(str::trim)
}

/// The directives at the beginning of a file, one on each line. The first line that is none, even
/// an empty one, ends them.
#[derive(Debug)]
struct Directives {
    escape: char,
    seen: Vec<&'static str>,
    ended: bool,
}

impl Default for Directives {
    fn default() -> Self {
        Self { escape: '\\', seen: Vec::new(), ended: false }
    }
}

impl Directives {
    /// Returns the name and the value of the directive on this line, if it is one.
    fn read<'a>(&mut self, line: &'a str) -> Result<Option<(&'static str, &'a str)>, String> {
        let Some((name, value)) = directive(line).filter(|_| !self.ended) else {
            self.ended = true;
            return Ok(None);
        };
        if self.seen.contains(&name) {
            return Err(format!("the directive {name} is given twice"));
        }
        if name == "escape" {
            self.escape = match value {
                "`" => '`',
                "\\" => '\\',
                _ => return Err(format!("the escape must be \\ or `, not {value:?}")),
            };
        }
        self.seen.push(name);
        Ok(Some((name, value)))
    }
}

/// Returns the name and the value of one of the directives that there are.
fn directive(line: &str) -> Option<(&'static str, &str)> {
    let (name, value) = line.strip_prefix('#')?.trim_start().split_once('=')?;
    let (name, value) = (name.trim_end(), value.trim());
    let known = ["syntax", "escape", "check"].into_iter().find(|known| name.eq_ignore_ascii_case(known))?;
    (!value.is_empty()).then_some((known, value))
}

/// Returns one instruction with its continuation lines, and the index of the line after it.
/// Comments and empty lines between them are left out.
fn join(lines: &[&str], start: usize, escape: char) -> (String, usize) {
    let mut instruction = String::new();
    for (at, line) in lines.iter().enumerate().skip(start) {
        let begun = line.trim_start();
        if at > start && (begun.is_empty() || begun.starts_with('#')) {
            continue;
        }
        let line = if at == start { begun } else { line };
        match continued(line, escape) {
            Some(rest) => instruction.push_str(rest),
            None => {
                instruction.push_str(line);
                return (instruction, at + 1);
            }
        }
    }
    (instruction, lines.len())
}

/// Returns the line without the escape at its end. A doubled escape there is a character, and not a
/// continuation.
fn continued(line: &str, escape: char) -> Option<&str> {
    let rest = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!rest.ends_with(escape)).then_some(rest)
}

/// Returns the index of the line after the here-documents that this instruction opens.
fn skip_here_documents(lines: &[&str], instruction: &Instruction, text: &str, after: usize) -> Result<usize, Problem> {
    let mut at = after;
    if !instruction.has_here_documents() {
        return Ok(at);
    }
    for HereDocument { delimiter, tabs } in words::here_documents(text) {
        let ends = |line: &&str| {
            let line = if tabs == Tabs::Removed { line.trim_start_matches('\t') } else { line };
            line == delimiter
        };
        let Some(length) = lines[at..].iter().position(ends) else {
            let text = format!("the here-document {delimiter} has no end");
            return Err(Problem { line: instruction.line, text });
        };
        at += length + 1;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each instruction as `line:arguments`.
    fn read_all(text: &str) -> Vec<String> {
        let lines = read(text).unwrap();
        lines.instructions.iter().map(|found| format!("{}:{}", found.line, found.arguments)).collect()
    }

    #[test]
    fn instructions_keep_their_first_line() {
        for (text, expected) in [
            ("FROM a\r\nRUN b\r\n", &["1:a", "2:b"][..]),
            ("\u{feff}FROM a", &["1:a"]),
            ("RUN a \\\n  # no\n\n  b\nUSER c", &["1:a   b", "5:c"]),
            ("RUN a \\ \t\n b", &["1:a  b"]),
            ("RUN a\\\\\nUSER b", &["1:a\\\\", "2:b"]),
            ("RUN a\\", &["1:a"]),
            ("  \\\nRUN a", &["1:a"]),
            ("USER a\rb", &["1:a\rb"]),
            ("FROM a\nentrypoint []\nUSER b", &["1:a", "2:[]", "3:b"]),
            ("# escape=`\nRUN a `\n b\nUSER c:\\\nUSER d", &["2:a  b", "4:c:\\", "5:d"]),
            ("  #  ESCAPE  =  `  \nRUN a `\n b", &["2:a  b"]),
            ("# syntax=a\n# check=b\n# escape=`\nRUN a `\n b", &["4:a  b"]),
            ("# check=x\n# other=1\n# escape=`\nUSER a\\\nb", &["4:ab"]),
            ("\n# escape=`\nUSER a\\\nb", &["3:ab"]),
            ("#!/bin/x\n# escape=`\nUSER a\\\nb", &["3:ab"]),
            ("# escape=\n# escape=`\nUSER a\\\nb", &["3:ab"]),
            ("#escape=\\\nRUN a `\nUSER c", &["2:a `", "3:c"]),
        ] {
            assert_eq!(read_all(text), expected, "{text:?}");
        }
    }

    #[test]
    fn here_documents_are_skipped() {
        for (text, expected) in [
            ("RUN <<EOF\nFROM x\nEOF\nUSER a", &["1:<<EOF", "4:a"][..]),
            ("RUN cat << EOF > /x\nFROM x\nEOF\nUSER a", &["1:cat << EOF > /x", "4:a"]),
            ("RUN cat <<- EOF\nUSER a", &["1:cat <<- EOF", "2:a"]),
            ("COPY <<-\"A\" 3<<'B' /x\n\tq\n\t\tA\nA\nB\nUSER a", &["1:<<-\"A\" 3<<'B' /x", "6:a"]),
            ("ONBUILD RUN <<E\nx\nE\nUSER a", &["1:RUN <<E", "4:a"]),
            ("LABEL a=<<E\nUSER a", &["1:a=<<E", "2:a"]),
            ("RUN [\"a\", \"<<E\"]\nUSER a", &["1:[\"a\", \"<<E\"]", "2:a"]),
            ("RUN a \\\n <<E\nx\\\nE\nUSER a", &["1:a  <<E", "5:a"]),
        ] {
            assert_eq!(read_all(text), expected, "{text:?}");
        }
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, line, expected) in [
            ("FROM a\nRUN <<EOF\nx", 2, "the here-document EOF has no end"),
            ("FROM a\nRUN <<-E\n E\n", 2, "the here-document E has no end"),
            ("# escape=x\nFROM a", 1, "the escape must be \\ or `, not \"x\""),
            ("# escape=`\n# syntax=a\n# escape=`\n", 3, "the directive escape is given twice"),
            ("# syntax=a\n# Syntax=b\n", 2, "the directive syntax is given twice"),
            ("FROM a\n\\\n", 2, "unknown instruction ''"),
        ] {
            let problem = read(text).unwrap_err();
            assert_eq!((problem.line, problem.text.as_str()), (line, expected), "{text:?}");
        }
        let long = format!("FROM a\nRUN {}", "x".repeat(LINE_MAX));
        assert_eq!(read(&long).unwrap_err().line, 2);
        assert!(read(&long[..long.len() - 4]).is_ok());
    }

    #[test]
    fn the_image_is_named_before_the_first_instruction() {
        let named = |text: &str| read(text).unwrap().image;
        assert_eq!(named("# hello\n\n#freshmaker: image = a/b:1 \nFROM x"), Some((3, "a/b:1".to_owned())));
        assert_eq!(named("# escape=`\n# freshmaker: image=a\nFROM x"), Some((2, "a".to_owned())));
        assert_eq!(named("FROM x\n# freshmaker: image=a"), None);
        assert_eq!(named("# freshmaker: other=a\nFROM x"), None);
    }
}

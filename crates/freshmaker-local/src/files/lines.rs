//! Rewrites the text of a Containerfile so that `parse-dockerfile` can read it.
//!
//! That crate finds a here-document only if `RUN` begins with it, takes a doubled escape at the end
//! of a line for a continuation, fails at a lone carriage return, and refuses `ENTRYPOINT []`.
//! Builders accept such files. So this module joins lines: each instruction comes out on one line,
//! with the line number at which it began, and without here-documents and comments.

use super::containerfile::Problem;
use super::words;

/// The text to parse, and what only comments contain.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) text: String,
    /// The character that continues lines and escapes other characters.
    pub(super) escape: char,
    /// The value of `# freshmaker: image=…` before the first instruction, with its line.
    pub(super) image: Option<(usize, String)>,
}

const WITH_HERE_DOCUMENTS: [&str; 3] = ["run", "copy", "add"];

pub(super) fn prepare(text: &str) -> Result<Prepared, Problem> {
    let lines: Vec<&str> =
        text.strip_prefix('\u{feff}').unwrap_or(text).lines().map(|line| line.trim_end_matches('\r')).collect();
    let escape = escape_directive(&lines);
    let mut prepared = Prepared { text: String::with_capacity(text.len() + 2), escape, image: None };
    let mut at = 0;
    let mut begun = false;
    if escape == '`' {
        // Nothing else can be on the line of the directive, and directives come first, so line
        // numbers stay.
        prepared.text.push_str("# escape=`\n");
        at = 1;
    }
    while let Some(line) = lines.get(at) {
        let blank = line.trim().is_empty();
        if blank || is_comment(line) {
            if !begun && prepared.image.is_none() {
                prepared.image = image_directive(line).map(|image| (at + 1, image.to_owned()));
            }
            prepared.text.push('\n');
            at += 1;
            continue;
        }
        begun = true;
        let (instruction, after) = join(&lines, at, escape);
        let end = skip_here_documents(&lines, &instruction, at, after, escape)?;
        push_instruction(&mut prepared.text, &instruction, escape);
        prepared.text.extend(std::iter::repeat_n('\n', end - at));
        at = end;
    }
    Ok(prepared)
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

fn image_directive(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix('#')?.trim().strip_prefix("freshmaker:")?.trim_start();
    text.strip_prefix("image")?.trim_start().strip_prefix('=').map(str::trim)
}

/// Returns the escape character. Directives come before everything else, one on each line; the
/// first line that is not a directive ends them.
fn escape_directive(lines: &[&str]) -> char {
    for line in lines {
        let Some((name, value)) = line.strip_prefix('#').and_then(|rest| rest.split_once('=')) else { break };
        match name.trim().to_ascii_lowercase().as_str() {
            "escape" => return if value.trim() == "`" { '`' } else { '\\' },
            "syntax" | "check" => {}
            _ => break,
        }
    }
    '\\'
}

/// Returns one instruction with its continuation lines, and the index of the line after it.
fn join(lines: &[&str], start: usize, escape: char) -> (String, usize) {
    let mut instruction = String::new();
    for (at, line) in lines.iter().enumerate().skip(start) {
        if at > start && (line.trim().is_empty() || is_comment(line)) {
            continue;
        }
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
fn skip_here_documents(
    lines: &[&str],
    instruction: &str,
    start: usize,
    after: usize,
    escape: char,
) -> Result<usize, Problem> {
    let mut at = after;
    if !is_one_of(instruction, &WITH_HERE_DOCUMENTS) {
        return Ok(at);
    }
    for word in words::split(instruction, escape) {
        let Some((delimiter, strip_tabs)) = here_document(word) else { continue };
        loop {
            let Some(line) = lines.get(at) else {
                let text = format!("the here-document {delimiter} has no end");
                return Err(Problem { line: start + 1, text });
            };
            at += 1;
            let line = if strip_tabs { line.trim_start_matches('\t') } else { line };
            if line == delimiter {
                break;
            }
        }
    }
    Ok(at)
}

/// Returns whether an instruction, or the instruction after `ONBUILD`, is one of these.
fn is_one_of(instruction: &str, keywords: &[&str]) -> bool {
    let mut words = instruction.split_whitespace();
    let first = match words.next() {
        Some(first) if first.eq_ignore_ascii_case("onbuild") => words.next(),
        first => first,
    };
    first.is_some_and(|first| keywords.iter().any(|keyword| keyword.eq_ignore_ascii_case(first)))
}

/// Reads `<<EOF`, `<<-EOF` or `3<<'EOF'`. Returns the delimiter, and whether leading tabs are
/// removed.
fn here_document(word: &str) -> Option<(String, bool)> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, strip_tabs) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    // This is the escape of the shell, whatever the escape of the file is.
    Some((words::unquote(rest, '\\'), strip_tabs)).filter(|(delimiter, _)| !delimiter.is_empty())
}

/// Adds an instruction that must not look continued and must not open a here-document again.
fn push_instruction(text: &mut String, instruction: &str, escape: char) {
    if is_one_of(instruction, &["entrypoint"]) {
        // `ENTRYPOINT []` removes the entry point of the base. No entry point names an image.
        return;
    }
    let instruction = instruction.trim().replace('\r', " ").replace("<<", "__");
    text.push_str(&instruction);
    if instruction.ends_with(escape) {
        text.push('.');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_keep_their_first_line() {
        for (text, expected) in [
            ("FROM a\r\nRUN b\r\n", "FROM a\nRUN b\n"),
            ("\u{feff}FROM a", "FROM a\n"),
            ("RUN a \\\n  # no\n\n  b\nUSER c", "RUN a   b\n\n\n\nUSER c\n"),
            ("RUN a \\ \t\n b", "RUN a  b\n\n"),
            ("RUN a\\\\\nUSER b", "RUN a\\\\.\nUSER b\n"),
            ("# escape=`\nRUN a `\n b\nUSER c:\\\nUSER d", "# escape=`\nRUN a  b\n\nUSER c:\\\nUSER d\n"),
            ("#escape=\\\nRUN a `\nUSER c", "\nRUN a `\nUSER c\n"),
            ("\n# escape=`\nRUN a `\nUSER c", "\n\nRUN a `\nUSER c\n"),
            ("RUN a\\", "RUN a\n"),
            ("USER a\rb", "USER a b\n"),
            ("FROM a\nentrypoint []\nUSER b", "FROM a\n\nUSER b\n"),
        ] {
            assert_eq!(prepare(text).unwrap().text, expected, "{text:?}");
        }
    }

    #[test]
    fn here_documents_are_skipped() {
        for (text, expected) in [
            ("RUN <<EOF\nFROM x\nEOF\nUSER a", "RUN __EOF\n\n\nUSER a\n"),
            ("RUN cat <<EOF > /x\nFROM x\nEOF\nUSER a", "RUN cat __EOF > /x\n\n\nUSER a\n"),
            ("COPY <<-\"A\" 3<<'B' /x\n\tq\n\t\tA\nA\nB\nUSER a", "COPY __-\"A\" 3__'B' /x\n\n\n\n\nUSER a\n"),
            ("RUN echo $((1<<2)) '<<no' <<<word << x\nUSER a", "RUN echo $((1__2)) '__no' __<word __ x\nUSER a\n"),
            ("ONBUILD RUN <<E\nx\nE\nUSER a", "ONBUILD RUN __E\n\n\nUSER a\n"),
            ("LABEL a=<<E\nUSER a", "LABEL a=__E\nUSER a\n"),
            ("RUN a \\\n <<E\nx\\\nE\nUSER a", "RUN a  __E\n\n\n\nUSER a\n"),
        ] {
            assert_eq!(prepare(text).unwrap().text, expected, "{text:?}");
        }
        assert_eq!(prepare("FROM a\nRUN <<EOF\nx").unwrap_err().line, 2);
    }

    #[test]
    fn the_image_is_named_before_the_first_instruction() {
        let named = |text: &str| prepare(text).unwrap().image;
        assert_eq!(named("# hello\n\n#freshmaker: image = a/b:1 \nFROM x"), Some((3, "a/b:1".to_owned())));
        assert_eq!(named("# escape=`\n# freshmaker: image=a\nFROM x"), Some((2, "a".to_owned())));
        assert_eq!(named("FROM x\n# freshmaker: image=a"), None);
        assert_eq!(named("# freshmaker: other=a\nFROM x"), None);
    }
}

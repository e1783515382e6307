//! Text from other services, made safe for a terminal. Several examples have this module.

/// Replaces what a terminal could take for a command. What has several lines becomes one.
pub(crate) fn plain(text: &str) -> String {
    let tame = |c: char| match c {
        '\n' | '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.replace("\r\n", "\n").chars().map(tame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_tame_line() {
        assert_eq!(plain("a\tb\r\nc\nd\x1b[31m"), "a b c d\u{fffd}[31m");
    }
}

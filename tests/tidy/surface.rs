//! What each crate shows to its users, as a list of declarations. A change of a list is a change of
//! the interface: it is looked at, and comes with a line in CHANGELOG.md.
//!
//! Read from the source, since the tools that read it from the compiler need an unreleased one. So
//! a public item of a private module is listed by its file, and `pub use` says what leaves it.

use crate::source::{Source, closing};
use std::collections::BTreeMap;

/// The declarations of each published crate, by its name.
pub(crate) fn surfaces(sources: &[Source]) -> BTreeMap<String, String> {
    let mut surfaces: BTreeMap<String, String> = BTreeMap::new();
    for source in sources {
        let Some(name) = crate_of(&source.path) else { continue };
        let found = declarations(source);
        if !found.is_empty() {
            let surface = surfaces.entry(name.to_owned()).or_default();
            surface.push_str(&format!("# {}\n", source.path));
            surface.extend(found.iter().map(|declaration| format!("{declaration}\n")));
        }
    }
    surfaces
}

fn crate_of(path: &str) -> Option<&str> {
    if path.starts_with("src/") {
        return Some("freshmaker");
    }
    let (name, rest) = path.strip_prefix("crates/")?.split_once('/')?;
    (rest.starts_with("src/") && name.starts_with("freshmaker-")).then_some(name)
}

/// Everything that is `pub` in a file, the methods of public traits and the variants of public
/// enums; one line each.
fn declarations(source: &Source) -> Vec<String> {
    let code = &source.code;
    let (mut found, mut at, mut line) = (Vec::new(), 0, 0);
    let (mut trait_ends, mut enum_ends) = (0, 0);
    for text in code.split_inclusive('\n') {
        line += 1;
        let (start, word) = (at + text.len() - text.trim_start().len(), text.trim_start());
        at += text.len();
        let is_method = ["fn ", "async fn ", "const ", "type "].iter().any(|method| word.starts_with(method));
        let is_variant = start < enum_ends && word.starts_with(char::is_uppercase);
        if source.is_test(line) || !(word.starts_with("pub ") || is_variant || start < trait_ends && is_method) {
            continue;
        }
        let declaration = &code[start..start + end_of(&code[start..], is_variant)];
        let ends = || closing(code, start + declaration.len());
        if word.starts_with("pub trait ") {
            trait_ends = ends();
        } else if word.starts_with("pub enum ") {
            enum_ends = ends();
        }
        let words: Vec<_> = declaration.split_whitespace().collect();
        let shown = words.join(" ").trim_end_matches([',', ' ']).to_owned();
        // What a tuple holds is private unless it says so.
        let tuple = shown.split_once('(').filter(|(_, held)| word.starts_with("pub struct ") && !held.contains("pub "));
        found.push(tuple.map_or(shown.clone(), |(name, _)| name.to_owned()));
    }
    found
}

/// Where a declaration ends: before its body, its value or what separates it from the next one.
fn end_of(code: &str, is_variant: bool) -> usize {
    let has_block = is_variant || code.starts_with("pub use ");
    let is_item = ["fn ", "use ", "impl "].iter().any(|word| code.starts_with(&format!("pub {word}")))
        || ["fn ", "async fn "].iter().any(|word| code.starts_with(word))
        || code.starts_with("pub async fn ")
        || code.starts_with("pub const fn ");
    let mut depth = 0_i32;
    let mut before = ' ';
    for (i, c) in code.char_indices() {
        match c {
            '{' if !has_block && depth == 0 => return i,
            ')' | ']' | '}' if depth == 0 => return i,
            '(' | '[' | '{' | '<' => depth += 1,
            '>' if matches!(before, '-' | '=') => {}
            ')' | ']' | '}' | '>' => depth -= 1,
            ';' | '=' if depth == 0 => return i,
            ',' if depth == 0 && !is_item => return i,
            _ => {}
        }
        before = c;
    }
    code.len()
}

#[test]
fn declarations_are_found() {
    let text = "pub struct A<T> {\n    /// B.\n    pub b: Vec<(T, u8)>,\n    c: u8,\n}\npub(crate) fn d() {}\n\
                pub fn e(\n    f: [u8; 2],\n) -> impl I<G = H> {\n    h()\n}\npub trait I: J {\n    fn k(&self) -> L;\n\
                \x20   async fn m(&self) {\n        n();\n    }\n}\nfn o() {}\npub const P: &str = \"q\";\npub use r::{S, t::U};\n\
                pub struct X(Y);\npub enum Z {\n    A(B),\n    /// C.\n    C {\n        d: u8,\n    },\n    E,\n}\n\
                impl V {\n    pub fn w(self) -> Self {\n        self\n    }\n}\n#[cfg(test)]\nmod tests {\n    pub fn x() {}\n}\n";
    let expected = [
        "pub struct A<T>",
        "pub b: Vec<(T, u8)>",
        "pub fn e( f: [u8; 2], ) -> impl I<G = H>",
        "pub trait I: J",
        "fn k(&self) -> L",
        "async fn m(&self)",
        "pub const P: &str",
        "pub use r::{S, t::U}",
        "pub struct X",
        "pub enum Z",
        "A(B)",
        "C { d: u8, }",
        "E",
        "pub fn w(self) -> Self",
    ];
    assert_eq!(declarations(&Source::new("src/a.rs", text)), expected);
}

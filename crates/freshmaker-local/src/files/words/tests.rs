use super::*;

fn value_of(name: &str) -> Value {
    match name {
        "A" => Value::Set("one".into()),
        "EMPTY" => Value::Set("".into()),
        "V" => Value::Set("v1.2.3".into()),
        "ARCH" => Value::Platform,
        "VARIANT" => Value::PlatformOrEmpty,
        "NONE" => Value::NoDefault,
        "FAULTY" => Value::Faulty("no".to_owned()),
        _ => Value::Undeclared,
    }
}

fn text(word: &str) -> Result<String, String> {
    expand(word, '\\', &value_of).map(|expanded| expanded.text)
}

/// Source: moby/buildkit, frontend/dockerfile/shell/envVarTest (Apache-2.0).
#[test]
fn words_are_those_of_buildkit() {
    let value_of = |name: &str| match name {
        "PWD" => Value::Set("/home".into()),
        "SHELL" => Value::Set("bash".into()),
        "KOREAN" => Value::Set("한국어".into()),
        "NULL" => Value::Set("".into()),
        _ => Value::Undeclared,
    };
    let mut count = 0;
    for line in include_str!("../../../tests/data/buildkit/envVarTest").lines() {
        let Some((system, rest)) = line.split_once('|').filter(|_| !line.starts_with('#')) else { continue };
        let (word, expected) = rest.rsplit_once('|').unwrap();
        let (word, expected) = (word.trim(), expected.trim());
        if system == "W" {
            continue;
        }
        count += 1;
        match expand(word, '\\', &value_of) {
            Ok(expanded) => assert_eq!(expanded.text, expected, "{word}"),
            Err(why) => assert_eq!(expected, "error", "{word}: {why}"),
        }
    }
    assert!(count > 200, "{count}");
}

/// Source: moby/buildkit, frontend/dockerfile/shell/lex_test.go (Apache-2.0).
#[test]
fn patterns_are_those_of_buildkit() {
    for (word, values, expected) in [
        ("${FOO#()[]{\\}^$.\\*\\?|\\\\}", &[("FOO", "()[]{}^$.*?|\\x")][..], "x"),
        ("${FOO%%\\**}", &[("FOO", "xx**")], "xx"),
        ("${FOO#*x*y}", &[("FOO", "xxyy")], "y"),
        ("${FOO#*}", &[("FOO", "xxyy")], "xxyy"),
        ("${FOO#$BAR}", &[("FOO", "xxyy"), ("BAR", "x")], "xyy"),
        ("${FOO#$BAR}", &[("FOO", "xxyy"), ("BAR", "")], "xxyy"),
        ("${FOO#}", &[("FOO", "xxyy")], "xxyy"),
        ("${FOO##*x}", &[("FOO", "xxyy")], "yy"),
        ("${FOO##}", &[("FOO", "xxyy")], "xxyy"),
        ("${FOO#?\\?}", &[("FOO", "???y")], "?y"),
        ("${ABC:-.}${FOO%x}${ABC:-.}", &[("FOO", "xxyy")], ".xxyy."),
        ("${FOO%%\\**\\*}", &[("FOO", "a***yy*")], "a"),
        ("${FOO%}", &[("FOO", "xxyy")], "xxyy"),
        ("${FOO%%$BAR}", &[("FOO", "xxyy"), ("BAR", "")], "xxyy"),
        ("${FOO:#}", &[], "error"),
        ("${FOO:##}", &[], "error"),
        ("${FOO:%}", &[], "error"),
        ("${FOO:%%}", &[], "error"),
        ("${FOO/$N/.} - ${FOO//$N/.}", &[("FOO", "/foo*/*/*.txt"), ("N", "\\*/")], "/foo.*/*.txt - /foo..*.txt"),
        ("${FOO/$N/} - ${FOO//$N/}", &[("FOO", "/tmp/tmp/bar.txt"), ("N", "/tmp")], "/tmp/bar.txt - /bar.txt"),
        ("${FOO/$N/$R}", &[("FOO", "http://google.de"), ("N", "http://"), ("R", "https://")], "https://google.de"),
        (
            "${FOO/$N/$R} - ${FOO//$N/$R}",
            &[("FOO", "/a/foo/b/c.txt"), ("N", "/?/"), ("R", "/")],
            "/foo/b/c.txt - /foo/c.txt",
        ),
        ("${FOO//\\//\\/}", &[("FOO", "/tmp/foo.txt")], "\\/tmp\\/foo.txt"),
        ("${FOO/$BAR/ww}", &[("FOO", "xxyy"), ("BAR", "")], "wwxxyy"),
        ("${FOO//ww}", &[("FOO", "xxyy")], "error"),
        ("${FOO//}", &[("FOO", "xxyy")], "error"),
        ("${FOO///}", &[("FOO", "xxyy")], "xxyy"),
        ("${FOO///}", &[], ""),
    ] {
        let value_of = |name: &str| {
            let value = values.iter().find(|(known, _)| *known == name);
            value.map_or(Value::Undeclared, |(_, value)| Value::Set((*value).into()))
        };
        match expand(word, '\\', &value_of) {
            Ok(expanded) => assert_eq!(expanded.text, expected, "{word} {values:?}"),
            Err(why) => assert_eq!(expected, "error", "{word}: {why}"),
        }
    }
}

#[test]
fn what_depends_on_the_platform_stays_open() {
    for (word, expected) in [
        ("x-$ARCH", "x-\0"),
        ("${ARCH:-b}", "\0"),
        ("${ARCH:+b}", "b"),
        ("${ARCH#a}", "\0"),
        ("${V#$ARCH}", "\0"),
        ("${ARCH/a/b}", "\0"),
        ("$VARIANT", "\0"),
        ("${VARIANT:+-$VARIANT}", "\0"),
        ("${VARIANT:-x}", "\0"),
        ("${VARIANT+x}", "x"),
        ("${V#v}-${V%%.*}-${V//./_}", "1.2.3-v1-v1_2_3"),
    ] {
        assert_eq!(text(word).as_deref(), Ok(expected), "{word}");
    }
}

#[test]
fn variables_that_were_taken_as_empty_are_named() {
    let none = "ARG NONE has no default";
    for (word, expected, empty) in [
        ("a$NONE", "a", &[none][..]),
        ("a${NONE}${OTHER}", "a", &[none, "no ARG declares OTHER"]),
        ("${NONE:-two}", "two", &[]),
        ("${NONE:-a$OTHER}", "a", &["no ARG declares OTHER"]),
        ("${A:-a$OTHER}", "one", &[]),
        ("${NONE:+a$OTHER}", "", &[]),
        ("${NONE%x}", "", &[none]),
        ("${NONE/x/y}", "", &[none]),
        ("'$NONE'\\$NONE", "$NONE$NONE", &[]),
    ] {
        let expanded = expand(word, '\\', &value_of).unwrap();
        assert_eq!(expanded.text, expected, "{word}");
        assert_eq!(expanded.empty.iter().map(String::as_str).collect::<Vec<_>>(), empty, "{word}");
    }
}

#[test]
fn mistakes_are_said() {
    for (word, expected) in [
        ("${NONE:?x}", "NONE must be given to the build"),
        ("${EMPTY:?x}", "EMPTY must be given to the build"),
        ("${A^^}", "${A^…} is an expansion that builders do not know"),
        ("${A:1:2}", "${A:1…} is an expansion that builders do not know"),
        ("${A", "${ is not closed"),
        ("${A:-b", "${ is not closed"),
        ("${A/b", "${ has a pattern without an end"),
        ("${}", "${ must be followed by the name of a variable"),
        ("'a", "a quote has no end"),
        ("${A#\\a}", "\\a is not allowed in a pattern"),
        ("$FAULTY", "no"),
    ] {
        assert_eq!(text(word), Err(expected.to_owned()), "{word}");
    }
    let long = "x".repeat(40_000);
    let value_of = |_: &str| Value::Set(long.as_str().into());
    assert_eq!(expand("$A$A$A", '\\', &value_of), Err("it is longer than 65536 bytes".to_owned()));
    let deep = format!("{}{}", "${NONE:-".repeat(1000), "}".repeat(1000));
    assert!(text(&deep).is_err());
}

#[test]
fn words_end_at_blanks_outside_quotes() {
    assert_eq!(split("a  'b c' \"d\\\" e\" f\\ g", '\\'), ["a", "'b c'", "\"d\\\" e\"", "f\\ g"]);
    assert_eq!(split("a 'b c", '\\'), ["a", "'b c"]);
    assert_eq!(split("a=`b c\\", '`'), ["a=`b", "c\\"]);
    assert_eq!(split("a\\", '\\'), ["a"]);
}

#[test]
fn here_documents_begin_as_in_buildkit() {
    for (line, expected) in [
        ("RUN <<EOF", &["EOF"][..]),
        ("RUN << EOF", &["EOF"]),
        ("RUN <<  EOF  > foo", &["EOF"]),
        ("RUN <<\tEOF", &["EOF"]),
        ("RUN <<-EOF", &["-EOF"]),
        ("RUN <<- EOF", &[]),
        ("RUN << -EOF", &["-EOF?"]),
        ("RUN 3<<EOF", &["EOF"]),
        ("RUN x3<<EOF", &[]),
        ("RUN cat<<EOF", &[]),
        ("RUN cat <<EOF>x", &["EOF>x"]),
        ("RUN cat <<EOF; true", &["EOF;"]),
        ("RUN (cat <<EOF)", &["EOF)"]),
        ("COPY <<a <<-\"b c\" << 'd' /x", &["a", "-b c", "d"]),
        ("RUN <<'one two'", &["one two"]),
        ("RUN <<eo'f'", &["eof"]),
        ("RUN <<'e'o\\'f", &["eo'f"]),
        ("RUN <<\\EOF", &["EOF"]),
        ("RUN <<$EOF", &["$EOF"]),
        ("RUN <<${EOF}", &["${EOF}"]),
        ("RUN <<''", &[]),
        ("RUN \"<<EOF\" '<<EOF'", &[]),
        ("RUN <<<word", &[]),
        ("RUN <<", &[]),
        ("RUN < <EOF", &[]),
        ("RUN echo $((1<<2))", &[]),
        ("RUN echo $((1 << 2))", &["2))"]),
        // Builders do not find a here-document in a line that they cannot split into words.
        ("RUN echo it's <<EOF", &[]),
        ("RUN echo ${x:0:1} <<EOF", &[]),
        ("RUN echo ${x:-y} ${x#y} ${x/y/z} <<EOF", &["EOF"]),
    ] {
        let found: Vec<String> = here_documents(line)
            .into_iter()
            .map(|document| {
                let dash = if document.tabs == Tabs::Removed { "-" } else { "" };
                let mark = if document.delimiter.starts_with('-') { "?" } else { "" };
                format!("{dash}{}{mark}", document.delimiter)
            })
            .collect();
        assert_eq!(found, expected, "{line}");
    }
}

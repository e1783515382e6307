//! The list of what tests show names tests that exist, for each of its numbers.

use crate::root;
use std::fs;

const TESTS: &str = "crates/freshmaker-redhat/tests";

/// The numbers of a list, each with the tests below it, as file and function.
fn numbers(list: &str) -> Vec<(usize, Vec<(String, String)>)> {
    let mut numbers: Vec<(usize, Vec<(String, String)>)> = Vec::new();
    for line in list.lines() {
        let number = line.split_once(". ").and_then(|(number, _)| number.parse().ok());
        if let Some(number) = number {
            numbers.push((number, Vec::new()));
        }
        let test = line.split('`').nth(1).and_then(|test| test.split_once("::"));
        if let (Some((file, name)), Some((_, tests))) = (test, numbers.last_mut()) {
            tests.push((file.to_owned(), name.to_owned()));
        }
    }
    numbers
}

/// Whether a file has this test.
fn exists(file: &str, name: &str) -> bool {
    let places = [root().join(TESTS).join(file), root().join(file)];
    let texts = places.iter().filter_map(|place| fs::read_to_string(place).ok());
    texts.into_iter().any(|text| text.contains(&format!("fn {name}(")))
}

#[test]
fn the_points_name_tests_that_exist() {
    let text = fs::read_to_string(root().join(TESTS).join("POINTS.md")).unwrap();
    let lists: Vec<_> = text.split("\n## ").skip(1).map(numbers).collect();
    let counts: Vec<usize> = lists.iter().map(Vec::len).collect();
    assert_eq!(counts, [13, 22]);
    for list in lists {
        for (at, (number, tests)) in (1..).zip(list) {
            assert_eq!(number, at);
            assert!(!tests.is_empty(), "nothing shows number {number}");
            for (file, name) in tests {
                assert!(exists(&file, &name), "number {number}: {file} has no test {name}");
            }
        }
    }
}

#[test]
fn a_test_that_is_missing_is_found() {
    let list = "1. A point.\n   - `worlds/points.rs::no_such_test`\n2. Another one.\n";
    let numbers = numbers(list);
    assert_eq!(numbers[0].1, [("worlds/points.rs".to_owned(), "no_such_test".to_owned())]);
    assert!(numbers[1].1.is_empty());
    assert!(!exists("worlds/points.rs", "no_such_test"));
    assert!(exists("worlds/main.rs", "the_laws_hold"));
}

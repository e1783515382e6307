//! The table `[tree]` of a manifest: where the tree is, and how its images are named.

use super::reader::{At, Reader};
use super::tree::{Naming, Rule, RuleError};

pub(super) fn read(reader: &mut Reader<'_>, at: &At<'_>) -> Option<(String, Naming)> {
    let table = reader.table(at)?;
    reader.keys(&at.place, table, &["path", "image", "rules", "images"]);
    let path =
        table.get("path").and_then(|value| reader.text(&at.key("path", value))).unwrap_or_else(|| ".".to_owned());
    let mut naming = Naming::default();
    if let Some(value) = table.get("image") {
        let at = at.key("image", value);
        naming.pattern = reader.pattern(&at, &[("path", "a/b"), ("name", "b"), ("tag", "t")]);
    }
    if let Some(value) = table.get("rules") {
        for at in reader.list(&at.key("rules", value)) {
            naming.rules.extend(rule(reader, &at));
        }
    }
    if let Some(images) = table.get("images") {
        let at = at.key("images", images);
        for (file, value) in reader.table(&at).into_iter().flatten() {
            let at = at.key(&format!("{:?}", file.get_ref()), value);
            if let Some(image) = reader.text(&at).and_then(|text| reader.image(&at, &text)) {
                naming.images.insert(file.get_ref().to_string(), image);
            }
        }
    }
    Some((path, naming))
}

fn rule(reader: &mut Reader<'_>, at: &At<'_>) -> Option<Rule> {
    let table = reader.table(at)?;
    reader.keys(&at.place, table, &["file", "image"]);
    for (key, article) in [("file", "a"), ("image", "an")] {
        if !table.contains_key(key) {
            reader.problem(at.start(), &at.place, format_args!("needs {article} {key}"));
        }
    }
    let (file, image) = (at.key("file", table.get("file")?), at.key("image", table.get("image")?));
    match Rule::new(&reader.text(&file)?, &reader.text(&image)?) {
        Ok(rule) => Some(rule),
        Err(error) => {
            let at = if matches!(error, RuleError::File(_)) { file } else { image };
            reader.problem(at.start(), &at.place, error);
            None
        }
    }
}

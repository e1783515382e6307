//! The files in `deploy/`.

use freshmaker_local::files::containerfile;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use yaml_rust2::{Yaml, YamlLoader};

fn deploy(file: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    fs::read_to_string(path).unwrap()
}

fn names<'a>(list: &'a Yaml, key: &str) -> Vec<&'a str> {
    list.as_vec().unwrap().iter().map(|item| item[key].as_str().unwrap()).collect()
}

#[test]
fn the_manifest_for_kubernetes_fits_together() {
    let documents = YamlLoader::load_from_str(&deploy("kubernetes.yaml")).unwrap();
    let find = |kind: &str| documents.iter().find(|document| document["kind"].as_str() == Some(kind)).unwrap();
    let (claim, deployment) = (find("PersistentVolumeClaim"), find("Deployment"));
    assert_eq!(documents.len(), 2);
    let spec = &deployment["spec"];
    // A SQLite file has one engine: the old one ends before the next one begins.
    assert_eq!((spec["replicas"].as_i64(), spec["strategy"]["type"].as_str()), (Some(1), Some("Recreate")));
    assert_eq!(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"]);
    let pod = &spec["template"]["spec"];
    let container = &pod["containers"][0];
    let mounted: BTreeSet<_> = names(&container["volumeMounts"], "name").into_iter().collect();
    assert_eq!(mounted, names(&pod["volumes"], "name").into_iter().collect());
    let claimed = pod["volumes"]
        .as_vec()
        .unwrap()
        .iter()
        .find_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
    assert_eq!(claimed, claim["metadata"]["name"].as_str());
    // The directory of the service is on the volume, and the probe asks about the same.
    let words = |list: &Yaml| -> Vec<String> {
        list.as_vec().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let [command, directory] = words(&container["args"]).try_into().unwrap();
    assert_eq!(command, "serve");
    assert!(names(&container["volumeMounts"], "mountPath").contains(&directory.as_str()));
    let probe = words(&container["livenessProbe"]["exec"]["command"]);
    assert!(probe.contains(&directory));
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_image_service"))
        .args(probe[1..].iter().map(|word| word.replace(&directory, "/nowhere")))
        .output()
        .unwrap();
    // The command line is understood: only the directory is missing.
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
}

#[test]
fn the_containerfile_can_be_read_and_its_bases_are_named() {
    let recipe = containerfile::parse(&deploy("Containerfile")).unwrap();
    assert!(recipe.problems.is_empty(), "{:?}", recipe.problems);
    let images: Vec<_> = recipe.images.iter().map(|used| used.image.to_string()).collect();
    assert_eq!(images, ["docker.io/library/rust:1.88-bookworm", "docker.io/library/debian:bookworm-slim"]);
}

//! YAML files of the tree.

use std::fs;
use std::time::Duration;

use yaml_rust2::{Yaml, YamlLoader};

use super::{read, root};

/// The documents of a file, by its path in the tree.
pub(crate) fn documents(path: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The paths of the YAML files in a folder.
pub(crate) fn files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.ends_with(".yaml") || name.ends_with(".yml"))
        .map(|name| format!("{folder}/{name}"))
        .collect()
}

/// The entries of a list; none where there is no list.
pub(crate) fn list(yaml: &Yaml) -> &[Yaml] {
    yaml.as_vec().map_or(&[], Vec::as_slice)
}

/// The texts of a list.
pub(crate) fn texts(yaml: &Yaml) -> Vec<&str> {
    list(yaml)
        .iter()
        .map(|entry| entry.as_str().unwrap())
        .collect()
}

/// As Compose writes it: `35s`.
pub(crate) fn seconds(yaml: &Yaml) -> Duration {
    Duration::from_secs(
        yaml.as_str()
            .unwrap()
            .strip_suffix('s')
            .unwrap()
            .parse()
            .unwrap(),
    )
}

//! `[reload] watch`: the content, however it changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use crate::support::*;
use crate::world::*;

const WATCH: &str = "[reload]\nwatch = true\n";

/// A directory as Kubernetes mounts a ConfigMap: links to a link to a directory, of which the middle one is turned.
struct ConfigMap(TempDir);

impl ConfigMap {
    fn new(text: &str) -> Self {
        let map = Self(TempDir::new().unwrap());
        map.turn("..1", text);
        symlink("..data/idemproxy.toml", map.0.path().join("idemproxy.toml")).unwrap();
        map
    }

    fn turn(&self, version: &str, text: &str) {
        let at = |name: &str| self.0.path().join(name);
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("idemproxy.toml"), text).unwrap();
        symlink(version, at("..data_tmp")).unwrap();
        let before = fs::read_link(at("..data")).ok();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        if let Some(before) = before {
            fs::remove_dir_all(at(before.to_str().unwrap())).unwrap();
        }
    }
}

#[tokio::test]
async fn a_turned_link_of_a_config_map_is_noticed() {
    let upstream = Upstream::start().await;
    let of = |policy: &str| configuration(&upstream, &format!("{WATCH}[policy]\n{policy}\n"));
    let map = ConfigMap::new(&of(""));
    let proxy = Proxy::of_file(&map.0.path().join("idemproxy.toml")).await;
    map.turn("..2", &of("key_max_length = 5"));
    proxy.reaches(APPLIED, 1.0).await;
    assert_eq!(
        proxy.send(&post("/orders", "0123456789", "a")).await.status,
        400
    );
    // One that is refused is refused once, and the next one is looked at.
    map.turn("..3", &of("scope = []"));
    proxy.reaches(REFUSED, 1.0).await;
    map.turn("..4", &of("key_max_length = 20"));
    proxy.reaches(APPLIED, 2.0).await;
    assert_eq!(
        proxy.send(&post("/orders", "0123456789", "a")).await.status,
        201
    );
    assert_eq!(proxy.metric(REFUSED), 1.0);
}

#[tokio::test]
async fn a_file_that_is_named_is_watched_and_a_touch_is_no_change() {
    let world = World::of("").await;
    let secret = world
        .file
        .beside("secret", "0123456789abcdef0123456789abcdef");
    world
        .reload(&format!("{WATCH}[jwt]\nsecret_file = {secret:?}\n"))
        .await;
    // The same content under another time and number.
    let touch = |path: &Path| {
        let content = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        fs::write(path, content).unwrap();
    };
    touch(world.file.path());
    touch(&secret);
    fs::write(&secret, "fedcba9876543210fedcba9876543210").unwrap();
    world.proxy.reaches(APPLIED, 2.0).await;
    fs::write(&secret, "").unwrap();
    world.proxy.reaches(REFUSED, 1.0).await;
    assert_eq!(world.proxy.metric(APPLIED), 2.0);
}

#[tokio::test]
async fn watching_begins_and_ends_with_a_reload() {
    let world = World::of(WATCH).await;
    // What was asked for is not done once more.
    world.reload("[policy]\nkey_max_length = 5\n").await;
    world.file.write(&configuration(
        &world.upstream,
        "[policy]\nkey_max_length = 6\n",
    ));
    world.reload(WATCH).await;
    world.file.write(&configuration(
        &world.upstream,
        &format!("{WATCH}[policy]\nkey_max_length = 7\n"),
    ));
    world.proxy.reaches(APPLIED, 3.0).await;
    assert_eq!(world.post("01234567", "a").await.status, 400);
    assert_eq!(world.post("0123456", "a").await.status, 201);
}

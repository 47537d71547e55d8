//! Real sentinels, of the test's own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::Value;
use tempfile::TempDir;

use super::redis_server::free_port;

/// Three real sentinels on 127.0.0.1 that watch a primary under the name [`Sentinels::NAME`]; two are enough to promote a replica. Killed when dropped.
pub struct Sentinels {
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    port: u16,
    password: &'static str,
    child: Child,
    _directory: TempDir,
}

impl Sentinels {
    /// What they know the primary as.
    pub const NAME: &str = "orders";

    /// Starts them, and waits until each knows the others and this many replicas.
    pub fn watch(primary: u16, replicas: usize) -> Self {
        Self::with(primary, replicas, "")
    }

    /// The same, and they ask for this password. There is also a user `watcher` with the password `geheim` and the fewest rights.
    pub fn with(primary: u16, replicas: usize, password: &'static str) -> Self {
        let sentinels = Self {
            sentinels: (0..3).map(|_| Sentinel::start(primary, password)).collect(),
        };
        let known = |sentinel: &Sentinel, field: &str| sentinel.field(field).parse::<usize>();
        let all = || {
            sentinels.sentinels.iter().all(|sentinel| {
                known(sentinel, "num-slaves") == Ok(replicas)
                    && known(sentinel, "num-other-sentinels") == Ok(2)
                    && sentinel.field("flags") == "master"
            })
        };
        until("the sentinels know all they watch", all);
        sentinels
    }

    /// A store URL.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self
            .sentinels
            .iter()
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.port))
            .collect();
        format!("redis+sentinel://{}/{}", hosts.join(","), Self::NAME)
    }

    /// After the primary was killed: waits until a majority names another, and says its port. Before this is called nobody is promoted,
    /// however busy the machine.
    pub async fn fail_over(&self, from: u16) -> u16 {
        let give_up = Instant::now() + Duration::from_secs(90);
        for sentinel in &self.sentinels {
            sentinel.set("down-after-milliseconds", 500);
        }
        // Two who stand for election at once need another try, and it is to come soon.
        let mut patient: Vec<&Sentinel> = self.sentinels.iter().collect();
        loop {
            match self.primary() {
                Some(port) if port != from => return port,
                _ => assert!(Instant::now() < give_up, "nobody was promoted"),
            }
            patient.retain(|sentinel| {
                let down = sentinel.field("flags").contains("s_down");
                if down {
                    sentinel.set("failover-timeout", 1500);
                }
                !down
            });
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The port that a majority of them names.
    fn primary(&self) -> Option<u16> {
        let named: Vec<u16> = self.sentinels.iter().filter_map(Sentinel::names).collect();
        let agree = |port: &&u16| named.iter().filter(|named| named == port).count() >= 2;
        named.iter().find(agree).copied()
    }

    /// Kills one of those that are left, as a crash would.
    pub fn kill_one(&mut self) {
        self.sentinels.pop().expect("one is left");
    }
}

impl Sentinel {
    fn start(primary: u16, password: &'static str) -> Self {
        for _ in 0..100 {
            let mut sentinel = Self::spawn(free_port(), primary, password);
            if sentinel.answers() {
                return sentinel;
            }
        }
        panic!("no sentinel came up");
    }

    fn spawn(port: u16, primary: u16, password: &'static str) -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("sentinel.conf");
        let name = Sentinels::NAME;
        let configuration = format!(
            "port {port}\nbind 127.0.0.1\nrequirepass \"{password}\"\n{WATCHER}\nsentinel monitor {name} 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds {name} {DOWN_AFTER}\nsentinel failover-timeout {name} {FAILOVER_TIMEOUT}\n"
        );
        std::fs::write(&file, configuration).unwrap();
        let child = Command::new("redis-server")
            .arg(&file)
            .args(["--sentinel", "--dir"])
            .arg(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        Self {
            port,
            password,
            child,
            _directory: directory,
        }
    }

    /// Waits until it answers, and hurries it up; false where it ended.
    fn answers(&mut self) -> bool {
        let give_up = Instant::now() + Duration::from_secs(20);
        while Instant::now() < give_up {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let pid = self.child.id();
            // Its own process, not another that took the port.
            if let Ok(Value::BulkString(info)) = self.try_command(&["INFO", "server"])
                && String::from_utf8_lossy(&info).contains(&format!("process_id:{pid}\r"))
                && self.try_command(HASTE).is_ok()
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the sentinel does not answer on port {}", self.port);
    }

    fn names(&self) -> Option<u16> {
        let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Sentinels::NAME];
        let (_, port): (String, u16) =
            redis::from_redis_value(self.try_command(&question).ok()?).ok()?;
        Some(port)
    }

    /// What it says of the primary.
    fn field(&self, name: &str) -> String {
        let answer = self.try_command(&["SENTINEL", "MASTER", Sentinels::NAME]);
        let fields: Vec<String> = redis::from_redis_value(answer.unwrap()).unwrap();
        let at = fields.iter().position(|field| field == name);
        fields[at.unwrap_or_else(|| panic!("{name} in {fields:?}")) + 1].clone()
    }

    fn set(&self, option: &str, milliseconds: u32) {
        let value = milliseconds.to_string();
        let set = ["SENTINEL", "SET", Sentinels::NAME, option, &value];
        self.try_command(&set).unwrap();
    }

    fn try_command(&self, words: &[&str]) -> redis::RedisResult<Value> {
        let login = match self.password {
            "" => String::new(),
            password => format!(":{password}@"),
        };
        let url = format!("redis://{login}127.0.0.1:{}", self.port);
        let client = redis::Client::open(url)?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(5))?;
        redis::cmd(words[0]).arg(&words[1..]).query(&mut connection)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < give_up, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const WATCHER: &str =
    "user watcher on >geheim -@all +auth +sentinel|master +sentinel|get-master-addr-by-name";
/// No server is taken for dead before it is. Milliseconds.
const DOWN_AFTER: u32 = 60_000;
/// A replica that follows its primary through a link is left alone for so long: Sentinel would mend that. Milliseconds.
const FAILOVER_TIMEOUT: u32 = 60_000;
/// What else would take seconds; and a busy machine is no reason to stop watching. The period of pings stays as it is: a replica that was
/// not heard for five of them is not promoted.
const HASTE: &[&str] = &[
    "SENTINEL",
    "DEBUG",
    "publish-period",
    "100",
    "info-period",
    "200",
    "ask-period",
    "100",
    "tilt-trigger",
    "60000",
];

//! The real program under callgrind.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::{Process, Requests, Upstream, Wire, is_installed};

/// One kind of request.
pub(crate) struct Case {
    /// Its name in `bounds.toml`.
    pub(crate) name: &'static str,
    store: Store,
    keys: Keys,
}

impl Case {
    /// The program that it needs and that is not installed.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        let needed: &[&str] = match self.store {
            Store::Memory | Store::Embedded => &["valgrind"],
            Store::Redis => &["valgrind", "redis-server"],
        };
        needed
            .iter()
            .copied()
            .find(|program| !is_installed(program))
    }
}

/// Counts the instructions of `program` for one request of a case, the mean of so many. What callgrind wrote of them is put into
/// the directory `out`.
pub(crate) async fn count(
    program: &Path,
    case: &Case,
    requests: u32,
    out: &Path,
) -> Result<u64, String> {
    let directory = TempDir::new().map_err(|error| error.to_string())?;
    let upstream = Upstream::start().map_err(|error| error.to_string())?;
    let redis = match case.store {
        Store::Memory | Store::Embedded => None,
        Store::Redis => Some(Process::redis(directory.path()).await?),
    };
    let store = match (case.store, &redis) {
        (_, Some(redis)) => format!("redis://{}/0", redis.address()),
        (Store::Embedded, None) => format!("embedded:{}", directory.path().join("data").display()),
        (_, None) => "memory:".to_owned(),
    };
    let counts = directory.path().join("counts");
    let proxy = Process::idemproxy(&directory.path().join("idemproxy.log"), |address| {
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", &first_processor()?])
            .args(["valgrind", "--tool=callgrind"])
            .arg(format!("--callgrind-out-file={}", counts.display()))
            .arg(program)
            .args(["run", "--admin", "off", "--log", "warn"])
            .args(["--service", "bench", "--store", &store])
            .args(["--listen", &address.to_string()])
            .args(["--upstream", &format!("http://{}", upstream.address())]);
        Ok(command)
    })
    .await?;

    let mut asking = case.keys.requests();
    let work = async {
        let mut wire = Wire::connect(proxy.address()).await?;
        ask(&mut wire, &mut asking, WARM_UP).await?;
        dump(proxy.id())?;
        let before = upstream.asked();
        ask(&mut wire, &mut asking, requests).await?;
        dump(proxy.id())?;
        Ok(upstream.asked() - before)
    };
    let forwarded = work.await.map_err(|error: io::Error| error.to_string())?;
    let expected = match case.keys {
        Keys::One => 0,
        Keys::None | Keys::New => u64::from(requests),
    };
    if forwarded != expected {
        return Err(format!(
            "{forwarded} requests were forwarded, not {expected}"
        ));
    }
    // A dump begins the counts anew, so the second one has those requests alone.
    let dump = counts.with_extension("2");
    let keep = || {
        fs::create_dir_all(out)?;
        fs::copy(&dump, out.join(case.name).with_extension("callgrind"))
    };
    keep().map_err(|error| error.to_string())?;
    let total = fs::read_to_string(&dump).ok().as_deref().and_then(total);
    let total = total.ok_or("callgrind wrote no counts")?;
    Ok(total / u64::from(requests))
}

/// Where records are kept.
#[derive(Clone, Copy)]
enum Store {
    Memory,
    Redis,
    Embedded,
}

/// Which keys the requests have.
#[derive(Clone, Copy)]
enum Keys {
    /// None: they pass through.
    None,
    /// A new one each: first requests.
    New,
    /// The same: replays.
    One,
}

impl Keys {
    fn requests(self) -> Requests {
        match self {
            Self::None => Requests::without_key(),
            Self::New => Requests::with_new_keys("counted"),
            Self::One => Requests::with_key("counted"),
        }
    }
}

async fn ask(wire: &mut Wire, requests: &mut Requests, count: u32) -> io::Result<()> {
    for _ in 0..count {
        match wire.ask(requests.next()).await? {
            201 => {}
            status => return Err(io::Error::other(format!("answered {status}"))),
        }
    }
    Ok(())
}

fn dump(process: u32) -> io::Result<()> {
    let done = Command::new("callgrind_control")
        .args(["--dump", &process.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    match done.success() {
        true => Ok(()),
        false => Err(io::Error::other("callgrind_control failed")),
    }
}

/// What a dump says of all instructions in it.
fn total(dump: &str) -> Option<u64> {
    let lines = dump.lines();
    lines
        .filter_map(|line| {
            line.strip_prefix("totals: ")
                .or(line.strip_prefix("summary: "))
        })
        .find_map(|count| count.trim().parse().ok())
}

/// The first of those on which this process may run.
fn first_processor() -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.and_then(|list| list.trim().split([',', '-']).next());
    Ok(first.unwrap_or("0").to_owned())
}

/// All that are counted.
pub(crate) const CASES: [Case; 6] = [
    case("pass-through", Store::Memory, Keys::None),
    case("first-memory", Store::Memory, Keys::New),
    case("replay-memory", Store::Memory, Keys::One),
    case("first-redis", Store::Redis, Keys::New),
    case("replay-redis", Store::Redis, Keys::One),
    // How often a first request is committed with others is no matter of counts.
    case("replay-embedded", Store::Embedded, Keys::One),
];

/// Enough for every buffer, pool and lazy value to be there.
const WARM_UP: u32 = 100;

const fn case(name: &'static str, store: Store, keys: Keys) -> Case {
    Case { name, store, keys }
}

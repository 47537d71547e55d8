//! The primary that Redis Sentinel names.
//!
//! All sentinels are asked at once, and the answer under the highest *configuration epoch* counts: each failover has a higher one
//! than those before, and a sentinel that was cut off still names the old primary under the old one. What was learnt is not
//! forgotten: an older answer is believed only when every sentinel answers, and none knows the newer. That is a deployment set up anew.
//!
//! Where no sentinel answers at all, the primary that was named last is gone on with, also over a new connection, as long as it is
//! the same process with the same history: a lost connection then changes nothing that a standing one would not bear.
//!
//! What remains: a proxy that is cut off together with the old primary, and with sentinels that did not hear of the failover, goes on
//! writing to the old primary. `wait_replicas` is against that: who was promoted no longer confirms.
//!
//! A user of the sentinels needs `+auth +sentinel|master +sentinel|get-master-addr-by-name`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::{Value, cmd};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::SetupError;
use super::address::Address;
use super::facts::Identity;
use super::failure::Failure;
use super::line::{Line, Patience};
use super::locator::Found;
use super::target::Target;
use super::transport::Transport;

/// The primary that Redis Sentinel names. Holds passwords: it has no `Debug`.
pub(super) struct Sentinels {
    sentinels: Vec<Sentinel>,
    /// The name under which they watch the primary.
    name: String,
    /// How the data servers are spoken to, as whom; at no place of its own.
    data: Target,
    learnt: Mutex<Learnt>,
}

#[derive(Default)]
struct Learnt {
    /// The highest configuration epoch that was believed.
    epoch: u64,
    /// Why the last question brought nothing, if it brought nothing.
    trouble: Option<Unnamed>,
    /// Who was met at the address that was named last.
    met: Option<(Arc<Target>, Identity)>,
}

struct Sentinel {
    target: Target,
    idle: Mutex<Option<Line>>,
}

/// What a sentinel names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    epoch: u64,
    address: Address,
}

/// Why the primary is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unnamed {
    /// No sentinel answers.
    Silence(String),
    /// They do not know it, know less than was known before, or disagree.
    Doubt(String),
}

impl Sentinels {
    /// Reads `redis+sentinel://[user:password@]host[:port],…/primary[/database][?sentinel_user=…&sentinel_password=…]`.
    pub(super) fn parse(url: &str, transport: &Transport) -> Result<Self, SetupError> {
        let rest = url.strip_prefix(SCHEME).ok_or(SetupError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').ok_or(SetupError::Url)?;
        let (user, hosts) = match authority.rfind('@') {
            Some(at) => authority.split_at(at + 1),
            None => ("", authority),
        };
        let (name, database) = path.split_once('/').unwrap_or((path, ""));
        // What Sentinel itself allows.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || !name.chars().all(allowed) || url.contains('#') {
            return Err(SetupError::Url);
        }
        let data = Target::parse(&format!("redis://{user}localhost/{database}"))?;
        let user_of_sentinels = user_of_sentinels(query)?;
        let sentinels = hosts.split(',').map(|host| {
            let bare = !host.contains(':') || host.ends_with(']');
            let port = if bare { PORT } else { "" };
            let url = format!("redis://{user_of_sentinels}{host}{port}");
            Ok(Sentinel {
                target: Target::parse(&url)?.over(transport),
                idle: Mutex::default(),
            })
        });
        Ok(Self {
            sentinels: sentinels.collect::<Result<_, SetupError>>()?,
            name: name.to_owned(),
            data: data.over(transport),
            learnt: Mutex::default(),
        })
    }

    /// Asks for the primary, and falls back on the last one where nobody answers; or why it is not known. Takes no longer than [`ASK`].
    pub(super) async fn find(&self) -> Result<Found, String> {
        let unnamed = match self.primary().await {
            Ok(target) => return Ok(Found::whoever(&Arc::new(target))),
            Err(unnamed) => unnamed,
        };
        match (&unnamed, self.learnt().met.clone()) {
            (Unnamed::Silence(_), Some((target, identity))) => Ok(Found {
                target,
                only: Some(identity),
            }),
            _ => Err(unnamed.to_string()),
        }
    }

    /// Who was met at `target`, which was found here.
    pub(super) fn met(&self, target: &Arc<Target>, identity: Option<&Identity>) {
        // One that does not tell who it is could not be told from another later.
        self.learnt().met = identity.map(|identity| (Arc::clone(target), identity.clone()));
    }

    /// Asks for the primary. Takes no longer than [`ASK`].
    pub(super) async fn primary(&self) -> Result<Target, Unnamed> {
        let answers = self.sentinels.iter().map(|one| one.primary(&self.name));
        let answers = join_all(answers).await;
        let mut learnt = self.learnt();
        let decided = decide(answers, learnt.epoch);
        learnt.trouble = decided.as_ref().err().cloned();
        let named = decided?;
        learnt.epoch = named.epoch;
        let target = self.data.beside(&named.address);
        learnt.met = learnt
            .met
            .take()
            .filter(|(met, _)| met.address() == target.address());
        Ok(target)
    }

    /// Why the last question brought nothing, if it brought nothing.
    pub(super) fn trouble(&self) -> Option<String> {
        self.learnt().trouble.as_ref().map(Unnamed::to_string)
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Display for Sentinels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the primary {} of", self.name)?;
        self.sentinels
            .iter()
            .try_for_each(|sentinel| write!(f, " {}", sentinel.target))
    }
}

impl std::fmt::Display for Unnamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silence(why) | Self::Doubt(why) => f.write_str(why),
        }
    }
}

impl Sentinel {
    /// What it names, if it knows the name; or why it does not answer.
    async fn primary(&self, name: &str) -> Result<Option<Named>, String> {
        let asking = async {
            let idle = self.idle().take();
            if let Some(line) = idle
                && let Ok(named) = ask(&line, name).await
            {
                return Ok((named, line));
            }
            let line = Line::open(&self.target).await?;
            Ok((ask(&line, name).await?, line))
        };
        match timeout(ASK, asking).await {
            Ok(Ok((named, line))) => {
                self.idle().replace(line);
                Ok(named)
            }
            Ok(Err(failure)) => Err(format!("{}: {}", self.target, Failure::why(failure))),
            Err(_) => Err(format!("{}: it does not answer", self.target)),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Option<Line>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The epoch is asked for before the address: one of a failover that ends between the two would else be believed of the old primary.
async fn ask(line: &Line, name: &str) -> Result<Option<Named>, Failure> {
    let question = |command: &str| cmd("SENTINEL").arg(command).arg(name).to_owned();
    let master = line.ask(&question("MASTER"), Patience::of(ASK)).await;
    let epoch = match master {
        Ok(answer) => epoch(&answer),
        // Forbidden, or it does not know the name.
        Err(Failure::Refused(code)) if code == "NOPERM" || code == "ERR" => 0,
        Err(failure) => return Err(failure),
    };
    let address = question("GET-MASTER-ADDR-BY-NAME");
    match line.ask(&address, Patience::of(ASK)).await? {
        Value::Nil => Ok(None),
        Value::Array(pair) => {
            let texts: Vec<&str> = pair.iter().filter_map(text).collect();
            let (host, port) = match texts.as_slice() {
                [host, port] => (*host, port.parse().ok()),
                _ => return Err(Failure::Unintelligible),
            };
            let address = Address {
                host: host.to_owned(),
                port: port.ok_or(Failure::Unintelligible)?,
            };
            Ok(Some(Named { epoch, address }))
        }
        _ => Err(Failure::Unintelligible),
    }
}

/// The configuration epoch in the answer to `SENTINEL MASTER`: names and values in turn.
fn epoch(answer: &Value) -> u64 {
    let Value::Array(fields) = answer else {
        return 0;
    };
    let at = fields
        .iter()
        .position(|field| text(field) == Some("config-epoch"));
    at.and_then(|at| text(fields.get(at + 1)?)?.parse().ok())
        .unwrap_or_default()
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// Which of the answers counts, where `known` is the highest epoch so far; or why none does.
fn decide(answers: Vec<Result<Option<Named>, String>>, known: u64) -> Result<Named, Unnamed> {
    let nobody = answers.iter().all(Result::is_err);
    let silent = answers.iter().find_map(|answer| answer.clone().err());
    let named: Vec<Named> = answers.into_iter().flatten().flatten().collect();
    let Some(newest) = named.iter().max_by_key(|named| named.epoch) else {
        return Err(match silent {
            Some(why) if nobody => Unnamed::Silence(format!("no sentinel answers: {why}")),
            Some(why) => Unnamed::Doubt(format!("no sentinel names the primary: {why}")),
            None => Unnamed::Doubt("the sentinels know no primary of this name".to_owned()),
        });
    };
    if newest.epoch < known
        && let Some(why) = silent
    {
        return Err(Unnamed::Doubt(format!(
            "the sentinels that answer know less than was known before: {why}"
        )));
    }
    let rival = |other: &&Named| other.epoch == newest.epoch && *other != newest;
    match named.iter().find(rival) {
        Some(rival) => Err(Unnamed::Doubt(format!(
            "the sentinels name several primaries, {} and {}",
            rival.address, newest.address
        ))),
        None => Ok(newest.clone()),
    }
}

/// `user:password@`, as a URL has it, of `sentinel_user=…&sentinel_password=…`.
fn user_of_sentinels(query: &str) -> Result<String, SetupError> {
    let (mut user, mut password) = ("", None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((_, value)) if value.contains(['/', '@', ':']) => return Err(SetupError::Url),
            Some(("sentinel_user", value)) => user = value,
            Some(("sentinel_password", value)) => password = Some(value),
            _ => return Err(SetupError::Url),
        }
    }
    match password {
        Some(password) => Ok(format!("{user}:{password}@")),
        None if user.is_empty() => Ok(String::new()),
        None => Err(SetupError::Url),
    }
}

pub(super) const SCHEME: &str = "redis+sentinel://";
const PORT: &str = ":26379";
/// How long a sentinel is waited for.
const ASK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn says(epoch: u64, host: &str) -> Result<Option<Named>, String> {
        let (host, port) = (host.to_owned(), 6379);
        let address = Address { host, port };
        Ok(Some(Named { epoch, address }))
    }

    fn host(answers: &[Result<Option<Named>, String>], known: u64) -> Option<String> {
        let decided = decide(answers.to_vec(), known);
        decided.ok().map(|named| named.address.host)
    }

    #[test]
    fn a_url_names_sentinels_primary_users_and_database() {
        let url = "redis+sentinel://me:p%40ss@h1,h2:7000,[::1]/orders/3?sentinel_user=s&sentinel_password=q%2F";
        let sentinels = Sentinels::parse(url, &Transport::Plain).unwrap();
        let addresses: Vec<_> = sentinels
            .sentinels
            .iter()
            .map(|one| one.target.address())
            .collect();
        assert_eq!(addresses, [("h1", 26379), ("h2", 7000), ("::1", 26379)]);
        assert_eq!(sentinels.data.login().username(), Some("me"));
        assert_eq!(sentinels.data.login().password(), Some("p@ss"));
        assert_eq!(sentinels.data.login().db(), 3);
        let login = sentinels.sentinels[1].target.login();
        assert_eq!(
            (login.username(), login.password()),
            (Some("s"), Some("q/"))
        );
        assert_eq!(login.db(), 0);
        assert_eq!(
            sentinels.to_string(),
            "the primary orders of h1:26379 h2:7000 [::1]:26379"
        );
        let plain = Sentinels::parse("redis+sentinel://h/orders", &Transport::Plain).unwrap();
        assert_eq!(plain.sentinels[0].target.login().password(), None);
        assert_eq!(
            (plain.data.login().password(), plain.data.login().db()),
            (None, 0)
        );
    }

    #[test]
    fn a_bad_url_is_refused_without_its_password() {
        for url in [
            "redis+sentinel://:pass@h",
            "redis+sentinel://:pass@h/",
            "redis+sentinel://:pass@h//0",
            "redis+sentinel://:pass@h,/orders",
            "redis+sentinel://:pass@h,,g/orders",
            "redis+sentinel://:pass@h, g/orders",
            "redis+sentinel://:pass@/orders",
            "redis+sentinel://:pass@h:port/orders",
            "redis+sentinel://:pass@h/two words",
            "redis+sentinel://:pass@h/orders/db",
            "redis+sentinel://:pass@h/orders/1/2",
            "redis+sentinel://:pass@h/orders#a",
            "redis+sentinel://u:12#pass@h/orders",
            "redis+sentinel://:pass@h/orders?db=1",
            "redis+sentinel://:pass@h/orders?sentinel_user=s",
            "redis+sentinel://h/orders?sentinel_password=12/pass",
            "redis+sentinel://h/orders?sentinel_user=a:1&sentinel_password=pass",
            "redis://:pass@h",
        ] {
            let error = Sentinels::parse(url, &Transport::Plain).err();
            let error = error.unwrap_or_else(|| panic!("{url} is taken"));
            assert!(!error.to_string().contains("pass@"), "{error}");
        }
    }

    #[test]
    fn the_newest_epoch_counts_however_few_know_it() {
        assert_eq!(
            host(&[says(1, "old"), says(2, "new"), says(1, "old")], 1),
            Some("new".to_owned())
        );
        assert_eq!(
            host(&[says(1, "a"), Err("away".to_owned()), Ok(None)], 1),
            Some("a".to_owned())
        );
    }

    #[test]
    fn an_older_answer_counts_only_when_nobody_knows_a_newer() {
        assert_eq!(host(&[says(1, "old"), Err("away".to_owned())], 2), None);
        assert_eq!(
            host(&[says(1, "anew"), says(1, "anew")], 2),
            Some("anew".to_owned())
        );
    }

    #[test]
    fn sentinels_that_disagree_or_do_not_know_name_nobody() {
        assert_eq!(host(&[says(1, "a"), says(1, "b")], 0), None);
        assert_eq!(host(&[Ok(None), Ok(None)], 0), None);
        assert_eq!(host(&[Err("away".to_owned()), Ok(None)], 0), None);
    }

    #[test]
    fn sentinels_that_disagree_are_told_apart_from_silent_ones() {
        let away = || Err("away".to_owned());
        assert_eq!(
            decide(vec![says(1, "a"), away(), says(1, "b")], 1),
            Err(Unnamed::Doubt(
                "the sentinels name several primaries, a:6379 and b:6379".to_owned()
            ))
        );
        let silence = |answers| matches!(decide(answers, 1), Err(Unnamed::Silence(_)));
        assert!(silence(vec![away(), away()]));
        assert!(!silence(vec![away(), Ok(None)]));
        assert!(!silence(vec![away(), says(0, "a")]));
    }

    #[test]
    fn the_epoch_is_read_by_its_name() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let fields = ["name", "config-epoch", "config-epoch", "7", "quorum", "2"].map(bulk);
        assert_eq!(epoch(&Value::Array(fields[2..].to_vec())), 7);
        assert_eq!(epoch(&Value::Array(vec![bulk("config-epoch")])), 0);
        assert_eq!(epoch(&Value::Nil), 0);
    }
}

//! One client through one scenario, and the judgement of what it said.

use std::fmt;

use idemproxy::config::{self, Overrides};

use crate::relay::Relay;
use crate::scenarios::{Calls, Expect, Meanwhile, Scenario, Store, Turn};
use crate::sdk::{Api, Said, Sdk};
use crate::support::{Act, Gate, Link, Proxy, RedisServer, Reply, Step, Upstream, eventually};

/// What came of it.
#[derive(Clone, Debug)]
pub struct Account {
    pub scenario: Scenario,
    pub api: Api,
    pub said: Vec<Said>,
    /// The ids of what the upstream made, in order.
    pub effects: Vec<String>,
    /// Requests that came to the proxy.
    pub tries: usize,
}

/// Whether this version of the proxy knows what the scenario's policy asks for.
pub fn is_available(scenario: &Scenario) -> bool {
    let toml = format!(
        "upstream = \"http://127.0.0.1:1\"\n[policy]\n{}\n",
        scenario.policy
    );
    match config::from_toml("idemproxy.toml", &toml, &Overrides::default()) {
        Ok(_) => true,
        Err(faults) if faults.to_string().contains("not available in this version") => false,
        Err(faults) => panic!("{faults}"),
    }
}

/// Plays `scenario` to `client`. `number` is another one each time.
pub async fn play(
    client: &Sdk,
    scenario: &Scenario,
    redis: &RedisServer,
    number: usize,
) -> Account {
    let api = client.api;
    let slow = Gate::new();
    let mut upstream = Upstream::absent();
    if !scenario.upstream_absent {
        upstream.listen();
    }
    let turn = |number: usize| scenario.upstream[number.min(scenario.upstream.len() - 1)];
    for number in 0..MOST_TRIES {
        upstream.next(act(api, turn(number), number + 1, &slow));
    }
    let link = Link::to(redis.port()).await;
    let store = match scenario.store {
        Store::Memory => "memory:".to_owned(),
        Store::Redis | Store::RedisAway => link.redis_url(),
    };
    if scenario.store == Store::RedisAway {
        link.blackhole();
    }
    let proxy = Proxy::start(&format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"{}\"\nservice = \"s{number}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [store]\nurl = \"{store}\"\n[policy]\n{}\n",
        upstream.url(),
        scenario.policy,
    ))
    .await;
    let leave = Gate::new();
    let relay = Relay::to(proxy.address(), scenario.network.clone(), leave.clone()).await;

    let url = relay.url();
    // One whose success hangs on what happens meanwhile must not lose patience on a slow machine.
    let retries = if scenario.meanwhile == Meanwhile::Nothing {
        3
    } else {
        8
    };
    let calls = async {
        let key = format!("key-{number}");
        match scenario.calls {
            Calls::One => vec![client.call(&url, None, "first", retries).await],
            Calls::Twice => {
                let call = || client.call(&url, Some(&key), "first", retries);
                let (one, other) = tokio::join!(call(), call());
                vec![one, other]
            }
            Calls::Another => vec![
                client.call(&url, Some(&key), "first", retries).await,
                client.call(&url, Some(&key), "second", retries).await,
            ],
        }
    };
    let has_given = |outcome| {
        let line = format!("idemproxy_requests_total{{route=\"default\",outcome=\"{outcome}\"}}");
        let proxy = &proxy;
        eventually(move || proxy.metric(&line) > 0.0)
    };
    let meanwhile = async {
        match scenario.meanwhile {
            Meanwhile::Nothing => {}
            Meanwhile::Answers(outcome) => {
                upstream.asked_for(1).await;
                leave.cancel();
                has_given(outcome).await;
                slow.cancel();
            }
            Meanwhile::AnswersWhenOneWaits => {
                upstream.asked_for(1).await;
                leave.cancel();
                eventually(|| proxy.metric("idemproxy_waiters") == 1.0).await;
                slow.cancel();
            }
            Meanwhile::Listens(outcome) => {
                has_given(outcome).await;
                upstream.listen();
            }
            Meanwhile::StoreIsBack(outcome) => {
                has_given(outcome).await;
                link.pass();
                link.cut();
            }
            Meanwhile::StoreGoesUntil(outcome) => {
                upstream.asked_for(1).await;
                link.blackhole();
                slow.cancel();
                has_given(outcome).await;
                link.pass();
                link.cut();
            }
        }
    };
    let (said, ()) = tokio::join!(calls, meanwhile);
    // What a client has left may still go on.
    eventually(|| proxy.metric("idemproxy_in_flight") == 0.0).await;

    let strikes = relay.fired();
    assert!(
        strikes >= scenario.strikes,
        "{}, {}: {strikes} faults struck",
        api.name,
        scenario.name
    );
    let away = scenario.upstream_absent || scenario.store == Store::RedisAway;
    assert!(
        away || upstream.asked() > 0,
        "{}, {}: the upstream was not asked",
        api.name,
        scenario.name
    );
    let asked = upstream.ledger().into_iter().enumerate();
    let effects = asked.filter(|(number, entry)| entry.whole && turn(*number).has_effect());
    let page = String::from_utf8(proxy.page("/metrics").await.body).unwrap();
    let outcomes = page
        .lines()
        .filter(|line| line.starts_with("idemproxy_requests_total{"));
    let tries = outcomes.filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok());
    Account {
        scenario: scenario.clone(),
        api,
        said,
        effects: effects.map(|(number, _)| api.id(number + 1)).collect(),
        tries: tries.sum(),
    }
}

impl Account {
    /// All that is wrong with it.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.effects.len() > 1 {
            faults.push(format!("{} effects", self.effects.len()));
        }
        for said in self.said.iter().filter(|said| said.ok) {
            match self.effects.first() {
                None => faults.push("success, and nothing was made".to_owned()),
                Some(made) if self.api.tells_id && said.id.as_ref() != Some(made) => {
                    faults.push(format!("success, with {:?} for {made}", said.id));
                }
                Some(_) => {}
            }
        }
        for (number, said) in self.said.iter().enumerate() {
            let expect = match self.scenario.calls {
                Calls::Another if number == 1 => Expect::Failure,
                _ => self.scenario.expect,
            };
            match expect {
                Expect::Success
                    if !said.ok && !self.scenario.impatient.contains(&self.api.name) =>
                {
                    faults.push("no success".to_owned());
                }
                Expect::Failure if said.ok => faults.push("no failure".to_owned()),
                _ => {}
            }
        }
        if self.scenario.calls == Calls::Twice && !self.said.iter().any(|said| said.ok) {
            faults.push("neither of the two succeeded".to_owned());
        }
        if self.api.vendor && self.tries > self.scenario.tries {
            faults.push(format!(
                "{} tries, {} would do",
                self.tries, self.scenario.tries
            ));
        }
        if self.tries > MOST_TRIES {
            faults.push(format!("{} tries", self.tries));
        }
        faults
    }
}

/// What each call came to, the effects, and the tries: `ok 1/2`.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |said: &Said| match said.status {
            _ if said.ok => "ok".to_owned(),
            Some(status) => status.to_string(),
            None => "lost".to_owned(),
        };
        let said: Vec<_> = self.said.iter().map(said).collect();
        let cell = format!("{} {}/{}", said.join("+"), self.effects.len(), self.tries);
        f.write_str(&cell)
    }
}

fn act(api: Api, turn: Turn, number: usize, slow: &Gate) -> Act {
    let json = |status| Reply::new(status).field("Content-Type", "application/json");
    let made = json(201).body(api.made(number));
    match turn {
        Turn::Do => made.into(),
        Turn::DoSlowly => made.after(slow),
        Turn::DoAndReset => Act::new([Step::Reset]),
        Turn::DoAndCut => made.cut_after(5).then(Step::Reset),
        Turn::DoAndSay(status) => json(status).body(api.refused(status)).into(),
        Turn::DoAndHang => Act::new([Step::Never]),
        Turn::RefuseBarely(status) => json(status).body(r#"{"title": "Conflict"}"#).into(),
        Turn::Refuse(status) => json(status).body(api.refused(status)).into(),
    }
}

/// More than any of the clients makes of two calls.
const MOST_TRIES: usize = 20;

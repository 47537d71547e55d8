//! Clients that nobody here wrote, as their registries have them, with their own retries, in front of a faulty network,
//! a faulty upstream and a faulty store: one effect a call, and what a client shows as success is what was made.
//!
//! `prepare` installs them into `target/clients`, pinned, at the first run.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs,
    reason = "a test fails by an unwrap"
)]

mod relay;
mod scenarios;
mod sdk;
#[path = "../support/harness.rs"]
mod support;
mod world;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use scenarios::{Scenario, Turn};
use sdk::{Api, Programs, Said, Sdk};
use support::RedisServer;
use world::Account;

/// The figures are a table, a line for each scenario and a column for each client: what its calls came to (the status is that of
/// the error which it showed), the effects, and the requests that it sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_gets_what_was_made_once_or_shows_an_error() {
    let Some(programs) = Programs::prepare() else {
        return;
    };
    let (scenarios, unavailable): (Vec<_>, Vec<_>) =
        scenarios::all().into_iter().partition(world::is_available);
    for scenario in unavailable {
        let (name, policy) = (scenario.name, scenario.policy);
        println!("skipped: {name}: {policy} is not available in this version");
    }
    let redis = Arc::new(RedisServer::start());
    let number = Arc::new(AtomicUsize::new(0));
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut playing = JoinSet::new();
    for (column, api) in APIS.into_iter().enumerate() {
        let client = Arc::new(Sdk::start(&programs, api));
        for (row, scenario) in scenarios.iter().cloned().enumerate() {
            let (client, redis) = (client.clone(), redis.clone());
            let (number, at_once) = (number.clone(), at_once.clone());
            playing.spawn(async move {
                let _permit = at_once.acquire().await.unwrap();
                let number = number.fetch_add(1, Ordering::Relaxed);
                let account = world::play(&client, &scenario, &redis, number).await;
                ((row, column), account)
            });
        }
    }
    let mut accounts = playing.join_all().await;
    accounts.sort_by_key(|(place, _)| *place);
    let accounts: Vec<Account> = accounts.into_iter().map(|(_, account)| account).collect();
    // Past the harness, which would keep the figures to itself.
    let mut out = std::io::stdout();
    out.write_all(table(&accounts).as_bytes()).unwrap();

    assert_eq!(accounts.len(), scenarios.len() * APIS.len());
    let wrong = accounts.iter().flat_map(|account| {
        let place = format!("{}, {}", account.api.name, account.scenario.name);
        let said = format!("{:?}", account.said);
        let faults = account.faults().into_iter();
        faults.map(move |fault| format!("{place}: {fault}: {said}"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The pinned client still has this trap, which the proxy's own answers stay clear of; and whoever falls into it is noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_document_that_is_taken_for_a_success_is_noticed() {
    let Some(programs) = Programs::prepare() else {
        return;
    };
    let client = Sdk::start(&programs, STRIPE_NODE);
    let scenario = Scenario {
        name: "409 without an error",
        upstream: vec![Turn::RefuseBarely(409)],
        ..scenarios::plain()
    };
    let account = world::play(&client, &scenario, &RedisServer::start(), 0).await;
    assert_eq!(account.faults(), ["success, and nothing was made"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_guarantee_a_lost_answer_has_two_effects() {
    let Some(programs) = Programs::prepare() else {
        return;
    };
    let client = Sdk::start(&programs, STRIPE_NODE);
    let lost = |scenario: &Scenario| scenario.name == "answer lost";
    let scenario = Scenario {
        policy: "mode = \"off\"",
        ..scenarios::all().into_iter().find(lost).unwrap()
    };
    let account = world::play(&client, &scenario, &RedisServer::start(), 0).await;
    assert_eq!(account.faults()[0], "2 effects");
}

#[test]
fn a_second_effect_another_object_and_too_many_tries_are_noticed() {
    let said = |ok, id: Option<&str>| Said {
        ok,
        id: id.map(str::to_owned),
        ..Said::default()
    };
    let account = |said, effects: &[&str]| Account {
        scenario: Scenario {
            tries: 2,
            ..scenarios::plain()
        },
        api: STRIPE_NODE,
        said: vec![said],
        effects: effects.iter().map(|&id| id.to_owned()).collect(),
        tries: 1,
    };
    let good = account(said(true, Some("cus_1")), &["cus_1"]);
    assert_eq!(good.faults(), [""; 0]);
    let tried = Account { tries: 3, ..good };
    assert_eq!(tried.faults(), ["3 tries, 2 would do"]);
    let twice = account(said(true, Some("cus_1")), &["cus_1", "cus_2"]);
    assert_eq!(twice.faults(), ["2 effects"]);
    let none = account(said(true, None), &["cus_1"]);
    assert_eq!(none.faults(), ["success, with None for cus_1"]);
    let failed = account(said(false, None), &["cus_1"]);
    assert_eq!(failed.faults(), ["no success"]);
}

fn table(accounts: &[Account]) -> String {
    let names = APIS.map(|api| api.name.replace("_python", "").replace("_node", ".js"));
    let row = |name: &str, cells: Vec<String>| {
        let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:>15}")).collect();
        format!("{name:30} {}\n", cells.join(" "))
    };
    let mut table = row("", names.to_vec());
    for accounts in accounts.chunks(APIS.len()) {
        let cells = accounts.iter().map(Account::to_string).collect();
        table += &row(accounts[0].scenario.name, cells);
    }
    let said = || accounts.iter().flat_map(|account| &account.said);
    let sum = |of: fn(&Account) -> usize| accounts.iter().map(of).sum::<usize>();
    table
        + &format!(
            "{} calls, {} requests, {} effects, {} successes\n",
            said().count(),
            sum(|account| account.tries),
            sum(|account| account.effects.len()),
            said().filter(|said| said.ok).count(),
        )
}

/// Scenarios that are played at the same time: a client mostly waits for its next try.
const AT_ONCE: usize = 32;

const STRIPE_NODE: Api = Api {
    name: "stripe_node",
    prefix: "cus",
    object: r#"{"object": "customer", "name": "first", "livemode": false, "metadata": {}}"#,
    vendor: true,
    tells_id: true,
};

const APIS: [Api; 8] = [
    Api {
        name: "stripe_python",
        prefix: "cus",
        object: r#"{"object": "customer", "name": "first", "livemode": false, "metadata": {}}"#,
        vendor: true,
        tells_id: true,
    },
    STRIPE_NODE,
    Api {
        name: "modern_treasury_python",
        prefix: "po",
        object: r#"{"object": "payment_order", "type": "ach", "amount": 1000, "direction": "credit", "status": "approved"}"#,
        vendor: true,
        tells_id: true,
    },
    Api {
        name: "orb_python",
        prefix: "orb",
        object: r#"{"name": "first", "email": "a@example.com", "balance": "0.00", "metadata": {}}"#,
        vendor: true,
        tells_id: true,
    },
    Api {
        name: "workos_node",
        prefix: "event",
        object: r#"{"success": true}"#,
        vendor: true,
        tells_id: false,
    },
    Api {
        name: "requests_python",
        prefix: "thing",
        object: r#"{"name": "first"}"#,
        vendor: false,
        tells_id: true,
    },
    Api {
        name: "axios_node",
        prefix: "thing",
        object: r#"{"name": "first"}"#,
        vendor: false,
        tells_id: true,
    },
    Api {
        name: "got_node",
        prefix: "thing",
        object: r#"{"name": "first"}"#,
        vendor: false,
        tells_id: true,
    },
];

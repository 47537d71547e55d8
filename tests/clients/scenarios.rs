//! What can go wrong between a client and an API, and what the client must then show.

use crate::relay::{End, Fate, Place};

/// One thing that goes wrong, or several, and what must come of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// Lines of `[policy]`.
    pub policy: &'static str,
    pub calls: Calls,
    /// What connections of the client meet, the last of them for ever.
    pub network: Vec<Fate>,
    /// How many of those must have struck.
    pub strikes: usize,
    /// What requests meet at the upstream, the last of them for ever.
    pub upstream: Vec<Turn>,
    /// Refuses connections at first.
    pub upstream_absent: bool,
    pub store: Store,
    pub meanwhile: Meanwhile,
    /// What every call must come to, except those of these clients, which need not succeed.
    pub expect: Expect,
    pub impatient: &'static [&'static str],
    /// How many requests a client may send that obeys a word not to retry.
    pub tries: usize,
}

/// What the client is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// One call, with a key of the client's own making.
    One,
    /// The same call twice at once, with the same key.
    Twice,
    /// Another call, with the key of the first.
    Another,
}

/// What the upstream does with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Carries it out.
    Do,
    /// Carries it out, and answers when it is let.
    DoSlowly,
    /// Carries it out, and resets the connection.
    DoAndReset,
    /// Carries it out, and resets in the middle of the answer.
    DoAndCut,
    /// Carries it out, and a gateway says this of it.
    DoAndSay(u16),
    /// Carries it out, and never answers.
    DoAndHang,
    /// Does nothing, and says this.
    Refuse(u16),
    /// Does nothing, and says this with a document that has no `error`.
    RefuseBarely(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Memory,
    /// Reached over a network.
    Redis,
    /// Out of reach at first.
    RedisAway,
}

/// What happens while the client tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    Nothing,
    /// When the proxy has given this outcome, the slow upstream answers.
    Answers(&'static str),
    /// When a duplicate waits.
    AnswersWhenOneWaits,
    /// When the proxy has given this outcome, the upstream listens.
    Listens(&'static str),
    /// When the proxy has given this outcome, the store is back.
    StoreIsBack(&'static str),
    /// When the upstream works the store goes, and then the upstream answers; it is back after this outcome.
    StoreGoesUntil(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It must succeed.
    Success,
    /// It must fail.
    Failure,
    /// It may do either.
    Either,
}

impl Turn {
    pub fn has_effect(self) -> bool {
        !matches!(self, Self::Refuse(_) | Self::RefuseBarely(_))
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let lose_answer = Fate::Cut(Place::Start, End::Reset);
    let cut = |place, end| vec![Fate::Cut(place, end), Fate::Pass];
    let once = vec![lose_answer, Fate::Pass];
    let reset = |name, network| Scenario {
        name,
        network,
        strikes: 1,
        ..plain()
    };
    let upstream = |name, upstream| Scenario {
        name,
        upstream,
        ..plain()
    };
    let failing = |name, turns| Scenario {
        expect: Expect::Failure,
        ..upstream(name, turns)
    };
    vec![
        plain(),
        // Between client and proxy.
        reset("request lost", vec![Fate::LoseRequest, Fate::Pass]),
        reset("answer lost", once.clone()),
        reset("answer cut in its head", cut(Place::Head, End::Reset)),
        Scenario {
            // Most clients do not try again when a body breaks off.
            expect: Expect::Either,
            ..reset("answer cut in its body", cut(Place::Body, End::Reset))
        },
        Scenario {
            expect: Expect::Either,
            ..reset("answer ended early", cut(Place::Body, End::Close))
        },
        Scenario {
            expect: Expect::Failure,
            strikes: 2,
            ..reset("every answer lost", vec![lose_answer])
        },
        Scenario {
            upstream: vec![Turn::DoSlowly, Turn::Do],
            meanwhile: Meanwhile::Answers("in_progress"),
            impatient: AFTER_409_AND_503,
            ..reset(
                "left, retry meets it running",
                vec![Fate::Leave, Fate::Pass],
            )
        },
        Scenario {
            policy: "in_flight = \"wait\"",
            upstream: vec![Turn::DoSlowly, Turn::Do],
            meanwhile: Meanwhile::AnswersWhenOneWaits,
            ..reset("left, retry waits", vec![Fate::Leave, Fate::Pass])
        },
        Scenario {
            policy: "max_stored_response = \"8B\"",
            expect: Expect::Failure,
            tries: 2,
            ..reset("answer lost, not stored", once.clone())
        },
        Scenario {
            upstream: vec![Turn::Refuse(402), Turn::Do],
            expect: Expect::Failure,
            ..reset("declined, answer lost", once.clone())
        },
        // The upstream.
        upstream("500, then 200", vec![Turn::Refuse(500), Turn::Do]),
        Scenario {
            impatient: AFTER_409_AND_503,
            ..upstream("503, then 200", vec![Turn::Refuse(503), Turn::Do])
        },
        failing("503 for ever", vec![Turn::Refuse(503)]),
        Scenario {
            impatient: AFTER_409_AND_503,
            ..upstream(
                "409 of the API, then 200",
                vec![Turn::Refuse(409), Turn::Do],
            )
        },
        failing("409 of the API for ever", vec![Turn::Refuse(409)]),
        Scenario {
            tries: 2,
            ..failing("reset after the effect", vec![Turn::DoAndReset, Turn::Do])
        },
        Scenario {
            tries: 2,
            ..failing("502 after the effect", vec![Turn::DoAndSay(502), Turn::Do])
        },
        Scenario {
            tries: 2,
            ..failing("cut in the answer", vec![Turn::DoAndCut, Turn::Do])
        },
        Scenario {
            policy: "upstream_timeout = \"300ms\"",
            tries: 2,
            ..failing("no answer", vec![Turn::DoAndHang, Turn::Do])
        },
        Scenario {
            policy: "client_timeout = \"1s\"",
            meanwhile: Meanwhile::Answers("still_processing"),
            ..upstream("slow beyond patience", vec![Turn::DoSlowly, Turn::Do])
        },
        Scenario {
            upstream_absent: true,
            ..failing("refuses connections", vec![Turn::Do])
        },
        Scenario {
            upstream_absent: true,
            meanwhile: Meanwhile::Listens("upstream_unreachable"),
            ..upstream("refuses, then listens", vec![Turn::Do])
        },
        // The store.
        Scenario {
            store: Store::RedisAway,
            ..failing("store away", vec![Turn::Do])
        },
        Scenario {
            store: Store::RedisAway,
            meanwhile: Meanwhile::StoreIsBack("store_error"),
            impatient: AFTER_409_AND_503,
            ..upstream("store away, then back", vec![Turn::Do])
        },
        Scenario {
            store: Store::Redis,
            upstream: vec![Turn::DoSlowly, Turn::Do],
            meanwhile: Meanwhile::StoreGoesUntil("store_error"),
            impatient: AFTER_409_AND_503,
            ..reset("store goes, answer lost", once)
        },
        // The same key twice.
        Scenario {
            calls: Calls::Twice,
            upstream: vec![Turn::DoSlowly, Turn::Do],
            meanwhile: Meanwhile::Answers("in_progress"),
            impatient: AFTER_409_AND_503,
            ..upstream("twice at once", vec![])
        },
        Scenario {
            calls: Calls::Twice,
            policy: "in_flight = \"wait\"",
            upstream: vec![Turn::DoSlowly, Turn::Do],
            meanwhile: Meanwhile::AnswersWhenOneWaits,
            ..upstream("twice at once, waits", vec![])
        },
        Scenario {
            calls: Calls::Another,
            ..upstream("key of another call", vec![Turn::Do])
        },
    ]
}

/// Nothing goes wrong.
pub fn plain() -> Scenario {
    Scenario {
        name: "nothing",
        policy: "",
        calls: Calls::One,
        network: vec![Fate::Pass],
        strikes: 0,
        upstream: vec![Turn::Do],
        upstream_absent: false,
        store: Store::Memory,
        meanwhile: Meanwhile::Nothing,
        expect: Expect::Success,
        impatient: &[],
        tries: usize::MAX,
    }
}

/// Those that never try again after these statuses.
const AFTER_409_AND_503: &[&str] = &["workos_node"];

//! What a client asks, and what it should be answered.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, join, select};

use super::client::{Answer, Door, Wire};
use super::request::Expected::{Kept, NotKept, Passed, Refused, Replay};
use super::request::{Expected, Request, content};
use super::upstream::Upstream;

/// A client of its own, which asks one thing after the other.
pub(crate) struct Visitor {
    number: usize,
    door: Door,
    wires: [Wire; 2],
    upstream: Arc<Upstream>,
    /// How many requests it has sent, and keys it has chosen.
    asked: usize,
    keys: usize,
}

impl Visitor {
    /// Comes in by this door.
    pub(crate) async fn new(
        number: usize,
        door: Door,
        upstream: Arc<Upstream>,
    ) -> Result<Self, String> {
        Ok(Self {
            number,
            wires: door.open().await?,
            door,
            upstream,
            asked: 0,
            keys: 0,
        })
    }

    /// Asks all of it so many times; how many requests that was.
    pub(crate) async fn visit(mut self, rounds: u32) -> Result<usize, String> {
        for round in 0..rounds {
            if round % SELDOM == 0 {
                // Clients come and go.
                self.wires = self.door.open().await?;
                self.large().await?;
            }
            self.pass_through().await?;
            self.repeat().await?;
            self.name_in_the_body().await?;
            self.fail().await?;
            self.hurry().await?;
            self.wait().await?;
        }
        Ok(self.asked)
    }

    /// What needs no key.
    async fn pass_through(&mut self) -> Result<(), String> {
        for path in [
            "/orders/7",
            "/orders?page=2&sort=-created",
            "/files/8000",
            "/orders/8",
            "/streams/20000",
            "/files/64000",
            "/orders/9?expand=items",
            "/health",
        ] {
            let request = Request::new("GET", path, 0);
            self.ask(&request, Passed(200)).await?;
        }
        for size in [60, 200, 4000] {
            let request = Request::new("POST", "/events", size);
            self.ask(&request, Passed(201)).await?;
        }
        Ok(())
    }

    /// What is asked once, and again.
    async fn repeat(&mut self) -> Result<(), String> {
        for (method, path, size, again) in [
            ("POST", "/orders", 200, 1),
            ("POST", "/orders", 1000, 0),
            ("POST", "/payments?currency=eur", 60, 3),
            ("POST", "/payments", 300, 1),
            ("PUT", "/orders/7", 700, 1),
            ("PATCH", "/orders/7", 60, 0),
            ("POST", "/messages", 6000, 1),
            ("DELETE", "/orders/7/items/3", 0, 1),
        ] {
            let status = if method == "POST" { 201 } else { 200 };
            let request = Request::new(method, path, size).with_key(self.new_key());
            let first = self.ask(&request, Kept(status)).await?;
            for _ in 0..again {
                self.ask(&request, Replay(&first)).await?;
            }
        }
        Ok(())
    }

    /// The same with the key in the body.
    async fn name_in_the_body(&mut self) -> Result<(), String> {
        for again in [1, 0] {
            let key = self.new_key();
            let mut request = Request::new("POST", "/checkouts", 0);
            let body = |sent_at| {
                let item = r#"{"sku": "A-1002", "count": 2, "price": 19.99, "gift": false}"#;
                format!(r#"{{"id": "{key}", "items": [{item}, {item}], "sent_at": {sent_at}}}"#)
            };
            request.body = body(1).into();
            let first = self.ask(&request, Kept(201)).await?;
            for time in 0..again {
                request.body = body(2 + time).into();
                self.ask(&request, Replay(&first)).await?;
            }
        }
        Ok(())
    }

    /// What goes wrong.
    async fn fail(&mut self) -> Result<(), String> {
        let mut request = Request::new("POST", "/orders", 200).with_key(self.new_key());
        self.ask(&request, Kept(201)).await?;
        request.body = content(201);
        self.ask(&request, Refused(422, "key-reused")).await?;

        let request = Request::new("POST", "/missing", 200).with_key(self.new_key());
        let first = self.ask(&request, Kept(404)).await?;
        self.ask(&request, Replay(&first)).await?;

        let request = Request::new("POST", "/broken", 200).with_key(self.new_key());
        self.ask(&request, NotKept(500)).await?;
        // It may be tried again, so it is.
        self.ask(&request, NotKept(500)).await?;
        let request = Request::new("GET", "/missing", 0);
        self.ask(&request, Passed(404)).await?;
        Ok(())
    }

    /// Two at once that are the same: one is refused.
    async fn hurry(&mut self) -> Result<(), String> {
        self.asked += 2;
        let held = format!("/held/{}", self.number);
        let request = Request::new("POST", &held, 200).with_key(self.new_key());
        let [one, other] = &mut self.wires;
        let (one, other) = (pin!(one.ask(&request)), pin!(other.ask(&request)));
        // The upstream holds the first one until the other is answered, so that is the refusal.
        let (refused, first) = match select(one, other).await {
            Either::Left((refused, first)) | Either::Right((refused, first)) => (refused, first),
        };
        request.check(&refused?, Refused(409, "in-progress"))?;
        self.upstream.release(self.number);
        request.check(&first.await?, Kept(201))
    }

    /// Two at once that are the same: one waits for the answer to the other.
    async fn wait(&mut self) -> Result<(), String> {
        self.asked += 2;
        let request = Request::new("POST", "/slow/reports", 200).with_key(self.new_key());
        let [one, other] = &mut self.wires;
        let (one, other) = join(one.ask(&request), other.ask(&request)).await;
        let (one, other) = (one?, other?);
        let (first, second) = match one.is_replay() {
            false => (one, other),
            true => (other, one),
        };
        request.check(&first, Kept(201))?;
        request.check(&second, Replay(&first))
    }

    /// Bodies that are large, or do not tell their length.
    async fn large(&mut self) -> Result<(), String> {
        let unmeasured = Request::new("POST", "/uploads", 24_000).in_chunks();
        self.ask(&unmeasured, Passed(201)).await?;
        let request = unmeasured.with_key(self.new_key());
        let first = self.ask(&request, Kept(201)).await?;
        self.ask(&request, Replay(&first)).await?;

        let request = Request::new("POST", "/uploads", LARGE).with_key(self.new_key());
        self.ask(&request, Kept(201)).await?;
        let request = request.in_chunks().with_key(self.new_key());
        self.ask(&request, Kept(201)).await?;

        let (file, stream) = (format!("/files/{LARGE}"), format!("/streams/{LARGE}"));
        for path in [&file, &stream] {
            let request = Request::new("GET", path, 0);
            self.ask(&request, Passed(200)).await?;
        }
        let request = Request::new("POST", &file, 200).with_key(self.new_key());
        self.ask(&request, NotKept(200)).await?;
        self.ask(&request, Refused(409, "response-not-stored"))
            .await?;
        Ok(())
    }

    /// Asks, and checks the answer.
    async fn ask(&mut self, request: &Request, expected: Expected<'_>) -> Result<Answer, String> {
        self.asked += 1;
        let [wire, _] = &mut self.wires;
        let answer = wire.ask(request).await?;
        request.check(&answer, expected)?;
        Ok(answer)
    }

    fn new_key(&mut self) -> String {
        self.keys += 1;
        // As most clients make them: UUIDs.
        format!("3f2b8c1e-{:04x}-4d7a-9b60-{:012x}", self.number, self.keys)
    }
}

/// More than the proxy holds of a request, and keeps of an answer.
const LARGE: usize = 2 * 1024 * 1024;
/// One in so many rounds has what is seldom.
const SELDOM: u32 = 10;

"""The operators' page in a headless Chromium: `scenarios.py BINARY CHROMIUM`. An error on the console or a breach of the page's policy fails
a scenario, whatever it is about."""

import os
import re
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager

from playwright.sync_api import expect, sync_playwright
from world import World

SCENARIOS = []


def scenario(play):
    SCENARIOS.append(play)
    return play


class Stage:
    """A browser, and the binary to put before it."""

    def __init__(self, browser, binary):
        self.browser, self.binary = browser, binary

    def world(self, **settings):
        return World(self.binary, **settings)

    @contextmanager
    def page(self, address, before=None, breaches=None, **context):
        """The page of a proxy; `before` is done first. `breaches` takes what is wrong with it, which is nothing where it is not given."""
        wrong = [] if breaches is None else breaches
        context = self.browser.new_context(reduced_motion="reduce", **{"viewport": {"width": 1280, "height": 800}, **context})
        context.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error(`breach of ${e.violatedDirective}`))"
        )
        page = context.new_page()
        # A refusal by the API is no error of the page.
        page.on("console", lambda said: said.type in ("error", "warning") and "Failed to load resource" not in said.text and wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: request.url.startswith(origin(address)) or wrong.append(f"asked for {request.url}"))
        if before:
            before(page)
        try:
            page.goto(address)
            yield page
        finally:
            context.close()
        if breaches is None:
            assert wrong == [], wrong


def origin(address):
    return re.match(r"https?://[^/]+/", address)[0]


def shoot(page, name):
    if directory := os.environ.get("PAGE_SHOTS"):
        os.makedirs(directory, exist_ok=True)
        page.screenshot(path=f"{directory}/{name}.png", full_page=not page.locator("dialog[open]").count())


def tile(page, name):
    return page.locator("#tiles tr", has=page.get_by_role("rowheader", name=name, exact=True)).locator(".many")


def look_again(page):
    """Has the page refresh now, as when its tab is turned to."""
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")


def open_only(page, section="unknown"):
    page.locator(f"#{section} .open").click()
    expect(page.locator("#record")).to_be_visible()


def close_by_escape(page, address):
    """By Escape, of which the page itself hears a moment after the dialog is hidden."""
    page.keyboard.press("Escape")
    expect(page).to_have_url(address)
    expect(page.locator("#record")).to_be_hidden()


@scenario
def what_was_carried_out_is_resolved_with_its_answer_and_duplicates_get_it(stage):
    with stage.world() as world, stage.page(world.url) as page:
        expect(page.locator("#unknown .empty")).to_have_text("Nothing is unknown: nobody is needed.")
        record = world.unknown("k-1")
        # It comes by itself, the later the longer the page took to ask.
        expect(page.locator("#unknown .count")).to_have_text("1", timeout=120_000)
        open_only(page)
        expect(page.locator("#facts")).to_contain_text(record)
        page.get_by_role("button", name="It was carried out…").click()
        page.get_by_label("Give them this answer").check()
        expect(page.locator("#consequence")).to_contain_text("Duplicates get the answer below")
        page.get_by_label("Status").fill("201")
        page.get_by_label("Headers, one a line").fill("content-type: application/json\nx-from: hand")
        page.get_by_label("Body", exact=True).fill('{"payment": 7}')
        # Not without a reason.
        page.get_by_role("button", name="Resolve as executed").click()
        expect(page.locator("#order")).to_be_visible()
        page.get_by_label("Reason").fill("payment 7 is in the ledger")
        page.get_by_role("button", name="Resolve as executed").click()
        expect(page.locator("#notice")).to_contain_text("Done: it is completed. Duplicates get your answer until ")
        expect(page.locator("#facts")).to_contain_text("resolved as executed by an operator")
        status, fields, body = world.send("/orders/lost", "k-1")
        assert (status, fields["x-from"], body) == (201, "hand", '{"payment": 7}'), (status, fields, body)
        assert fields["x-idempotency-replay"] == "true" and world.upstream.executions == 1
        page.keyboard.press("Escape")
        expect(page.locator("#unknown .empty")).to_be_visible()


@scenario
def without_an_answer_duplicates_are_told_that_it_is_not_kept(stage):
    with stage.world() as world:
        record = world.unknown("k-1")
        # A link to the record opens it.
        with stage.page(f"{world.url}#{record}") as page:
            page.get_by_role("button", name="It was carried out…").click()
            expect(page.locator("#consequence")).to_contain_text("409 response-not-stored")
            page.get_by_label("Reason").fill("seen")
            page.get_by_role("button", name="Resolve as executed").click()
            expect(page.locator("#notice")).to_contain_text("Done: it is completed.")
        status, fields, _ = world.send("/orders/lost", "k-1")
        assert (status, fields["x-idempotency-error"]) == (409, "response-not-stored")


@scenario
def an_answer_has_what_was_written_and_nothing_is_made_up(stage):
    with stage.world() as world:
        record = world.unknown("k-1")
        with stage.page(f"{world.url}#{record}") as page:
            page.get_by_role("button", name="It was carried out…").click()
            answer = page.get_by_label("Give them this answer")
            expect(answer).not_to_be_checked()
            answer.check()
            for name in ["Status", "Headers, one a line"]:
                expect(page.get_by_label(name)).to_have_value("")
            page.get_by_label("Reason").fill("seen")
            act = page.get_by_role("button", name="Resolve as executed")
            act.click()
            assert world.api("GET", f"/v1/keys/{record}")[1]["state"] == "unknown"
            page.get_by_label("Status").fill("200")
            expect(page.locator("#answer-empty")).to_be_visible()
            page.get_by_label("Body", exact=True).fill("x")
            expect(page.locator("#answer-empty")).to_be_hidden()
            page.get_by_label("Body", exact=True).fill("")
            page.get_by_label("Status").fill("204")
            expect(page.locator("#answer-empty")).to_be_hidden()
            page.get_by_label("Headers, one a line").fill("no colon")
            act.click()
            expect(page.locator("#refused")).to_contain_text("Not sent: Headers: expected")
            page.get_by_label("Headers, one a line").fill("")
            act.click()
            expect(page.locator("#notice")).to_contain_text("Duplicates get your answer until ")
        status, _, body = world.send("/orders/lost", "k-1")
        assert (status, body) == (204, ""), (status, body)


@scenario
def what_was_written_for_one_record_is_not_there_for_the_next(stage):
    with stage.world() as world:
        records = [world.unknown("k-1"), world.unknown("k-2")]
        with stage.page(f"{world.url}#{records[0]}") as page:
            def move(record):
                page.evaluate("(id) => { location.hash = id; }", record)
                expect(page.locator("#facts")).to_contain_text(record)

            def close_and_move(record):
                close_by_escape(page, world.url)
                move(record)

            fields = {"Status": "402", "The body is": "body_base64", "Headers, one a line": "a: b", "Body": "eA==", "Reason": "mine"}
            for leave in [move, close_and_move]:
                page.get_by_role("button", name="It was carried out…").click()
                page.get_by_label("Give them this answer").check()
                for name, text in fields.items():
                    field = page.get_by_label(name, exact=name == "Body")
                    field.select_option(text) if name == "The body is" else field.fill(text)
                leave(records[1])
                page.get_by_role("button", name="It was carried out…").click()
                expect(page.get_by_label("Give them this answer")).not_to_be_checked()
                page.get_by_label("Give them this answer").check()
                for name in fields:
                    expect(page.get_by_label(name, exact=name == "Body")).to_have_value("body" if name == "The body is" else "")
                move(records[0])


@scenario
def what_was_not_carried_out_runs_and_what_is_deleted_is_forgotten(stage):
    with stage.world() as world:
        records = [world.unknown("k-1"), world.unknown("k-2")]
        for record, choose, act in zip(records, ["It was not carried out…", "Delete…"], ["Resolve as not executed", "Delete"]):
            with stage.page(f"{world.url}#{record}") as page:
                page.get_by_role("button", name="It was carried out…").click()
                page.get_by_label("Give them this answer").check()
                page.get_by_label("Status").fill("99")
                page.get_by_role("button", name="Back").click()
                # What was wrong there is no hindrance here.
                page.get_by_role("button", name=choose).click()
                page.get_by_label("Reason").fill("no such order")
                page.get_by_role("button", name=act, exact=True).click()
                expect(page.locator("#notice")).to_contain_text("Done: it is released.")
                if act == "Delete":
                    expect(page.locator("#record-title")).to_have_text("POST (forgotten)")
        world.send("/orders/1", "k-2")
        world.send("/orders/lost", "k-1")
        assert world.upstream.executions == 4


@scenario
def a_live_claim_is_released_only_by_force(stage):
    with stage.world() as world:
        world.begin("/orders/hold", "k-1")
        with stage.page(world.url) as page:
            expect(tile(page, "running now")).to_have_text("1")
            open_only(page, "running")
            page.get_by_role("button", name="Release…").click()
            page.get_by_label("Reason").fill("stuck")
            expect(page.locator("#force-field")).to_be_hidden()
            page.get_by_role("button", name="Release", exact=True).click()
            expect(page.locator("#refused")).to_contain_text("its lease is live")
            expect(page.locator("#force-risk")).to_contain_text("the request may run twice")
            expect(page.get_by_label("I know this.")).to_be_focused()
            assert world.api("GET", "/v1/keys")[1]["keys"][0]["state"] == "in-flight"
            shoot(page, "force")
            # Only by a word for it.
            page.get_by_role("button", name="Release by force").click()
            assert world.api("GET", "/v1/keys")[1]["keys"][0]["state"] == "in-flight"
            page.get_by_label("I know this.").check()
            page.get_by_role("button", name="Release by force").click()
            expect(page.locator("#notice")).to_have_text("Done: it is released. The next duplicate runs.")


@scenario
def a_word_for_one_risk_is_none_for_another(stage):
    with stage.world() as world:
        world.begin("/orders/hold", "k-1")
        unwatched = {"title": "Conflict", "status": 409, "code": "STORE_UNWATCHED", "detail": "not watched"}

        def before(page):
            page.route("**/release", lambda route: route.fulfill(status=409, json=unwatched), times=1)

        with stage.page(world.url, before) as page:
            open_only(page, "running")
            page.get_by_role("button", name="Release…").click()
            page.get_by_label("Reason").fill("stuck")
            page.get_by_role("button", name="Release", exact=True).click()
            expect(page.locator("#force-risk")).to_contain_text("The store was away")
            page.get_by_label("I know this.").check()
            page.get_by_role("button", name="Release by force").click()
            # Its holder is heard of again, which is another risk.
            expect(page.locator("#refused")).to_contain_text("its lease is live")
            expect(page.locator("#force-risk")).to_contain_text("Waiting for its end is safe")
            expect(page.get_by_label("I know this.")).not_to_be_checked()
            assert world.api("GET", "/v1/keys")[1]["keys"][0]["state"] == "in-flight"


@scenario
def what_was_carried_out_is_deleted_only_by_a_word_for_it(stage):
    with stage.world() as world:
        status, fields, _ = world.send("/orders/declined", "k-1")
        record = fields["x-idempotency-id"]
        assert status == 402
        with stage.page(f"{world.url}#{record}") as page:
            expect(page.locator("#meaning")).to_contain_text("The API answered 402; that answer is kept and replayed until ")
            page.get_by_role("button", name="Delete…").click()
            page.get_by_label("Reason").fill("x")
            expect(page.locator("#force-risk")).to_contain_text("the next request with this key runs it again")
            page.get_by_role("button", name="Delete", exact=True).click()
            assert world.api("GET", f"/v1/keys/{record}")[1]["state"] == "completed"
            # Nor is it asked for where it is not needed.
            page.get_by_role("button", name="Back").click()
            page.get_by_role("button", name="Release…").click()
            expect(page.locator("#force-field")).to_be_hidden()
            page.get_by_role("button", name="Back").click()
            page.get_by_role("button", name="Delete…").click()
            page.get_by_label("I know this.").check()
            page.get_by_role("button", name="Delete", exact=True).click()
            expect(page.locator("#notice")).to_contain_text("Done: it is released.")


@scenario
def an_order_on_its_way_keeps_the_dialog_until_its_outcome_is_told(stage):
    with stage.world() as world:
        records = [world.unknown("k-1"), world.unknown("k-2")]
        held = []

        def before(page):
            page.route("**/release", lambda route: held.append(route))

        with stage.page(f"{world.url}#{records[0]}", before) as page:
            page.get_by_role("button", name="Release…").click()
            page.get_by_label("Reason").fill("x")
            with page.expect_request("**/release"):
                page.get_by_role("button", name="Release", exact=True).click()
            for _ in range(3):
                page.keyboard.press("Escape")
            expect(page.locator("#pending")).to_contain_text("Sent.")
            for name in ["Back", "Close", "Release"]:
                expect(page.get_by_role("button", name=name, exact=True)).to_be_disabled()
            # Nor does a link take its place.
            page.evaluate("(id) => { location.hash = id; }", records[1])
            page.wait_for_url(f"**/#{records[0]}")
            held[0].fulfill(status=409, json={"status": 409, "code": "LEASE_LIVE", "detail": "its lease is live"})
            expect(page.locator("#refused")).to_contain_text("Not done: its lease is live.")
            expect(page.locator("#facts")).to_contain_text(records[0])
            page.get_by_label("I know this.").check()
            with page.expect_request("**/release"):
                page.get_by_role("button", name="Release by force").click()
            for _ in range(3):
                page.keyboard.press("Escape")
            held[1].continue_()
            expect(page.locator("#notice")).to_have_text("Done: it is released. The next duplicate runs.")
            expect(page.locator("#record")).to_be_visible()
            page.keyboard.press("Escape")
            expect(page.locator("#record")).to_be_hidden()


@scenario
def a_late_answer_does_not_take_the_place_of_what_was_opened_since(stage):
    with stage.world() as world:
        slow, quick = world.unknown("k-1"), world.unknown("k-2")
        held = []
        with stage.page(world.url) as page:
            page.route(f"**/v1/keys/{slow}", lambda route: held.append(route))
            with page.expect_request(f"**/v1/keys/{slow}"):
                page.locator(f'#unknown [data-focus="{slow}"]').click()
            page.locator(f'#unknown [data-focus="{quick}"]').click()
            expect(page.locator("#facts")).to_contain_text(quick)
            with page.expect_response(f"**/v1/keys/{slow}"):
                held[0].continue_()
            page.wait_for_timeout(200)
            expect(page.locator("#facts")).to_contain_text(quick)


@scenario
def duplicates_are_told_of_as_the_route_has_it(stage):
    for policy, told, after in [
        ("", "Duplicates get 409 until somebody settles it, or until ", ""),
        ('unknown_outcome = "retry"\n', "Its route lets the next duplicate run.", ""),
        ('mode = "observe"\n', "Its route only observes: every duplicate passes to the API.", "whatever is said here"),
    ]:
        with stage.world(policy=policy) as world:
            world.send("/orders/lost", "k-1")
            with stage.page(world.url) as page:
                expect(page.locator("#unknown .count")).to_have_text("1", timeout=20_000)
                expect(page.locator("#unknown td.until")).to_contain_text("in ")
                notes = page.locator("#unknown .note")
                expect(notes).to_have_count(2 if policy else 1)
                expect(notes.first).to_have_text(f"{'only observed: ' if 'observe' in policy else ''}the upstream's answer leaves it open")
                open_only(page)
                expect(page.locator("#meaning")).to_contain_text(told)
                expect(page.locator("#meaning")).to_contain_text("its answer was lost or leaves it open")
                page.get_by_role("button", name="It was carried out…").click()
                expect(page.locator("#consequence")).to_contain_text(after)
                if "observe" in policy:
                    what_was_observed_before_its_route_enforced(page, world.url)


def what_was_observed_before_its_route_enforced(page, address):
    page.route("**/v1/keys/*", lambda route: route.fulfill(json={**route.fetch().json(), "mode": "enforce"}))
    close_by_escape(page, address)
    open_only(page)
    expect(page.locator("#meaning")).to_contain_text("It was only observed: no duplicate meets this record")


@scenario
def ages_go_by_the_clock_of_the_proxy(stage):
    with stage.world() as world:
        record = world.unknown("k-1")
        for off in [-7_200, 7_200]:
            def before(page):
                page.clock.install(time=time.time() + off)

            with stage.page(f"{world.url}#{record}", before) as page:
                expect(page.locator("#facts")).to_contain_text(re.compile(r"First seen\d+s ago"))


@scenario
def a_login_outlasts_a_failure_and_a_request_on_its_way(stage):
    with stage.world(token="s3cret") as world:
        record = world.unknown("k-1")
        held, failed = [], []

        def fail_once(route):
            failed.append(route)
            route.abort() if len(failed) == 1 else route.continue_()

        with stage.page(f"{world.url}#{record}") as page:
            token = page.get_by_label("Operator's token")
            expect(token).to_have_attribute("autocomplete", "off")
            # One under a wrong token is on its way while the right one is given.
            page.route("**/v1/activity", lambda route: held.append(route), times=1)
            token.fill("wrong")
            with page.expect_request("**/v1/activity"):
                page.keyboard.press("Enter")
            page.route("**/readyz?verbose", fail_once)
            token.fill("s3cret")
            page.keyboard.press("Enter")
            held[0].continue_()
            # By itself, and the link is followed.
            expect(page.locator("#facts")).to_contain_text(record, timeout=30_000)
            expect(page.locator("#token-form")).to_be_hidden()
            assert len(failed) > 1


@scenario
def what_changed_meanwhile_is_shown_as_it_is_now_and_nothing_is_done(stage):
    with stage.world() as world:
        record = world.unknown("k-1")
        with stage.page(world.url) as page:
            open_only(page)
            status, _ = world.api("POST", f"/v1/keys/{record}/release", {"reason": "somebody else"})
            assert status == 200
            page.get_by_role("button", name="It was carried out…").click()
            page.get_by_label("Reason").fill("mine")
            page.get_by_role("button", name="Resolve as executed").click()
            expect(page.locator("#notice")).to_contain_text("It changed meanwhile, and nothing was done.")
            expect(page.locator("#facts")).to_contain_text("releasedwas unknown")
            expect(page.locator("#facts")).to_contain_text("released by an operator")
            expect(page.locator("#notice")).to_be_focused()
            assert world.api("GET", f"/v1/keys/{record}")[1]["state"] == "released"
            shoot(page, "changed")
            # It is another decision now, for which force is asked.
            page.get_by_role("button", name="It was carried out…").click()
            expect(page.get_by_label("Reason")).to_have_value("mine")
            page.get_by_role("button", name="Resolve as executed").click()
            expect(page.locator("#force-risk")).to_contain_text("It is released already")


@scenario
def a_write_that_is_not_answered_is_not_taken_for_one_that_failed(stage):
    with stage.world() as world:
        world.unknown("k-1")
        with stage.page(world.url) as page:
            open_only(page)

            def carried_out_and_lost(route):
                route.fetch()
                route.abort()

            page.route("**/release", carried_out_and_lost)
            page.get_by_role("button", name="Release…").click()
            page.get_by_label("Reason").fill("x")
            page.get_by_role("button", name="Release", exact=True).click()
            expect(page.locator("#notice")).to_contain_text("Whether it was done was not said. The record is another now")
            expect(page.locator("#facts")).to_contain_text("releasedwas unknown")


HOSTILE = '<img src=x onerror="document.title=1">'


@scenario
def what_strangers_wrote_is_text(stage):
    hostile = {
        "id": "0" * 32, "version": "1" * 32, "state": "unknown", "lapsed": False, "route": HOSTILE, "method": HOSTILE,
        "path": f"/{HOSTILE}\u202e", "created": "2026-01-01T00:00:00.000Z", "settled": None, "expires": None, "attempts": 1,
        "in_doubt": True, "status": 502, "error": f"{HOSTILE}</script><script>document.title=1</script>", "response_bytes": None,
    }

    def before(page):
        page.route("**/v1/keys?*", lambda route: route.fulfill(json={"keys": [hostile]}))
        page.route("**/v1/keys/*", lambda route: route.fulfill(json=hostile))

    with stage.world() as world, stage.page(world.url, before) as page:
        expect(page.locator("#unknown .open")).to_have_text(f"{HOSTILE} /{HOSTILE}\u202e")
        expect(page.locator("#unknown .note").first).to_contain_text("</script>")
        open_only(page)
        expect(page.locator("#facts")).to_contain_text(HOSTILE)
        assert page.locator("img").count() == 0 and page.title() == "idemproxy"


@scenario
def the_browser_refuses_markup_made_of_text_and_that_is_noticed(stage):
    with stage.world() as world, stage.page(world.url, breaches=(wrong := [])) as page:
        made = page.evaluate("() => { try { document.body.innerHTML = '<b>x</b>'; return 'made'; } catch (e) { return e.name; } }")
        page.evaluate("() => { const style = document.createElement('style'); style.append('b{}'); document.head.append(style); }")
        page.wait_for_timeout(100)
        assert made == "TypeError", made
        for directive in ["require-trusted-types-for", "style-src"]:
            assert any(directive in what for what in wrong), wrong


@scenario
def a_token_is_asked_for_and_kept_nowhere(stage):
    with stage.world(token="s3cret") as world, stage.page(world.url) as page:
        expect(page.locator("#content")).to_be_hidden()
        expect(page.get_by_label("Operator's token")).to_be_focused()
        shoot(page, "token")
        for wrong in ["s3cres", "s3cr\u00e9t\u2603"]:
            page.get_by_label("Operator's token").fill(wrong)
            page.get_by_role("button", name="Go on").click()
            expect(page.locator("#token-fault")).to_have_text("That is not the token.")
            expect(page.locator("#content")).to_be_hidden()
        page.get_by_label("Operator's token").fill(" s3cret ")
        page.keyboard.press("Enter")
        expect(page.locator("#content")).to_be_visible()
        expect(page.locator("#token-form")).to_be_hidden()
        kept = page.evaluate("() => [sessionStorage.length, localStorage.length, document.cookie, location.href]")
        assert kept == [0, 0, "", world.url], kept
        page.reload()
        expect(page.get_by_label("Operator's token")).to_be_visible()
        expect(page.locator("#token-fault")).to_be_hidden()


@scenario
def pages_follow_each_other_and_no_record_is_on_two(stage):
    with stage.world() as world:
        records = {world.unknown(f"k-{number}") for number in range(60)}
        with stage.page(world.url) as page:
            count = page.locator("#unknown .count")
            pager = page.locator("#unknown .pager")
            seen = []
            for told, rows in [("25+", 25), ("50+", 25), ("60", 10)]:
                expect(count).to_have_text(told)
                shown = page.locator("#unknown .open").evaluate_all("all => all.map((open) => open.dataset.focus)")
                assert len(shown) == rows
                seen += shown
                if rows == 25:
                    pager.get_by_role("button", name="Next").click()
            assert len(seen) == 60 and set(seen) == records
            expect(pager.get_by_role("button", name="Next")).to_be_disabled()
            pager.get_by_role("button", name="Previous").click()
            expect(count).to_have_text("50+")
            expect(pager).to_contain_text("26 to 50")


@scenario
def a_look_that_is_not_finished_goes_on_and_does_not_say_that_there_is_nothing(stage):
    with stage.world() as world:
        record = world.unknown("k-1")
        asked = []

        def a_little_at_a_time(route):
            asked.append(route.request.url)
            cursor = f"{len(asked):032x}"
            route.fulfill(json={"keys": [], "cursor": cursor}) if len(asked) < 4 else route.continue_(url=route.request.url.split("&cursor")[0])

        def before(page):
            page.route("**/v1/keys?state=unknown*", a_little_at_a_time)

        with stage.page(world.url, before) as page:
            expect(page.locator("#unknown .open")).to_have_attribute("data-focus", record)
            assert "cursor=" not in asked[0] and all(f"cursor={number:032x}" in asked[number] for number in [1, 2, 3]), asked
            expect(page.locator("#unknown .count")).to_have_text("1")


@scenario
def records_are_found_by_key_by_id_by_route_and_by_state(stage):
    with stage.world() as world:
        lost = world.unknown("k 1+&")
        world.send("/orders/7", "f" * 32)
        world.send("/elsewhere", "k-3")
        with stage.page(world.url) as page:
            found = page.locator("#found .open")

            def look(text="", state="", route=""):
                page.get_by_label("Key or record id").fill(text)
                page.get_by_label("Route").fill(route)
                page.get_by_label("State").select_option(state)
                page.get_by_role("button", name="Search").click()

            look()
            expect(found).to_have_count(3)
            look("k 1+&")
            expect(found).to_have_text(["POST /orders/lost"])
            look(lost)
            expect(found).to_have_text(["POST /orders/lost"])
            # A key that is written like an id.
            look("f" * 32)
            expect(found).to_have_text(["POST /orders/7"])
            look(state="completed")
            expect(found).to_have_count(2)
            look(state="completed", route="orders")
            expect(found).to_have_text(["POST /orders/7"])
            # One that is found by its id has to fit the rest.
            look(lost, state="unknown", route="orders")
            expect(found).to_have_text(["POST /orders/lost"])
            look(lost, state="completed")
            expect(page.locator("#found .empty")).to_be_visible()
            look(lost, route="default")
            expect(page.locator("#found .empty")).to_be_visible()
            look("nothing")
            expect(page.locator("#found .empty")).to_have_text("There is no such record.")
            look("x" * 9000)
            expect(page.locator("#found .fault")).to_have_text("key: expected an idempotency key")


@scenario
def a_late_answer_to_an_earlier_search_is_not_shown(stage):
    with stage.world() as world:
        world.unknown("k-1")
        world.unknown("k-2")
        held = []
        with stage.page(world.url) as page:
            found = page.locator("#found .open")
            page.route("**/v1/keys?*key=k-1*", lambda route: held.append(route))
            for text in ["k-1", "k-2"]:
                page.get_by_label("Key or record id").fill(text)
                with page.expect_request(f"**/v1/keys?*key={text}*"):
                    page.get_by_role("button", name="Search").click()
            expect(found).to_have_count(1)
            shown = found.get_attribute("data-focus")
            with page.expect_response("**/v1/keys?*key=k-1*"):
                held[0].continue_()
            page.wait_for_timeout(200)
            assert found.get_attribute("data-focus") == shown


@scenario
def a_search_that_is_refused_is_told_of_though_the_page_looked_again_meanwhile(stage):
    with stage.world() as world:
        held = []
        with stage.page(world.url) as page:
            expect(page.locator("#fresh")).to_have_attribute("title", re.compile("^Asked last at "))
            refused = re.compile(r"/v1/keys\?.*key=x{9000}")
            page.route(refused, lambda route: held.append(route), times=1)
            page.get_by_label("Key or record id").fill("x" * 9000)
            with page.expect_request(refused):
                page.get_by_role("button", name="Search").click()
            with page.expect_response(refused):
                look_again(page)
            expect(page.locator("#fresh")).to_contain_text("expected an idempotency key")
            held[0].continue_()
            expect(page.locator("#found .fault")).to_have_text("key: expected an idempotency key")
            # It is not asked for any more.
            look_again(page)
            expect(page.locator("#fresh")).to_have_text("")


@scenario
def the_last_hour_is_counted_and_drawn(stage):
    with stage.world() as world:
        for key in ["k-1", "k-2", "k-2", "k-2"]:
            world.send("/orders/1", key)
        world.unknown("k-3")
        world.send("/orders/lost", "k-3")
        with stage.page(world.url) as page:
            for name, told in [("executed", "2"), ("replayed", "2"), ("refused", "1"), ("unknown", "1"), ("without guarantee", "0")]:
                expect(tile(page, name)).to_have_text(told)
            assert page.locator("#plot rect.executed").count() >= 1 and page.locator("#plot rect.replayed").count() >= 1
            expect(page.locator("#plot svg")).to_have_attribute("aria-label", re.compile("2 executed, 2 replayed"))
            # The same for who cannot see it.
            columns = page.locator("#by-minute th").evaluate_all("all => all.map((cell) => cell.textContent)")
            assert "unknown" in columns, columns
            rows = page.locator("#by-minute tbody tr").evaluate_all(
                "rows => rows.map((row) => [...row.querySelectorAll('td')].map((cell) => Number(cell.textContent)))"
            )
            assert [sum(column) for column in zip(*rows)] == [2, 2, 1, 0, 1, 0], rows


@scenario
def it_works_by_keyboard_and_a_refresh_does_not_take_the_focus(stage):
    with stage.world() as world:
        world.unknown("k-1")
        with stage.page(world.url) as page:
            row = page.locator("#unknown .open")
            row.focus()
            world.unknown("k-2")
            look_again(page)
            expect(page.locator("#unknown .count")).to_have_text("2", timeout=20_000)
            focused = page.evaluate("() => document.activeElement.className")
            assert focused == "open", focused
            page.keyboard.press("Enter")
            expect(page.locator("#record")).to_be_visible()
            for _ in range(20):
                page.keyboard.press("Tab")
                # Not behind the dialog; the browser's own controls come after its end.
                assert page.evaluate("() => document.activeElement === document.body || !!document.activeElement.closest('dialog')")
            page.get_by_role("button", name="Release…").press("Enter")
            expect(page.locator("#order-title")).to_be_focused()
            page.get_by_role("button", name="Back").press("Enter")
            expect(page.get_by_role("button", name="Release…")).to_be_focused()
            close_by_escape(page, world.url)
            expect(page.locator(".open:focus")).to_have_count(1)


@scenario
def nothing_is_asked_for_behind_a_dialog(stage):
    with stage.world() as world:
        world.unknown("k-1")
        asked = []

        def before(page):
            page.on("request", lambda request: "/v1/keys?" in request.url and asked.append(request.url))
            page.clock.install()

        with stage.page(world.url, before) as page:
            expect(page.locator("#running .empty")).to_be_visible()
            already = len(asked)
            # Steps so small that no request is out of patience, which is by the same clock, while it is answered.
            for _ in range(600):
                page.clock.run_for(4_000)
                page.wait_for_timeout(100)
                if len(asked) >= already + 2:
                    break
            assert len(asked) >= already + 2, asked
            open_only(page)
            already = len(asked)
            page.clock.run_for(600_000)
            page.wait_for_timeout(200)
            assert len(asked) == already, asked[already:]
            with page.expect_request("**/v1/keys?*"):
                close_by_escape(page, world.url)


@scenario
def a_proxy_that_is_gone_is_told(stage):
    with stage.world() as world:
        world.unknown("k-1")
        with stage.page(world.url) as page:
            expect(page.locator("#unknown .count")).to_have_text("1")
            # All lists were asked for, of which that count is the first.
            expect(page.locator("#fresh")).to_have_attribute("title", re.compile("^Asked last at "))
            world.end()
            look_again(page)
            expect(page.locator("#fresh")).to_contain_text("The proxy cannot be reached. What is shown is from", timeout=20_000)
            expect(page.locator("#unknown .count")).to_have_text("1")
            open_record = page.locator("#unknown .open")
            open_record.click()
            expect(page.locator("#notice")).to_contain_text("The proxy cannot be reached.")


@scenario
def it_fits_narrow_and_wide_in_light_and_dark(stage):
    with stage.world() as world:
        for number in range(6):
            world.unknown(f"k-{number}", f"/orders/lost/{'a-long-name-' * number}")
        for number in range(40):
            world.send(f"/orders/{number % 9}", f"o-{number % 25}")
        world.begin("/orders/hold", "k-h")
        for scheme in ["light", "dark"]:
            for width in [360, 1400]:
                with stage.page(world.url, color_scheme=scheme, viewport={"width": width, "height": 900}) as page:
                    page.get_by_role("button", name="Search").click()
                    expect(page.locator("#found .open").first).to_be_visible()
                    expect(page.locator("#unknown .count")).to_have_text("6")
                    fits(page)
                    shoot(page, f"lists-{scheme}-{width}")
                    page.locator("#unknown .open").last.click()
                    expect(page.locator("#record")).to_be_visible()
                    fits(page)
                    shoot(page, f"record-{scheme}-{width}")
                    page.get_by_role("button", name="It was carried out…").click()
                    fits(page)
                    shoot(page, f"order-{scheme}-{width}")


def fits(page):
    over = page.evaluate(
        "() => [document.documentElement, document.getElementById('record')].map((it) => it.scrollWidth - it.clientWidth)"
    )
    assert over == [0, 0], over


def main():
    binary, chromium, *names = sys.argv[1:]
    mine = [play for play in SCENARIOS if not names or any(name in play.__name__ for name in names)]
    # They wait more than they work: several processes share them, each with a browser of its own.
    part, parts = (int(number) for number in os.environ.get("PAGE_PART", f"0/{PARTS if len(mine) > PARTS else 1}").split("/"))
    others = [
        subprocess.Popen([sys.executable, "-B", *sys.argv], env={**os.environ, "PAGE_PART": f"{other}/{parts}"})
        for other in range(1, parts if part == 0 else 0)
    ]
    failed = play_all(mine[part::parts], binary, chromium)
    failed += sum(other.wait() != 0 for other in others)
    if part == 0:
        print(f"{len(mine)} scenarios{', and some failed' if failed else ''}")
    sys.exit(failed > 0 or not mine)


def play_all(scenarios, binary, chromium):
    """How many of them failed."""
    failed = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"],
        )
        expect.set_options(timeout=15_000)
        for play in scenarios:
            began = time.monotonic()
            try:
                play(Stage(browser, binary))
                told = "ok     "
            except Exception:
                failed += 1
                told = "FAILED "
                traceback.print_exc()
            print(told, play.__name__.replace("_", " "), f"({time.monotonic() - began:.1f} s)", flush=True)
        browser.close()
    return failed


PARTS = 3

main()

//! The scripts: they compare token, state and lapse, and write. What to do about a record is decided elsewhere.
//!
//! Each reads the header of the record at its fixed offsets, never its body. A record of another version, or a
//! foreign value, is told and left as it is.
//!
//! A script that settles runs with `allow-oom`: a finished effect is recorded on a full server too. Servers before 7.0 know no such
//! flags, and get the same text without its first line.

use ::redis::Script;

use crate::fault::seed_script;
use crate::idempotency::{Expect, State};
use crate::store::header;

/// The scripts, as one server understands them.
pub(super) struct Scripts {
    /// `KEYS: record; ARGV: frame, px, limit` → [`NOTHING`] (and now the frame), or as `look`.
    pub(super) claim: Script,
    /// `KEYS: record; ARGV: limit` → [`NOTHING`], `[FOUND, pttl, frame]`, [`LARGE`] beyond the limit, or [`UNREADABLE`].
    pub(super) look: Script,
    /// `KEYS: record; ARGV: bytes` → [`NOTHING`], `[FOUND, pttl, length, first bytes]` or [`UNREADABLE`].
    pub(super) head: Script,
    /// `KEYS: record; ARGV: frame, px, token, states, whether absent will do, whether it must have lapsed, touch` →
    /// [`STALE`], [`APPLIED`], [`RESTORED`] or [`UNREADABLE`]. With `touch`, a record that stands already is written to all the
    /// same, so that `WAIT` has something to wait for.
    pub(super) claim_over: Script,
    /// The same, on a full server too.
    pub(super) settle: Script,
    /// `KEYS: record; ARGV: token` → [`STALE`], [`APPLIED`] or [`UNREADABLE`].
    pub(super) renew: Script,
}

impl Scripts {
    /// For a server from 7.0 on, or before.
    pub(super) fn new(modern: bool) -> Self {
        let script = |flags: &str, body: &str| {
            let shebang = if modern { flags } else { "" };
            Script::new(&seed_script(format!("{shebang}{}{body}", prelude())))
        };
        Self {
            claim: script("#!lua\n", CLAIM),
            look: script("#!lua flags=no-writes\n", LOOK),
            head: script("#!lua flags=no-writes\n", HEAD),
            claim_over: script("#!lua\n", REPLACE),
            settle: script("#!lua flags=allow-oom\n", REPLACE),
            renew: script("#!lua flags=allow-oom\n", RENEW),
        }
    }
}

/// The token that an expectation names, and the states in which it is met, as the scripts take them.
pub(super) fn terms(expect: &Expect) -> (&[u8], &'static [u8]) {
    match expect {
        Expect::Released(token) => (token.as_bytes(), &[State::Released as u8]),
        Expect::Unknown(token) => (token.as_bytes(), &[State::Unknown as u8]),
        Expect::Lapsed(token) => (token.as_bytes(), &[State::InFlight as u8]),
        Expect::Held(token) => (
            token.as_bytes(),
            &[State::InFlight as u8, State::Unknown as u8],
        ),
        Expect::Shown(token, state) => {
            let states: &[u8] = match state {
                State::InFlight => &[State::InFlight as u8],
                State::Unknown => &[State::Unknown as u8],
                State::Released => &[State::Released as u8],
                State::Completed => &[State::Completed as u8],
            };
            (token.as_bytes(), states)
        }
    }
}

fn prelude() -> String {
    // Lua counts from 1, and a range there takes in its end.
    let magic = String::from_utf8_lossy(header::MAGIC);
    let version = header::VERSION + 1;
    let versions: String = header::VERSIONS
        .iter()
        .map(|it| format!("\\{it}"))
        .collect();
    let state = header::STATE + 1;
    let (token, token_end) = (header::TOKEN + 1, header::TOKEN + 16);
    let (ttl, lease) = (header::TTL + 1, header::LEASE + 1);
    let end = header::LEASE + 7;
    let in_flight = State::InFlight as u8;
    let (unknown, released) = (State::Unknown as u8, State::Released as u8);
    let completed = State::Completed as u8;
    format!(
        r"
local key = KEYS[1]
local in_flight = '\{in_flight}'
local states_known = '\{in_flight}\{unknown}\{released}\{completed}'
local versions_known = '{versions}'
local function state_of(frame) return string.sub(frame, {state}, {state}) end
local function token_of(frame) return string.sub(frame, {token}, {token_end}) end
local function foreign(reply)
  if type(reply) ~= 'table' or not reply.err then return nil end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then return {UNREADABLE} end
  return reply
end
local function read()
  local head = redis.pcall('GETRANGE', key, 0, {end})
  local problem = foreign(head)
  if problem then return nil, problem end
  if head == '' then
    if redis.call('EXISTS', key) == 1 then return nil, {UNREADABLE} end
    return nil, nil
  end
  if #head <= {end} or string.sub(head, 1, #'{magic}') ~= '{magic}' then return nil, {UNREADABLE} end
  if not string.find(versions_known, string.sub(head, {version}, {version}), 1, true) then return nil, {UNREADABLE} end
  if not string.find(states_known, state_of(head), 1, true) then return nil, {UNREADABLE} end
  return {{
    state = state_of(head),
    token = token_of(head),
    ttl = math.min(struct.unpack('>I8', head, {ttl}), {MAX_TTL}),
    lease = math.min(struct.unpack('>I8', head, {lease}), {MAX_TTL}),
  }}
end
local function look(limit)
  local length = redis.pcall('STRLEN', key)
  local problem = foreign(length)
  if problem then
    if problem == {UNREADABLE} then return {{{UNREADABLE}}} end
    return problem
  end
  if length == 0 then
    if redis.call('EXISTS', key) == 1 then return {{{UNREADABLE}}} end
    return nil
  end
  if length > limit then return {{{LARGE}}} end
  return {{{FOUND}, redis.call('PTTL', key), redis.call('GET', key)}}
end
"
    )
}

const LOOK: &str = "return look(tonumber(ARGV[1])) or {0}";

const HEAD: &str = "
local head = redis.pcall('GETRANGE', key, 0, tonumber(ARGV[1]) - 1)
local problem = foreign(head)
if problem then
  if problem == 3 then return {3} end
  return problem
end
if head == '' then
  if redis.call('EXISTS', key) == 1 then return {3} end
  return {0}
end
return {1, redis.call('PTTL', key), redis.call('STRLEN', key), head}";

const CLAIM: &str = "
local found = look(tonumber(ARGV[3]))
if found then return found end
redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
return {0}";

const REPLACE: &str = r"
local next, px, token, states = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local current, problem = read()
if problem then return problem end
if not current then
  if ARGV[5] == '0' then return 0 end
  redis.call('SET', key, next, 'PX', px)
  return 2
end
if current.token == token_of(next) and current.state == state_of(next) then
  if ARGV[7] == '1' then redis.call('PEXPIRE', key, math.max(current.ttl, 1)) end
  return 1
end
if current.token ~= token or not string.find(states, current.state, 1, true) then return 0 end
if ARGV[6] == '1' then
  local left = redis.call('PTTL', key)
  -- Without an expiry nothing is known of the lease.
  if left < 0 or left >= current.ttl - current.lease then return 0 end
end
redis.call('SET', key, next, 'PX', px)
return 1";

const RENEW: &str = r"
local current, problem = read()
if problem then return problem end
if not current or current.token ~= ARGV[1] or current.state ~= in_flight then return 0 end
redis.call('PEXPIRE', key, math.max(current.ttl, 1))
return 1";

/// What a script returns where a write did not apply.
pub(super) const STALE: i64 = 0;
/// What a script returns where a write applied, now or before.
pub(super) const APPLIED: i64 = 1;
/// What a script returns where a lost record was written anew.
pub(super) const RESTORED: i64 = 2;
/// What every script returns for a value that is no record it reads.
pub(super) const UNREADABLE: i64 = 3;

/// First element: nothing was there.
pub(super) const NOTHING: i64 = 0;
/// First element: this is there.
pub(super) const FOUND: i64 = 1;
/// First element: more is there than was asked for.
pub(super) const LARGE: i64 = 2;

/// Longest time to live that Redis is told, ms: a hundred years. Its own limit overflows.
pub(super) const MAX_TTL: i64 = 100 * 365 * 24 * 3_600_000;

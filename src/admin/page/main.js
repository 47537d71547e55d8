
// The lists are asked for anew every few seconds; never while nobody looks, while a dialog is open, or more than a small part of the time.

let timer = 0;
let refreshing = false;
let again = false;

async function refresh() {
  clearTimeout(timer);
  again = refreshing;
  if (document.hidden || $('record').open || refreshing || waitsForToken()) return;
  refreshing = true;
  const began = performance.now();
  await attempt(async () => {
    await showHealth();
    await showActivity();
    const first = $('content').hidden;
    $('token-form').hidden = true;
    $('content').hidden = false;
    if (first) followFragment();
    for (const list of LISTS) await list.refresh();
  });
  refreshing = false;
  const took = performance.now() - began;
  clearTimeout(timer);
  if (again) refresh();
  // Without the token there is nothing to ask for.
  else if (!waitsForToken()) timer = setTimeout(refresh, Math.max(EVERY, took * 20));
}

function waitsForToken() {
  return !$('token-form').hidden && token === null;
}

/** Does it, and says in the header how that went. */
async function attempt(act) {
  const fresh = $('fresh');
  try {
    await act();
    fresh.className = '';
    fresh.textContent = '';
    fresh.title = `Asked last at ${new Date().toLocaleTimeString()}`;
    lastGood = Date.now();
  } catch (error) {
    if (error.status === 401) return;
    fresh.className = 'down';
    const since = lastGood ? ` What is shown is from ${new Date(lastGood).toLocaleTimeString()}.` : '';
    fresh.textContent = `${error.message}${since}`;
  }
}

let lastGood = 0;

/** Readiness, which takes no token. */
async function showHealth() {
  let lines = [];
  try {
    const response = await fetch('/readyz?verbose', { cache: 'no-store', credentials: 'omit', signal: AbortSignal.timeout(PATIENCE) });
    lines = (await response.text()).trim().split('\n');
  } catch {
    throw new Refusal(0, { detail: 'The proxy cannot be reached.' });
  }
  const told = lines.filter((line, at) => at === 0 || /^(store: (up|down)$|upstream: )/.test(line));
  $('health').replaceChildren(...told.flatMap((line, at) => {
    const bad = /(^not ready|: down$)/.test(line);
    return [at ? ' · ' : '', make('span', bad ? 'down' : '', line)];
  }));
}

/** A link to a record is the page with its id as fragment. */
function followFragment() {
  const id = location.hash.slice(1);
  if (!$('content').hidden && /^[0-9a-f]{32}$/.test(id)) openRecord(id);
}

document.addEventListener('visibilitychange', refresh);
window.addEventListener('hashchange', followFragment);
// The ages in a dialog that stays open.
setInterval(() => retell($('record')), 10_000);
refresh();

/** Milliseconds. */
const EVERY = 4_000;

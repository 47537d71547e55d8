
// The dialog of one record. Every order names the version that is shown, so that it holds for what the person saw, or not at all.

let record = null;
let order = null;
/** The code of the refusal that the form asks a word for, which is all that this word counts for. */
let risk = null;
/** Whether an order is on its way. The dialog stays until it is known what became of it. */
let pending = false;
/** Counts what was opened, so that a late answer does not take the place of what was opened since. */
let opened = 0;

async function openRecord(id) {
  if (pending) {
    history.replaceState(null, '', `#${record.id}`);
    return;
  }
  const turn = ++opened;
  let key, fault;
  try {
    key = await ask('GET', `/v1/keys/${id}`);
  } catch (error) {
    fault = error;
  }
  if (turn !== opened || fault?.status === 401) return;
  $('order').reset();
  if (key) {
    showRecord(key);
  } else {
    record = null;
    $('record-title').textContent = 'Not to be shown';
    $('meaning').textContent = '';
    $('facts').replaceChildren();
    $('orders').replaceChildren();
    leaveOrder();
    $('notice').replaceChildren(notice('fault', fault.message));
  }
  if (!$('record').open) $('record').showModal();
  history.replaceState(null, '', `#${id}`);
}

/** Shows the record, and what of it is other than in `before`. */
function showRecord(key, before = null, ...notices) {
  record = key;
  $('record-title').textContent = requestOf(key);
  $('meaning').textContent = meaning(key);
  $('notice').replaceChildren(...notices);
  const old = before ? new Map(facts(before).map(([name, , text]) => [name, text])) : new Map();
  $('facts').replaceChildren(...facts(key).flatMap(([name, kind, text, iso]) => {
    const value = make('dd', kind, iso ? when(iso) : text);
    if (iso) value.append(` · ${iso}`);
    if (old.has(name) && old.get(name) !== text && name !== 'Kept until') value.append(make('span', 'was', `was ${old.get(name)}`));
    return [make('dt', '', name), value];
  }));
  $('orders').replaceChildren(...ORDERS_IN[key.state].map((name, at) => {
    const choose = button(at === 0 && key.state === 'unknown' ? 'primary' : '', ORDERS[name].label, () => chooseOrder(name));
    choose.id = `order-${name}`;
    return choose;
  }));
  leaveOrder();
}

function meaning(key) {
  switch (key.state) {
    case 'unknown': {
      const why = key.lapsed ? 'Whoever was at work on it was not heard of for a whole lease' : 'It was sent to the API, and its answer was lost or leaves it open';
      const end = key.expires ? absolute(key.expires) : 'its time is over';
      const duplicates = exceptionOf(key) || `Duplicates get 409 until somebody settles it, or until ${end}: then the key is new, and the next request with it runs`;
      return `${why}: it may have been carried out or not. ${duplicates}. Look into the API, by what the request would have made, and say what became of it.`;
    }
    case 'in-flight': return `Somebody is at work on it. ${observed(key) || 'Duplicates wait, or get 409'}.`;
    case 'completed': {
      const by = settledByOperator(key) ? 'An operator said that it was carried out' : key.status === null ? 'It was carried out' : `The API answered ${key.status}`;
      if (observed(key)) return `${by}. ${observed(key)}.`;
      return key.response_bytes === null
        ? `${by}; the answer is not kept, and duplicates get 409${untilEnd(key)}.`
        : `${by}${settledByOperator(key) ? ', and gave an answer' : ''}; that answer is kept and replayed${untilEnd(key)}.`;
    }
    default: return 'It may run again: the next request with this key is sent to the API.';
  }
}

function settledByOperator(key) {
  return key.error === 'resolved as executed by an operator';
}

/** What duplicates of something unknown meet, where that is not 409, as the route is configured now. */
function exceptionOf(key) {
  if (observed(key) || key.state !== 'unknown') return observed(key);
  if (key.mode === undefined) return 'Its route is gone: what duplicates meet is up to the one that takes them now';
  return { retry: 'Its route lets the next duplicate run', probe: 'Its route has the API asked by the next duplicate, which runs or not by what it says' }[key.unknown_outcome] || '';
}

function observed(key) {
  if (key.observed && key.mode !== 'observe') return 'It was only observed: no duplicate meets this record, and the next one may run';
  return { observe: 'Its route only observes: every duplicate passes to the API', off: 'Its route is off: every duplicate passes to the API' }[key.mode] || '';
}

function untilEnd(key) {
  return key.expires ? ` until ${absolute(key.expires)}; then the key is new` : '';
}

/** Name, class, text, and the time if it is one. */
function facts(key) {
  const time = (name, iso) => (iso ? [[name, '', iso, iso]] : []);
  return [
    ['State', `state-${key.state}`, key.lapsed ? `${key.state} (its lease lapsed)` : key.state],
    ['Route', '', key.route],
    ...time('First seen', key.created),
    ...time('Settled', key.settled),
    ...time('Kept until', key.expires),
    ['Attempts', '', key.in_doubt ? `${key.attempts}, of which an earlier one may have been carried out` : `${key.attempts}`],
    ['Status', '', key.status === null ? 'none' : `${key.status}`],
    ['Note', '', key.error || 'none'],
    ['Answer kept', '', key.response_bytes === null ? 'no' : bytes(key.response_bytes)],
    ['Record id', 'mono', key.id],
  ];
}

function chooseOrder(name) {
  order = name;
  const chosen = ORDERS[name];
  $('order-title').textContent = chosen.title;
  // What is not shown is not checked either.
  $('answer').hidden = $('answer').disabled = name !== 'executed';
  $('carry-out').className = chosen.grave ? 'grave' : 'primary';
  $('orders').hidden = true;
  $('order').hidden = false;
  $('refused').replaceChildren();
  tellRisk(riskOf(name, record));
  tellConsequence();
  $('order-title').focus();
  $('order').scrollIntoView({ block: 'nearest' });
}

function tellConsequence() {
  const given = $('with-answer').checked;
  $('answer-fields').hidden = $('answer-status').disabled = !given;
  $('answer-empty').hidden = !given || $('answer-body').value !== '' || $('answer-status').value === '204';
  const passes = observed(record);
  $('consequence').textContent = `${ORDERS[order].means(record)}${passes && ` ${passes}, whatever is said here.`}`;
}

/** Asks for a word on what may go wrong; `code` is that of the refusal which says so, if one does. */
function tellRisk(text, code = null) {
  risk = code;
  $('carry-out').textContent = code === null ? ORDERS[order].act : `${ORDERS[order].act} by force`;
  $('force').checked = false;
  $('force').required = text !== null;
  $('force-field').hidden = text === null;
  $('force-risk').textContent = text ?? '';
}

function leaveOrder() {
  order = null;
  $('order').hidden = true;
  $('orders').hidden = false;
}

async function carryOut() {
  if (pending) return;
  const [name, before] = [order, record];
  const body = { reason: $('reason').value.trim(), version: before.version };
  if (risk !== null) body.force = risk;
  $('refused').replaceChildren();
  let request;
  try {
    request = ORDERS[name].send(before.id, body);
  } catch (error) {
    $('refused').replaceChildren(notice('fault', `Not sent: ${error.message}.`));
    return;
  }
  holdOpen(true);
  try {
    const now = await ask(...request);
    $('order').reset();
    showRecord(now, null, notice('good', `Done: it is ${now.state}. ${ORDERS[name].done(now)}`));
    $('notice').focus();
  } catch (error) {
    if (error.status === 401) $('token-fault').textContent = 'That is not the token: nothing was done.';
    else await tellRefusal(error);
  } finally {
    holdOpen(false);
    if (!$('order').hidden) $(risk ? 'force' : 'carry-out').focus();
  }
}

/** While an order is on its way nothing else can be chosen, and nothing that is opened takes the place of the record. */
function holdOpen(held) {
  pending = held;
  opened += 1;
  for (const id of ['carry-out', 'back', 'close']) $(id).disabled = held;
  $('pending').textContent = held ? 'Sent. What becomes of it is told here.' : '';
}

async function tellRefusal(error) {
  const { status, code } = error;
  const doubtful = status === 0 || status >= 500;
  if (!doubtful && status !== 404 && status !== 412 && code !== 'RECORD_CHANGED') {
    const told = error.message.replace('; `force` overrides that', '');
    $('refused').replaceChildren(notice('fault', `Not done: ${told}.`));
    if (code in RISKS) tellRisk(RISKS[code], code);
    else tellRisk(riskOf(order, record));
    $('refused').scrollIntoView({ block: 'nearest' });
    return;
  }
  const before = record;
  let now;
  try {
    now = await ask('GET', `/v1/keys/${before.id}`);
  } catch (failed) {
    const told = failed.status === 404
      ? 'The record is gone: its retention is over.'
      : `${error.message} ${doubtful ? 'Whether it was done is not known' : 'Nothing was done'}, and how the record is now cannot be seen.`;
    $('refused').replaceChildren(notice('fault', told));
    if (failed.status === 401) $('token-fault').textContent += ` ${told}`;
    return;
  }
  const same = now.version === before.version;
  const told = doubtful
    ? `${error.message} Whether it was done was not said. ${same ? 'The record is as it was.' : 'The record is another now, as shown below.'}`
    : 'It changed meanwhile, and nothing was done. This is how it is now; what you wrote is kept.';
  showRecord(now, before, notice('warning', told));
  $('notice').focus();
}

$('order').addEventListener('submit', (event) => {
  event.preventDefault();
  carryOut();
});
$('answer').addEventListener('input', tellConsequence);
$('back').addEventListener('click', () => {
  const from = order;
  leaveOrder();
  $(`order-${from}`)?.focus();
});
$('close').addEventListener('click', () => $('record').close());
$('record').addEventListener('cancel', (event) => {
  if (pending) event.preventDefault();
});
$('record').addEventListener('close', () => {
  // Browsers let nobody be held by one that cancels twice.
  if (pending) {
    $('record').showModal();
    return;
  }
  const id = record?.id;
  record = null;
  opened += 1;
  $('order').reset();
  history.replaceState(null, '', location.pathname);
  if (id) document.querySelector(`[data-focus="${id}"]`)?.focus();
  refresh();
});

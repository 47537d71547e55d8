
// The dialog of one record. Every order names the version that is shown, so that it holds for what the person saw, or not at all.

let record = null;
let order = null;

async function openRecord(id) {
  try {
    showRecord(await ask('GET', `/v1/keys/${id}`));
  } catch (error) {
    if (error.status === 401) return;
    record = null;
    $('record-title').textContent = 'Not to be shown';
    $('meaning').textContent = '';
    $('facts').replaceChildren();
    $('orders').replaceChildren();
    leaveOrder();
    $('notice').replaceChildren(notice('fault', error.message));
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
      const why = key.lapsed ? 'Whoever was at work on it was not heard of for a whole lease' : 'It reached the API and no answer came back';
      return `${why}: it may have been carried out or not. Duplicates get 409. Look into the API, by what the request would have made, and say what became of it.`;
    }
    case 'in-flight': return 'Somebody is at work on it. Duplicates wait, or get 409.';
    case 'completed': return key.response_bytes === null
      ? 'It was carried out, and its answer is not kept. Duplicates get 409.'
      : 'It was carried out. Duplicates get the stored answer.';
    default: return 'It may run again: the next request with this key is sent to the API.';
  }
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
  $('with-answer').checked = true;
  $('carry-out').className = chosen.grave ? 'grave' : 'primary';
  $('orders').hidden = true;
  $('order').hidden = false;
  $('refused').replaceChildren();
  tellForce(null);
  tellConsequence();
  $('order-title').focus();
  $('order').scrollIntoView({ block: 'nearest' });
}

function tellConsequence() {
  $('answer-fields').hidden = $('answer-status').disabled = !$('with-answer').checked;
  $('consequence').textContent = ORDERS[order].means();
}

function tellForce(code) {
  $('carry-out').textContent = code === null ? ORDERS[order].act : `${ORDERS[order].act} by force`;
  $('force').checked = false;
  $('force').required = code !== null;
  $('force-field').hidden = code === null;
  $('force-risk').textContent = code === null ? '' : RISKS[code];
}

function leaveOrder() {
  order = null;
  $('order').hidden = true;
  $('orders').hidden = false;
}

async function carryOut() {
  const body = { reason: $('reason').value.trim(), version: record.version };
  if ($('force').checked) body.force = true;
  $('refused').replaceChildren();
  $('carry-out').disabled = true;
  const [name, before] = [order, record];
  try {
    const now = await ask(...ORDERS[name].send(record.id, body));
    if (record !== before) return;
    $('reason').value = '';
    showRecord(now, null, notice('good', `Done: it is ${now.state}. ${ORDERS[name].done(now)}`));
    $('notice').focus();
  } catch (error) {
    if (record === before && error.status !== 401) await tellRefusal(error);
  } finally {
    $('carry-out').disabled = false;
  }
}

async function tellRefusal(error) {
  const { status, code } = error;
  const doubtful = status === 0 || status >= 500;
  if (!doubtful && status !== 404 && status !== 412 && code !== 'RECORD_CHANGED') {
    const told = error.message.replace('; `force` overrides that', '');
    $('refused').replaceChildren(notice('fault', `Not done: ${told}.`));
    tellForce(yieldsToForce(code) ? code : null);
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
    return;
  }
  if (record !== before) return;
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
$('with-answer').addEventListener('change', tellConsequence);
$('back').addEventListener('click', () => {
  const from = order;
  leaveOrder();
  $(`order-${from}`)?.focus();
});
$('close').addEventListener('click', () => $('record').close());
$('record').addEventListener('close', () => {
  const id = record?.id;
  record = null;
  $('reason').value = '';
  $('answer-body').value = '';
  history.replaceState(null, '', location.pathname);
  if (id) document.querySelector(`[data-focus="${id}"]`)?.focus();
  refresh();
});

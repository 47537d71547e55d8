
// What a person can order, and what follows from it, in plain words.

const AGAIN = (key) => (key.state === 'completed' ? twice(key) : 'If it was carried out after all, it is carried out twice.');
const ORDERS = {
  executed: {
    label: 'It was carried out…', act: 'Resolve as executed', grave: false,
    title: 'You say that it was carried out',
    means: () => `It does not run again as long as the record is kept; until when, is told once it is done. ${$('with-answer').checked
      ? 'Duplicates get the answer below, as a replay of the API\'s own: give what the API answered, or would have.'
      : 'Duplicates get 409 response-not-stored: they learn that it was carried out, and not what came of it.'}`,
    send: (id, body) => ['POST', `/v1/keys/${id}/resolve`, { ...body, executed: true, ...($('with-answer').checked && { response: givenAnswer() }) }],
    done: (key) => `${key.response_bytes === null ? 'Duplicates get 409 response-not-stored' : 'Duplicates get your answer'}${untilEnd(key)}.`,
  },
  notExecuted: {
    label: 'It was not carried out…', act: 'Resolve as not executed', grave: true,
    title: 'You say that it was not carried out, by none of its attempts',
    means: (key) => `The key is free: the next duplicate is sent to the API and runs. ${AGAIN(key)}`,
    send: (id, body) => ['POST', `/v1/keys/${id}/resolve`, { ...body, executed: false }],
    done: () => 'The next duplicate runs.',
  },
  release: {
    label: 'Release…', act: 'Release', grave: true,
    title: 'Release the key, whatever became of the request',
    means: (key) => `The next duplicate is sent to the API and runs. ${AGAIN(key)}`,
    send: (id, body) => ['POST', `/v1/keys/${id}/release`, body],
    done: () => 'The next duplicate runs.',
  },
  remove: {
    label: 'Delete…', act: 'Delete', grave: true,
    title: 'Forget the request',
    means: (key) => `Its path, fingerprint, credentials and stored answer are forgotten, and the key may be used for anything: the next request with it runs. ${AGAIN(key)}`,
    send: (id, body) => ['DELETE', `/v1/keys/${id}`, body],
    done: () => 'The next request with this key runs.',
  },
};

/** The orders that make sense in a state. */
const ORDERS_IN = {
  unknown: ['executed', 'notExecuted', 'release', 'remove'],
  'in-flight': ['executed', 'notExecuted', 'release', 'remove'],
  completed: ['executed', 'notExecuted', 'release', 'remove'],
  released: ['executed', 'remove'],
};

/** What goes wrong at worst where an order is forced, by the code of its refusal. */
const RISKS = {
  LEASE_LIVE: 'If you go on, the request may run twice, or have an outcome other than the one you give. Waiting for its end is safe.',
  STORE_UNWATCHED: 'The store was away, and whoever is at work on it may have been unable to say so. If you go on now, the request may run twice. Waiting for one lease is safe.',
  ALREADY_COMPLETED: 'It is completed, and duplicates get what is stored. If you go on, that is written over; a freed key lets the request run a second time.',
  SETTLED_AS_RELEASED: 'It is released already: it may have been sent again since, or be sent at any moment. If you go on, it cannot run any more.',
};

/** What it takes a word for though the API takes none. */
function riskOf(name, key) {
  return name === 'remove' && key.state === 'completed' ? twice(key) : null;
}

function twice(key) {
  const done = key.status >= 400 && !settledByOperator(key) ? `It is settled: the API answered ${key.status}` : 'It was carried out';
  return `${done}; the next request with this key runs it again.`;
}

/** The answer that is written in the form. */
function givenAnswer() {
  const headers = {};
  for (const line of $('answer-headers').value.split('\n').filter((text) => text.trim())) {
    const colon = line.indexOf(':');
    if (colon < 1) throw new Error(`Headers: expected "name: value", found "${line.trim()}"`);
    const name = line.slice(0, colon).trim().toLowerCase();
    headers[name] = [...(headers[name] || []), line.slice(colon + 1).trim()];
  }
  const body = $('answer-body').value;
  return { status: Number($('answer-status').value), headers, ...(body && { [$('answer-form').value]: body }) };
}

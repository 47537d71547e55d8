
// What a person can order, and what follows from it, in plain words.

const AGAIN = 'If it was carried out after all, it is carried out twice.';
const ORDERS = {
  executed: {
    label: 'It was carried out…', act: 'Resolve as executed', grave: false,
    title: 'You say that it was carried out',
    means: () => ($('with-answer').checked
      ? 'It will not run again. Duplicates get the answer below, as a replay, until its retention is over.'
      : 'It will not run again. Duplicates get 409 response-not-stored: they learn that it was carried out, and not what came of it.'),
    send: (id, body) => ['POST', `/v1/keys/${id}/resolve`, { ...body, executed: true, ...($('with-answer').checked && { response: givenAnswer() }) }],
    done: (key) => (key.response_bytes === null ? 'Duplicates get 409 response-not-stored.' : 'Duplicates get your answer.'),
  },
  notExecuted: {
    label: 'It was not carried out…', act: 'Resolve as not executed', grave: true,
    title: 'You say that it was not carried out, by none of its attempts',
    means: () => `The key is free: the next duplicate is sent to the API and runs. ${AGAIN}`,
    send: (id, body) => ['POST', `/v1/keys/${id}/resolve`, { ...body, executed: false }],
    done: () => 'The next duplicate runs.',
  },
  release: {
    label: 'Release…', act: 'Release', grave: true,
    title: 'Release the key, whatever became of the request',
    means: () => `The next duplicate is sent to the API and runs. ${AGAIN}`,
    send: (id, body) => ['POST', `/v1/keys/${id}/release`, body],
    done: () => 'The next duplicate runs.',
  },
  remove: {
    label: 'Delete…', act: 'Delete', grave: true,
    title: 'Forget the request',
    means: () => `Its path, fingerprint, credentials and stored answer are forgotten, and the key may be used for anything: the next request with it runs. ${AGAIN}`,
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

/** Whether the same order with force would be carried out. */
function yieldsToForce(code) {
  return code in RISKS;
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

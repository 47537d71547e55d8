
/** In memory, and nowhere else: what is kept for a session is written to disk by browsers that restore one. */
let token = null;

/** An answer that is no success; or none at all, with status 0. */
class Refusal extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `status ${status}`);
    this.status = status;
    this.code = document.code || '';
  }
}

/** Asks the API. A `body` is sent as JSON. */
async function ask(method, path, body) {
  const [headers, used] = [{}, token];
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response, document;
  try {
    response = await fetch(path, {
      method, headers, cache: 'no-store', credentials: 'omit', redirect: 'error',
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE),
    });
    heedClock(response.headers.get('Date'));
    document = await response.json();
  } catch (error) {
    if (response && !response.ok) throw new Refusal(response.status, {});
    throw new Refusal(0, { detail: error.name === 'TimeoutError' ? 'No answer in time.' : 'The proxy cannot be reached.' });
  }
  if (response.ok) return document;
  // One that was asked under a token that is no longer held says nothing of the present one.
  if (response.status === 401 && used === token) askForToken();
  throw new Refusal(response.status, document);
}

function askForToken() {
  const fault = $('token-fault');
  fault.hidden = token === null;
  fault.textContent = 'That is not the token.';
  token = null;
  if ($('record').open) $('record').close();
  $('content').hidden = true;
  $('token-form').hidden = false;
  $('token').focus();
}

$('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  // What cannot stand in a header is no token, and would be told as a broken line.
  token = $('token').value.trim().replace(/[^\x21-\x7e]/g, '?');
  $('token').value = '';
  refresh();
});

/** Milliseconds; a store may take its time. */
const PATIENCE = 30_000;

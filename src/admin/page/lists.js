
/** A table of records, a page of which is shown. */
class List {
  /** In the section of this id; `query` says what to ask for, or null for nothing. */
  constructor(id, columns, empty, query) {
    this.section = $(id);
    this.place = this.section.querySelector('.list');
    this.columns = columns;
    this.empty = empty;
    this.query = query;
    this.cursors = [];
    this.shown = '';
    /** Counts what was asked for, so that a late answer does not take the place of a later one. */
    this.turn = 0;
  }

  /** From the first page on. */
  restart() {
    this.cursors = [];
    return this.refresh();
  }

  async refresh() {
    const query = this.query();
    if (query === null) return;
    const cursor = this.cursors.at(-1);
    const turn = ++this.turn;
    let page;
    try {
      page = await fetchPage({ ...query, limit: ROWS, ...(cursor && { cursor }) });
    } catch (error) {
      // A later look of the same kind may fail in the same way, and who asked first is to hear of it.
      if (turn === this.turn || query === this.query()) throw error;
    }
    if (turn !== this.turn) return;
    // The records of a later page may all be gone by now.
    if (cursor && page.keys.length === 0 && !page.cursor) return this.restart();
    this.show(page);
  }

  show({ keys, cursor, unreadable }) {
    const before = this.cursors.length * ROWS;
    this.section.querySelector('.count').textContent = cursor ? `${before + keys.length}+` : `${before + keys.length}`;
    this.section.classList.toggle('some', before + keys.length > 0);
    // Pages come by id. What fits on one is shown newest first.
    if (!cursor && before === 0) keys.sort((a, b) => (b.created || '').localeCompare(a.created || ''));
    const now = JSON.stringify([keys, cursor, unreadable, before]);
    if (now === this.shown) return retell(this.place);
    this.shown = now;
    const focused = this.place.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    const none = () => (cursor ? notice('warning', 'None was found so far, and not all records were looked at: go on by Next.') : make('p', 'empty', this.empty));
    const parts = [keys.length ? this.table(keys) : none()];
    if (unreadable) parts.push(notice('warning', `${unreadable} records cannot be read by this version, and are not shown.`));
    if (cursor || before) parts.push(this.pager(before, keys.length, cursor));
    this.place.replaceChildren(...parts);
    if (focused) this.place.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  table(keys) {
    const head = make('tr', '', ...this.columns.map((name) => {
      const cell = make('th', `${name} ${NUMBERS.includes(name) ? 'number' : ''}`, COLUMNS[name].head);
      cell.scope = 'col';
      return cell;
    }));
    const widths = make('colgroup', '', ...this.columns.map((name) => make('col', `c-${name}`)));
    const rows = keys.map((key) => make('tr', '', ...this.columns.map((name) =>
      make('td', `${name} ${NUMBERS.includes(name) ? 'number' : ''}`, ...COLUMNS[name].cell(key)))));
    const table = make('table', '', widths, make('thead', '', head), make('tbody', '', ...rows));
    table.setAttribute('aria-labelledby', this.section.getAttribute('aria-labelledby'));
    return table;
  }

  pager(before, count, cursor) {
    const turn = (step) => () => {
      step();
      attempt(() => this.refresh());
    };
    const previous = button('', 'Previous', turn(() => this.cursors.pop()));
    const next = button('', 'Next', turn(() => this.cursors.push(cursor)));
    previous.disabled = before === 0;
    next.disabled = !cursor;
    previous.dataset.focus = 'previous';
    next.dataset.focus = 'next';
    return make('div', 'pager', previous, next, `${before + 1} to ${before + count}, by id`);
  }
}

const COLUMNS = {
  request: { head: 'Request', cell: (key) => [opener(key), ...[key.error, exceptionOf(key)].filter(Boolean).map(noteOf)] },
  route: { head: 'Route', cell: (key) => [key.route] },
  state: { head: 'State', cell: (key) => [make('span', `state-${key.state}`, key.state)] },
  seen: { head: 'First seen', cell: (key) => (key.created ? [when(key.created)] : []) },
  until: { head: 'Ends', cell: (key) => (key.expires ? [when(key.expires)] : []) },
  tries: { head: 'Tries', cell: (key) => [`${key.attempts}`] },
  status: { head: 'Status', cell: (key) => [key.status === null ? '–' : `${key.status}`] },
  id: { head: 'Id', cell: (key) => [key.id.slice(0, 8)] },
};
const NUMBERS = ['tries', 'status'];
const ROWS = 25;

function opener(key) {
  const open = button('open', requestOf(key), () => openRecord(key.id));
  open.title = key.path;
  open.dataset.focus = key.id;
  return open;
}

function noteOf(text) {
  const note = make('span', 'note', text);
  note.title = text;
  return note;
}

function requestOf(key) {
  return `${key.method} ${key.path || '(forgotten)'}`;
}

/** A page of the listing. What is written like a record id may be one, or a key. */
async function fetchPage({ text, ...query }) {
  const id = /^[0-9a-f]{32}$/i.test(text || '') && !query.cursor ? await ask('GET', `/v1/keys/${text}`).catch(goneIsNull) : null;
  if (text) query.key = text;
  const began = performance.now();
  const page = await ask('GET', `/v1/keys?${new URLSearchParams(query)}`);
  // The API looks for a short while at a time: a page that is not full says nothing of what is left.
  while (page.cursor && page.keys.length < query.limit && performance.now() - began < PATIENCE) {
    const more = await ask('GET', `/v1/keys?${new URLSearchParams({ ...query, limit: query.limit - page.keys.length, cursor: page.cursor })}`);
    page.keys.push(...more.keys);
    page.cursor = more.cursor;
    page.unreadable = (page.unreadable || 0) + (more.unreadable || 0) || undefined;
  }
  const fits = id && (!query.state || id.state === query.state) && (!query.route || id.route === query.route);
  if (fits && !page.keys.some((key) => key.id === id.id)) page.keys.unshift(id);
  return page;
}

function goneIsNull(error) {
  if (error.status === 404) return null;
  throw error;
}

let sought = null;
const LISTS = [
  new List('unknown', ['request', 'route', 'seen', 'until', 'tries', 'status', 'id'], 'Nothing is unknown: nobody is needed.', () => ({ state: 'unknown' })),
  new List('running', ['request', 'route', 'seen', 'tries', 'id'], 'Nothing is running.', () => ({ state: 'in-flight' })),
  new List('found', ['request', 'route', 'state', 'seen', 'tries', 'status', 'id'], 'There is no such record.', () => sought),
];

$('search').addEventListener('submit', (event) => {
  event.preventDefault();
  sought = {};
  for (const name of ['text', 'state', 'route']) {
    const value = $(name).value.trim();
    if (value) sought[name] = value;
  }
  const list = LISTS[2];
  list.restart().catch((error) => {
    if (error.status === 400) sought = null;
    list.shown = '';
    list.place.replaceChildren(notice('fault', error.message));
  });
});
$('state').addEventListener('change', () => $('search').requestSubmit());

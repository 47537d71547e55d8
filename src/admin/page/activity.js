
const KINDS = {
  executed: ['executed', 'sent to the API and done'],
  replayed: ['replayed', 'duplicates that got the stored answer'],
  refused: ['refused', 'answered with an error, and not sent'],
  released: ['released', 'not carried out: the key may be used again'],
  unknown: ['unknown', 'sent, and the answer was lost or leaves it open'],
  without_guarantee: ['without guarantee', 'sent without a claim, since the store was away: may run twice'],
};

async function showActivity() {
  const { in_flight: running, minutes } = await ask('GET', '/v1/activity');
  $('span').textContent = minutes.length < 60 ? `since its start, ${minutes.length} min` : 'last hour';
  const kinds = Object.keys(KINDS);
  const sum = (kind) => minutes.reduce((total, minute) => total + minute[kind], 0);
  $('tiles').tBodies[0].replaceChildren(
    tile(null, 'running now', running, 'sent, and not answered yet'),
    ...kinds.map((kind) => tile(kind, KINDS[kind][0], sum(kind), KINDS[kind][1])),
  );
  const heights = minutes.map((minute) => kinds.reduce((total, kind) => total + minute[kind], 0));
  const peak = Math.max(...heights, 0);
  $('peak').textContent = peak ? `at most ${peak.toLocaleString('en')} a minute` : 'nothing yet';
  const svg = draw('svg', { viewBox: '0 0 600 100', preserveAspectRatio: 'none', role: 'img' });
  svg.setAttribute('aria-label', `By the minute: ${kinds.map((kind) => `${sum(kind)} ${KINDS[kind][0]}`).join(', ')}; at most ${peak} a minute`);
  minutes.forEach((minute, at) => {
    svg.append(bar(minute, (60 - minutes.length + at) * 10, peak));
  });
  $('plot').replaceChildren(svg);
  $('by-minute').replaceChildren(tableOf(minutes.filter((_, at) => heights[at])));
}

function tile(kind, name, count, meaning) {
  const head = make('th', '', kind && make('span', `swatch ${kind}`), name);
  head.scope = 'row';
  return make('tr', count ? '' : 'none', make('td', 'many', count.toLocaleString('en')), head, make('td', 'means', meaning));
}

function bar(minute, x, peak) {
  const title = draw('title', {});
  title.textContent = `${clockOf(minute)}: ${Object.keys(KINDS).map((kind) => `${minute[kind]} ${KINDS[kind][0]}`).join(', ')}`;
  const group = draw('g', {}, title, draw('rect', { class: 'minute', x, y: 0, width: 10, height: 100 }));
  let y = 100;
  for (const kind of Object.keys(KINDS)) {
    if (!minute[kind]) continue;
    const height = Math.max(1.5, (minute[kind] / peak) * 96);
    y -= height;
    group.append(draw('rect', { class: kind, x: x + 1, y: Math.max(0, y), width: 8, height }));
  }
  return group;
}

/** The drawing for who cannot see it. */
function tableOf(minutes) {
  const head = make('tr', '', ...['minute', ...Object.values(KINDS).map(([name]) => name)].map((name) => make('th', '', name)));
  const rows = minutes.map((minute) => make('tr', '', make('th', '', clockOf(minute)), ...Object.keys(KINDS).map((kind) => make('td', '', `${minute[kind]}`))));
  return make('table', '', make('caption', '', 'By the minute, where there was any'), make('thead', '', head), make('tbody', '', ...rows));
}

function clockOf(minute) {
  return new Date(minute.start).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}


const KINDS = ['executed', 'replayed', 'refused', 'released', 'unknown'];
const KIND_MEANS = {
  executed: 'sent to the API, and the answer kept',
  replayed: 'answered from the store',
  refused: 'answered with an error, and not sent',
  released: 'not carried out: the key may be used again',
  unknown: 'no answer came back, now or to an earlier one: nobody knows what became of it',
};

async function showActivity() {
  const { in_flight: running, minutes } = await ask('GET', '/v1/activity');
  $('span').textContent = minutes.length < 60 ? `since its start, ${minutes.length} min` : 'last hour';
  const sum = (kind) => minutes.reduce((total, minute) => total + minute[kind], 0);
  $('tiles').replaceChildren(
    tile('running now', running, null),
    ...KINDS.map((kind) => tile(kind, sum(kind), kind)),
  );
  const heights = minutes.map((minute) => KINDS.reduce((total, kind) => total + minute[kind], 0));
  const peak = Math.max(...heights, 0);
  $('peak').textContent = peak ? `at most ${peak.toLocaleString('en')} a minute` : 'nothing yet';
  $('plot-from').textContent = '60 min ago';
  const svg = draw('svg', { viewBox: '0 0 600 64', preserveAspectRatio: 'none', role: 'img' });
  svg.setAttribute('aria-label', `By the minute: ${KINDS.map((kind) => `${sum(kind)} ${kind}`).join(', ')}; at most ${peak} a minute`);
  minutes.forEach((minute, at) => {
    svg.append(bar(minute, (60 - minutes.length + at) * 10, peak));
  });
  $('plot').replaceChildren(svg);
}

function tile(name, count, kind) {
  const label = make('dt', '', kind && make('span', `swatch ${kind}`), name);
  if (kind) label.title = KIND_MEANS[kind];
  return make('div', '', label, make('dd', '', count.toLocaleString('en')));
}

function bar(minute, x, peak) {
  const title = draw('title', {});
  const time = new Date(minute.start).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  title.textContent = `${time}: ${KINDS.map((kind) => `${minute[kind]} ${kind}`).join(', ')}`;
  const group = draw('g', {}, title, draw('rect', { class: 'minute', x, y: 0, width: 10, height: 64 }));
  let y = 64;
  for (const kind of KINDS) {
    if (!minute[kind]) continue;
    const height = Math.max(1, (minute[kind] / peak) * 60);
    y -= height;
    group.append(draw('rect', { class: kind, x: x + 1, y: Math.max(0, y), width: 8, height }));
  }
  return group;
}

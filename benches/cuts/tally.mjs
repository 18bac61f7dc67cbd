// What became of the messages: the figures of a run, over all of its pages or some of them.
import { isCounted } from './pusher.mjs';

/** The serials that each uid had to get. */
function wantedBy(uids, messages) {
  const wanted = new Map();
  for (const uid of uids) wanted.set(uid, new Set());
  for (const [serial, message] of messages.entries()) {
    if (!isCounted(message)) continue;
    // These pages may be only some: of the others' uids nothing is wanted here.
    for (const uid of message.to === '' ? uids : [message.to]) wanted.get(uid)?.add(serial);
  }
  return wanted;
}

function isStray(page, message) {
  return message === undefined || (message.to !== '' && message.to !== page.uid);
}

/** One page's arrivals. What was never answered may have come or not: it is not looked at. */
function tallyPage(page, wanted, messages) {
  const tally = { arrived: 0, strays: 0, disorder: 0, delays: [] };
  const had = new Set();
  let newest = -1;
  for (const [n, serial] of page.serials.entries()) {
    if (isStray(page, messages[serial])) tally.strays += 1;
    if (!wanted.has(serial)) continue;
    tally.arrived += 1;
    if (had.has(serial)) continue;
    had.add(serial);
    tally.delays.push(page.times[n] - messages[serial].sent);
    if (serial < newest) tally.disorder += 1;
    newest = Math.max(newest, serial);
  }
  return { ...tally, expected: wanted.size, delivered: had.size };
}

export function figures(pages, messages) {
  const wanted = wantedBy(new Set(pages.map((page) => page.uid)), messages);
  const tallies = pages.map((page) => tallyPage(page, wanted.get(page.uid), messages));
  const sum = (field) => tallies.reduce((total, tally) => total + tally[field], 0);
  const [expected, delivered] = [sum('expected'), sum('delivered')];
  const took = messages.filter(isCounted).map((message) => message.took);
  const ofPages = (count) => pages.reduce((total, page) => total + count(page), 0);
  return {
    expected,
    lost: expected - delivered,
    delivered: (100 * delivered) / expected,
    duplicates: (100 * (sum('arrived') - delivered)) / expected,
    disorder: sum('disorder'),
    strays: sum('strays'),
    arrivalP99: percentile(tallies.flatMap((tally) => tally.delays), 99),
    pushP50: percentile(took, 50),
    pushP99: percentile(took, 99),
    reconnects: ofPages((page) => Math.max(0, page.connects - 1)),
    logins: ofPages((page) => page.logins),
    unrecovered: ofPages((page) => page.unrecovered),
  };
}

export function percentile(values, percent) {
  if (values.length === 0) return NaN;
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)];
}

// What arrives at pages whose connections are cut, with the released Socket.IO clients. Pages log in,
// each by its own path to the server; while pushes go on, each path is cut at a random time every 4 to
// 8 s and lets nothing through for 2 s. Then: which messages came, how often, and in which order?
//
//   node benches/cuts.mjs [--quick] [--check]
//     [--to uids|everyone]       180 pushes/s, each to one uid, or 4/s to everyone
//     [--login plain|since]      `login` with the uid, or with { uid, since } and an ack
//     [--versions 1.7.4,2.5.0,3.1.3,4] [--mixed]    a run each, or all of them in one run
//     [--transport default|polling|websocket] [--reconnect-ms MS]
//     [--cut proxy|reset|client] the network's end of both sides, the same with a reset for the
//                                server, or the page's own socket's end, without a proxy
//     [--pages 100] [--tabs 1] [--seconds 20] [--set KEY=VALUE]…
//     [--restart [--cuts]]       the server is restarted meanwhile, and nothing is cut unless asked
//
// Without --to, --login, --tabs, --mixed and --restart: each version, both targets, both logins.
// --quick: what CI runs, in at most 2.5 minutes. --check: exit code 1 when a limit is missed; the
// limits are in limitsOf(). Several tabs that log in the plain way are only told, not held to them.
import { parseArgs } from 'node:util';
import { transports } from './cuts/page.mjs';
import { CUTS } from './cuts/paths.mjs';
import { targets } from './cuts/pusher.mjs';
import { run } from './cuts/run.mjs';
import { figures } from './cuts/tally.mjs';

const VERSIONS = ['1.7.4', '2.5.0', '3.1.3', '4.x'];
const LOGINS = ['plain', 'since'];

const { values: options } = parseArgs({
  options: {
    to: { type: 'string' },
    login: { type: 'string' },
    versions: { type: 'string', default: VERSIONS.join(',') },
    mixed: { type: 'boolean', default: false },
    transport: { type: 'string', default: 'default' },
    cut: { type: 'string' },
    pages: { type: 'string' },
    tabs: { type: 'string' },
    seconds: { type: 'string' },
    'reconnect-ms': { type: 'string' },
    set: { type: 'string', multiple: true, default: [] },
    restart: { type: 'boolean', default: false },
    cuts: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});

function oneOf(name, value, known) {
  if (!known.includes(value)) throw new Error(`--${name} ${value}: expected one of ${known.join(', ')}`);
  return value;
}

function positive(name, value) {
  const number = Number(value);
  if (!(number > 0)) throw new Error(`--${name} ${value}: expected a number above zero`);
  return number;
}

function versions() {
  return options.versions.split(',').map((version) => oneOf('versions', version === '4' ? '4.x' : version, VERSIONS));
}

/** With a restart the pages' connections stay whole, and are direct, unless --cuts. */
function cutOf(restarts) {
  if (options.cut !== undefined) oneOf('cut', options.cut, Object.keys(CUTS));
  if (restarts && !options.cuts) return 'none';
  return options.cut ?? (restarts ? 'client' : 'proxy');
}

/** A run's whole plan; `asked` is what is particular to it, and the command line may say it otherwise. */
function planned(asked) {
  return {
    transport: oneOf('transport', options.transport, transports),
    reconnectMs: options['reconnect-ms'] === undefined ? undefined : positive('reconnect-ms', options['reconnect-ms']),
    set: options.set,
    to: 'uids',
    login: 'plain',
    restart: false,
    cut: cutOf(Boolean(asked.restart)),
    ...asked,
    pages: Math.ceil(positive('pages', options.pages ?? asked.pages ?? 100)),
    tabs: Math.ceil(positive('tabs', options.tabs ?? asked.tabs ?? 1)),
    seconds: positive('seconds', options.seconds ?? asked.seconds ?? 20),
  };
}

function quickPlans() {
  const all = { versions: versions(), seconds: 15 };
  return [
    planned({ ...all, login: 'plain', to: 'uids' }),
    planned({ ...all, login: 'plain', to: 'everyone' }),
    planned({ ...all, login: 'since', to: 'uids' }),
    planned({ ...all, login: 'since', to: 'everyone', tabs: 3 }),
    planned({ ...all, login: 'plain', to: 'uids', restart: true, pages: 200 }),
  ];
}

function askedPlans() {
  const modes = ['to', 'login', 'tabs', 'mixed', 'restart'];
  const whole = modes.every((mode) => !options[mode]);
  const logins = whole ? LOGINS : [oneOf('login', options.login ?? 'plain', LOGINS)];
  const tos = whole ? targets : [oneOf('to', options.to ?? 'uids', targets)];
  const groups = options.mixed ? [versions()] : versions().map((version) => [version]);
  const plans = logins.flatMap((login) => tos.flatMap((to) => groups.map((group) => ({ login, to, versions: group }))));
  return plans.map((plan) => planned({ ...plan, restart: options.restart }));
}

/** What is held of a run: [figure, what it is called, the least or most it may be]. */
function limitsOf({ login, tabs }) {
  if (login === 'since') {
    return [['delivered', '% delivered', { least: 100 }], ['duplicates', '% duplicates', { most: 0 }], ['disorder', 'out of order', { most: 0 }]];
  }
  if (tabs > 1) return [];
  return [['delivered', '% delivered', { least: 99.95 }], ['duplicates', '% duplicates', { most: 5 }], ['disorder', 'out of order', { most: 0 }]];
}

const COLUMNS = [
  ['version', 8], ['transport', 10], ['login', 6], ['to', 9], ['cut', 15], ['tabs', 5], ['expected', 9], ['delivered', 11],
  ['duplicates', 11], ['disorder', 9], ['reconnects', 11], ['logins', 7], ['unrecov.', 9], ['push p50/p99', 15], ['arrival p99', 12],
];

function line(cells) {
  console.log(COLUMNS.map(([, width], n) => String(cells[n]).padEnd(width)).join(' ').trimEnd());
}

/** Never rounded up to what it is not. */
function percent(value) {
  return `${(Math.floor(value * 1000) / 1000).toFixed(3)} %`;
}

function cutName({ cut, restart }) {
  if (!restart) return cut;
  return cut === 'none' ? 'restart' : `restart+${cut}`;
}

function tell(name, plan, found) {
  line([
    name, plan.transport, plan.login, plan.to, cutName(plan), plan.tabs, found.expected, percent(found.delivered), percent(found.duplicates),
    found.disorder, found.reconnects, found.logins, plan.login === 'since' ? found.unrecovered : '-',
    `${found.pushP50.toFixed(1)}/${found.pushP99.toFixed(1)} ms`, `${(found.arrivalP99 / 1000).toFixed(3)} s`,
  ]);
}

function tellRestart({ restart, pages, unanswered }) {
  const back = Number.isFinite(restart.backMs)
    ? `all ${pages.length} pages logged in again ${(restart.backMs / 1000).toFixed(2)} s after the new process listened`
    : `only ${restart.back} of ${pages.length} pages logged in again`;
  console.log(`  restart: ended ${restart.stopMs.toFixed(0)} ms after SIGTERM, listened ${restart.downMs.toFixed(0)} ms later; `
    + `${back}; ${unanswered} pushes without an answer meanwhile`);
}

/** Prints each limit by its figure; says whether all are kept. */
function kept(plan, found) {
  let all = true;
  for (const [figure, what, { least, most }] of limitsOf(plan)) {
    const fine = least === undefined ? found[figure] <= most : found[figure] >= least;
    const shown = what.startsWith('%') ? percent(found[figure]) : `${found[figure]}`;
    console.log(`  ${fine ? 'ok    ' : 'MISSED'} ${what.replace('% ', '')}: ${shown} (at ${least === undefined ? `most ${most}` : `least ${least}`})`);
    all &&= fine;
  }
  if (limitsOf(plan).length === 0) console.log('  no limits: several tabs of a uid, with plain logins');
  return all;
}

/** What makes the figures worthless: they are told whatever was asked for, and fail the check. */
function faultsOf(result, plan, found) {
  const faults = [...new Set(result.faults)];
  const told = faults.length > 5 ? [...faults.slice(0, 5), `… and ${faults.length - 5} other kinds`] : faults;
  if (result.faults.length > faults.length) told.push(`${result.faults.length} faults in all`);
  if (found.expected === 0) told.push('no push was answered');
  if (found.strays > 0) told.push(`${found.strays} arrivals at a page they were not for`);
  if (!result.allBack) told.push('not all pages were logged in again in the end');
  // Without this, a path that cannot be cut would look like a server that loses nothing.
  const breaks = result.cuts > 0 || plan.restart;
  if (!breaks) told.push('nothing was cut');
  else if (found.reconnects < result.cuts / 10) told.push(`${result.cuts} cuts, but only ${found.reconnects} reconnects`);
  return told;
}

/** Runs, reports, and says whether all is as it should be. */
async function measure(plan) {
  const result = await run(plan);
  const found = figures(result.pages, result.messages);
  const mixed = plan.versions.length > 1;
  for (const version of mixed ? plan.versions : []) {
    tell(version, plan, figures(result.pages.filter((page) => page.version === version), result.messages));
  }
  tell(mixed ? 'total' : plan.versions[0], plan, found);
  if (result.restart) tellRestart(result);
  const faults = faultsOf(result, plan, found);
  for (const fault of faults) console.log(`  FAULT  ${fault}`);
  const fine = options.check ? kept(plan, found) : true;
  return fine && faults.length === 0;
}

async function main() {
  const plans = options.quick ? quickPlans() : askedPlans();
  line(COLUMNS.map(([name]) => name));
  let fine = true;
  for (const plan of plans) {
    try {
      const good = await measure(plan);
      fine &&= good || !options.check;
    } catch (error) {
      fine = false;
      console.log(`${plan.versions.join(',')} ${plan.login} ${plan.to} ${cutName(plan)}: FAILED, ${error.message}`);
    }
  }
  return fine;
}

const fine = await main().catch((error) => { console.error(error.message); return false; });
if (!fine) process.exitCode = 1;
// Clients that were closed in the middle of connecting can keep timers for a while.
process.stdout.write('', () => process.exit());

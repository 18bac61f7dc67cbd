// One run: a fresh server, its pages, pushing while their connections are cut or the server is
// restarted, and the wait until all is quiet again.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startServer } from '../../tests/clients/harness.mjs';
import { Page } from './page.mjs';
import { CUTS } from './paths.mjs';
import { Pusher } from './pusher.mjs';

const LOGIN_PATIENCE_MS = 15_000;
/** So many may be logging in at once; all of 2,000 together would only wait for each other. */
const LOGINS_AT_ONCE = 100;
const SETTLE_MS = 300;
const QUIET_MS = 2000;
const QUIET_PATIENCE_MS = 15_000;
const AWAY_MS = 2000;
const BETWEEN_CUTS_MS = [4000, 8000];

/** What happened: { pages, messages, cuts, allBack, faults, restart, unanswered }. */
export async function run(plan) {
  const folder = mkdtempSync(join(tmpdir(), 'campanile-cuts-'));
  const tidy = () => rmSync(folder, { recursive: true, force: true });
  // Also when it is interrupted.
  process.once('exit', tidy);
  const settings = [`store.url=sqlite:${join(folder, 'campanile.db')}`, ...plan.set];
  const pages = [];
  let server;
  try {
    server = await startServer(settings.flatMap((setting) => ['--set', setting]));
    for (const page of await makePages(plan, server.socketio)) pages.push(page);
    await logAllIn(pages, plan);
    return await pushAndCut(plan, server, pages);
  } finally {
    for (const page of pages) page.close();
    for (const page of pages) page.path.close();
    // A server that fails to stop well must not hide what went wrong before.
    await server?.stop().catch((error) => { console.error(error.message); process.exitCode = 1; });
    process.off('exit', tidy);
    tidy();
  }
}

/** The tabs of a uid are pages of different versions, as far as there are several. */
async function makePages({ pages, tabs, versions, cut }, server) {
  const uids = Math.ceil(pages / tabs);
  const numbers = Array.from({ length: uids * tabs }, (_, n) => n);
  return Promise.all(numbers.map(async (n) => {
    const path = await CUTS[cut](server);
    return new Page(`page-${Math.floor(n / tabs)}`, versions[n % versions.length], path);
  }));
}

/** Opens the pages and waits for them as long as somebody makes it every now and then. */
async function logAllIn(pages, plan) {
  let [opened, before, since] = [0, 0, performance.now()];
  for (;;) {
    const ready = pages.filter((page) => page.loggedIn).length;
    if (ready === pages.length) break;
    if (ready > before) [before, since] = [ready, performance.now()];
    if (performance.now() - since > LOGIN_PATIENCE_MS) throw new Error(tooFew(pages, ready, plan));
    while (opened < pages.length && opened - ready < LOGINS_AT_ONCE) pages[opened++].open(plan);
    await sleep(10);
  }
  // A count for everyone can come a moment before the page's own login was heard.
  await sleep(SETTLE_MS);
}

function tooFew(pages, ready, { login }) {
  const connected = pages.filter((page) => page.socket?.connected).length;
  const fault = pages.flatMap((page) => page.faults)[0];
  const silent = login === 'since' && ready === 0 ? '; does this server know logins with `since`?' : '';
  const hint = fault ? `; ${fault}` : silent;
  return `${ready} of ${pages.length} pages logged in, ${connected} connected, none more for ${LOGIN_PATIENCE_MS / 1000} s${hint}`;
}

async function pushAndCut(plan, server, pages) {
  const pusher = new Pusher(server.http, plan.to, [...new Set(pages.map((page) => page.uid))]);
  const cutter = plan.cut === 'none' ? { cuts: 0, stop() {} } : cutAll(pages);
  const restarting = plan.restart ? restart(server, pages, pusher, plan.seconds) : null;
  // Looked at below; a push may end the run first.
  restarting?.catch(() => {});
  try {
    await pusher.run(plan.seconds);
  } finally {
    cutter.stop();
  }
  const restarted = await restarting;
  const allBack = await untilQuiet(pages);
  const death = server.death();
  const faults = [...pusher.faults, ...pages.flatMap((page) => page.faults), ...(death ? [death] : [])];
  return { pages, messages: pusher.messages, unanswered: pusher.unanswered, cuts: cutter.cuts, allBack, faults, restart: restarted };
}

function between([least, most]) {
  return least + Math.random() * (most - least);
}

/** Each page has its own rhythm, whether or not it is back when the next cut comes. */
function cutAll(pages) {
  const timers = new Map();
  const cutter = { cuts: 0, stop: () => timers.forEach((timer) => clearTimeout(timer)) };
  const plan = (page) => timers.set(page, setTimeout(() => {
    page.path.cut(between([0.9 * AWAY_MS, 1.1 * AWAY_MS]));
    cutter.cuts += 1;
    plan(page);
  }, between(BETWEEN_CUTS_MS)));
  pages.forEach(plan);
  return cutter;
}

/** In the middle of the pushing: away, back, and every page logged in with the new process. */
async function restart(server, pages, pusher, seconds) {
  await sleep(seconds * 500);
  const told = performance.now();
  pusher.serverMayBeAway = true;
  await server.stop();
  const gone = performance.now();
  await server.restart();
  const listens = performance.now();
  // A kept-alive connection to the old process may still be waiting for its next push.
  setTimeout(() => { pusher.serverMayBeAway = false; }, 1000);
  const isBack = (page) => page.loggedIn && page.loggedInAt > gone;
  const allIn = await until(() => pages.every(isBack), Math.max(60_000, seconds * 1000));
  const newest = pages.reduce((latest, page) => Math.max(latest, page.loggedInAt), 0);
  return {
    stopMs: gone - told,
    downMs: listens - gone,
    backMs: allIn ? Math.max(0, newest - listens) : Infinity,
    back: pages.filter(isBack).length,
  };
}

/** Whether `holds()` within `ms`. */
async function until(holds, ms) {
  const end = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > end) return false;
    await sleep(10);
  }
  return true;
}

/** Whether every page was back in the end; quiet is after the last arrival and the last login. */
async function untilQuiet(pages) {
  const latest = () => pages.reduce((newest, page) => Math.max(newest, page.times.at(-1) ?? 0, page.loggedInAt), 0);
  const allIn = () => pages.every((page) => page.loggedIn);
  await until(() => allIn() && performance.now() - latest() > QUIET_MS, QUIET_PATIENCE_MS);
  return allIn();
}

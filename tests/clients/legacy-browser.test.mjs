// Owns the proof that old pages still work where they really run: the bundle of
// socket.io-client 1.3.7 in Chromium, on a page of another origin than the socket
// port, over each way of connecting; and that a page which loads the client from
// the socket port gets a working one.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { MODES, REPOSITORY, afterwards, escaped, launchChromium, openInBrowser, serveOrigin, startServer } from './harness.mjs';

// A tick of one second, and slack for a busy machine.
const COUNT_DEADLINE_MS = 6000;
const TEXT = `你好，世界！😀👩‍👩‍👧 𠮷野家 <b>&"'</b>`;

let browser;
let origin;
let used = 2_000_000;

const nextNumber = () => (used += 1);
const nextUid = (name = 'uid') => `${name}-${nextNumber()}`;

before(async () => {
  [browser, origin] = await Promise.all([launchChromium(), serveOrigin()]);
});
after(() => Promise.all([browser?.close(), origin?.stop()]));

async function ownServer(t, extraArgs) {
  const server = await startServer(extraArgs);
  afterwards(t, () => server.stop());
  return server;
}

/** Opens tabs of the old page that close when their test ends. */
function opener(mode) {
  return async (t, server, uid, address = origin.url) => {
    const page = await openInBrowser(browser, address, mode, server, uid);
    afterwards(t, () => page.close());
    return page;
  };
}

/** Like `opener`, and waits for the login to take effect. */
async function loggedIn(open, t, server, uid) {
  const page = await open(t, server, uid);
  return page.ready();
}

async function pushed(server, to, content, method) {
  assert.equal(await server.push({ to, content }, method), 'ok', `push to ${JSON.stringify(to)}`);
}

function reachTests(open, server) {
  test('a page that logs in by a string is reached, and so is one that logs in by a number', async (t) => {
    const [uid, number] = [nextUid(), nextNumber()];
    const [byString, byNumber] = await Promise.all([uid, number].map((own) => loggedIn(open, t, server(), own)));
    await pushed(server(), uid, 'to the string');
    await pushed(server(), String(number), 'to the number', 'GET');
    await Promise.all([byString.receives('to the string'), byNumber.receives('to the number')]);
  });

  test('a Chinese and emoji uid is reached by a Chinese and emoji text with markup', async (t) => {
    const uid = nextUid('用户😀');
    const page = await loggedIn(open, t, server(), uid);
    await pushed(server(), uid, `GET ${TEXT}`, 'GET');
    await pushed(server(), uid, `POST ${TEXT}`, 'POST');
    await page.receivesInOrder([escaped(`GET ${TEXT}`), escaped(`POST ${TEXT}`)]);
    assert.equal(page.connects, 1, 'over one connection');
  });

  test('a push to a uid reaches only it, and a push to everyone reaches every page', async (t) => {
    const [one, two] = [nextUid(), nextUid()];
    const [mine, theirs, nobodys] = await Promise.all([
      loggedIn(open, t, server(), one),
      loggedIn(open, t, server(), two),
      open(t, server()),
    ]);
    await nobodys.onFinalTransport();
    await pushed(server(), one, 'for one');
    await pushed(server(), '', '给大家');
    await Promise.all([mine, theirs, nobodys].map((page) => page.receives('给大家')));
    assert.deepEqual(mine.messages, ['for one', '给大家']);
    assert.deepEqual(theirs.messages, ['给大家']);
    assert.deepEqual(nobodys.messages, ['给大家']);
  });

  test('pushes in a row, begun while the page may still be upgrading, arrive all and in order', async (t) => {
    const uid = nextUid();
    const page = await open(t, server(), uid);
    await page.loggedIn();
    const texts = Array.from({ length: 30 }, (_, i) => `第 ${i} of 30 😀`);
    for (const text of texts) await pushed(server(), uid, text);
    await page.receivesInOrder(texts);
    await page.onFinalTransport();
  });

  test('a login between two other emits that were buffered before the connection is not lost', async (t) => {
    const uid = nextUid('页面');
    const page = await open(t, server());
    page.uid = uid;
    await Promise.all([page.emit('a'), page.emit('login', uid), page.emit('b', '参数')]);
    await page.ready();
    await pushed(server(), uid, 'not lost');
    await page.receives('not lost');
  });
}

function countTest(open) {
  test('tabs are told how many users and pages are online, as tabs open and close', async (t) => {
    const server = await ownServer(t);
    const uid = nextUid();
    const told = (pages, users, opened) => Promise.all(pages.map((page) =>
      page.nextCount((count) => count.users === users && count.pages === opened, COUNT_DEADLINE_MS)));
    const guest = await open(t, server);
    await guest.onFinalTransport();
    const tabs = [];
    for (const opened of [1, 2, 3]) {
      tabs.push(await loggedIn(open, t, server, uid));
      await told([guest, ...tabs], 1, opened);
    }
    await pushed(server, uid, 'to all three');
    await Promise.all(tabs.map((tab) => tab.receives('to all three')));
    assert.deepEqual(guest.messages, []);
    await tabs.shift().close();
    await told([guest, ...tabs], 1, 2);
    for (const tab of tabs) await tab.close();
    await told([guest], 0, 0);
    assert.equal(await server.push({ to: uid, content: 'to nobody' }), 'offline');
  });
}

function restartTest(open) {
  test('a page comes back by itself after the server restarts, and is reached again', async (t) => {
    const server = await ownServer(t);
    const [uid, number] = [nextUid('回来'), nextNumber()];
    const pages = await Promise.all([uid, number].map((own) => loggedIn(open, t, server, own)));
    await server.restart();
    await Promise.all(pages.map((page) => page.connectedTimes(2)));
    await Promise.all(pages.map((page) => page.ready()));
    await pushed(server, uid, '又见面了');
    await pushed(server, String(number), 'again, by number');
    await Promise.all([pages[0].receives('又见面了'), pages[1].receives('again, by number')]);
  });
}

function modeTests(mode) {
  const open = opener(mode);
  let shared;
  before(async () => {
    shared = await startServer();
  });
  after(() => shared?.stop());

  reachTests(open, () => shared);
  countTest(open);
  restartTest(open);
}

describe('the bundle of socket.io-client 1.3.7 in a browser', { concurrency: 3 }, () => {
  for (const mode of Object.keys(MODES)) describe(mode, () => modeTests(mode));
});

test('an old page that loads /socket.io/socket.io.js from the socket port gets a working io', async (t) => {
  const root = `${REPOSITORY}web-demo`;
  assert.ok(existsSync(`${root}/node_modules/socket.io-client`), 'run `npm ci` in web-demo first');
  const server = await ownServer(t, ['--set', `web.root=${root}`]);
  const script = `http://${server.socketio.host}:${server.socketio.port}/socket.io/socket.io.js`;
  const address = `${origin.url}?script=${encodeURIComponent(script)}`;
  const uid = nextUid('老页面');
  const page = await opener('polling then upgrade')(t, server, uid, address);
  await page.ready();
  await pushed(server, uid, TEXT);
  await page.receives(escaped(TEXT));
});

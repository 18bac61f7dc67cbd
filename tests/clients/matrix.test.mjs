// Owns the proof that pages of every client generation that runs in Node get what
// they got before, over each way of connecting: one cell per version and mode.
// Cells run side by side against one server; counts and restarts have their own.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { MODES, VERSIONS, afterwards, connect, escaped, startServer } from './harness.mjs';

const CELLS_AT_ONCE = 5;
// A tick of one second, and slack for a busy machine.
const COUNT_DEADLINE_MS = 6000;
const CHINESE_AND_EMOJI = '你好，世界！😀👩‍👩‍👧 𠮷野家';
const MARKUP = `<b>&"'</b> &amp; <script>alert("你好")</script>`;

let shared;
let used = 1_000_000;

const nextNumber = () => (used += 1);
const nextUid = (name = 'uid') => `${name}-${nextNumber()}`;

/** The opening of pages of one cell that close when their test ends. */
function opener(version, mode) {
  return (t, server, uid) => {
    const page = connect(version, mode, server);
    afterwards(t, () => page.close());
    if (uid !== undefined) page.login(uid);
    return page;
  };
}

async function ownServer(t) {
  const server = await startServer();
  afterwards(t, () => server.stop());
  return server;
}

async function pushed(server, to, content, method) {
  assert.equal(await server.push({ to, content }, method), 'ok', `push to ${JSON.stringify(to)}`);
}

/** Everything pushed before the fence has come once the fence has. */
async function fence(server, ...pages) {
  const text = nextUid('fence');
  await pushed(server, '', text);
  await Promise.all(pages.map((page) => page.receives(text)));
}

function loginTests(open) {
  test('a page that logs in by a string gets what is pushed to that string, once', async (t) => {
    const uid = nextUid();
    const page = await open(t, shared, uid).ready();
    await pushed(shared, uid, 'by GET', 'GET');
    await pushed(shared, uid, 'by POST', 'POST');
    await fence(shared, page);
    assert.deepEqual(page.messages.filter((text) => text.startsWith('by ')), ['by GET', 'by POST']);
  });

  test('a page that logs in by a number gets what is pushed to its decimal string', async (t) => {
    const uid = nextNumber();
    const page = await open(t, shared, uid).ready();
    await pushed(shared, String(uid), 'to the number');
    await page.receives('to the number');
  });

  test('a page that logs in by a Chinese and emoji uid gets what is pushed to it', async (t) => {
    const uid = nextUid('用户😀');
    const page = await open(t, shared, uid).ready();
    await pushed(shared, uid, 'by GET', 'GET');
    await pushed(shared, uid, 'by POST', 'POST');
    await page.receivesInOrder(['by GET', 'by POST']);
  });

  test('a login between two other emits that were buffered before the connection is not lost', async (t) => {
    const uid = nextUid();
    const page = open(t, shared);
    page.uid = uid;
    page.emit('a');
    page.emit('login', uid);
    page.emit('b');
    await page.ready();
    await pushed(shared, uid, 'not lost');
    await page.receives('not lost');
  });

  test('a login between two other emits in one go of a connected page is not lost', async (t) => {
    const uid = nextUid('页面');
    const page = open(t, shared);
    page.uid = uid;
    await page.connectedTimes(1);
    page.emit('a', '参数');
    page.emit('login', uid);
    page.emit('b', { 键: '😀' });
    await page.ready();
    await pushed(shared, uid, 'not lost');
    await page.receives('not lost');
  });
}

function audienceTests(open) {
  test('a push to a uid reaches only the pages of that uid', async (t) => {
    const [one, two] = [nextUid(), nextUid()];
    const [mine, theirs, nobodys] = [open(t, shared, one), open(t, shared, two), open(t, shared)];
    await Promise.all([mine.ready(), theirs.ready(), nobodys.onFinalTransport()]);
    await pushed(shared, one, 'for one');
    await pushed(shared, two, 'for two');
    await fence(shared, mine, theirs, nobodys);
    const told = (page) => page.messages.filter((text) => text.startsWith('for '));
    assert.deepEqual(told(mine), ['for one']);
    assert.deepEqual(told(theirs), ['for two']);
    assert.deepEqual(told(nobodys), []);
  });

  test('a push to everyone reaches pages that are logged in and pages that are not', async (t) => {
    const [member, guest] = [open(t, shared, nextUid()), open(t, shared)];
    await Promise.all([member.ready(), guest.onFinalTransport()]);
    const [posted, got] = [nextUid('给大家'), nextUid('to all')];
    await pushed(shared, '', posted, 'POST');
    await pushed(shared, '', got, 'GET');
    await Promise.all([member.receivesInOrder([posted, got]), guest.receivesInOrder([posted, got])]);
  });
}

function textTests(open) {
  test('Chinese, emoji and markup arrive as they were pushed, with the markup escaped', async (t) => {
    const uid = nextUid();
    const page = await open(t, shared, uid).ready();
    const texts = [CHINESE_AND_EMOJI, MARKUP, `${MARKUP} ${CHINESE_AND_EMOJI}`];
    for (const method of ['GET', 'POST']) {
      for (const text of texts) await pushed(shared, uid, `${method} ${text}`, method);
    }
    await page.receivesInOrder(['GET', 'POST'].flatMap((method) => texts.map((text) => escaped(`${method} ${text}`))));
    await page.onFinalTransport();
  });

  test('a text of 60 KB arrives whole', async (t) => {
    const uid = nextUid();
    const page = await open(t, shared, uid).ready();
    const plain = 'campanile '.repeat(6144);
    const mixed = `${'长文本😀<b>&"'.repeat(3413)}完。`;
    assert.deepEqual([plain, mixed].map((text) => Buffer.byteLength(text)), [60 * 1024, 60 * 1024]);
    await pushed(shared, uid, plain);
    await pushed(shared, uid, mixed);
    await page.receivesInOrder([plain, escaped(mixed)]);
  });

  test('100 pushes in a row, begun while the page may still be upgrading, arrive all and in order', async (t) => {
    const uid = nextUid();
    const page = open(t, shared, uid);
    await page.loggedIn();
    const texts = Array.from({ length: 100 }, (_, i) => `第 ${i} of 100 😀`);
    for (const text of texts) await pushed(shared, uid, text);
    await page.receivesInOrder(texts);
    await page.onFinalTransport();
  });
}

function countTests(open) {
  test('every page is told how many users and pages are online, at login and after each change', async (t) => {
    const server = await ownServer(t);
    const uid = nextUid();
    const told = (page, users, pages) =>
      page.nextCount((count) => count.users === users && count.pages === pages, COUNT_DEADLINE_MS);
    const guest = open(t, server);
    await guest.onFinalTransport();
    const tabs = [];
    for (const opened of [1, 2, 3]) {
      const tab = await open(t, server, uid).ready();
      tabs.push(tab);
      await Promise.all([guest, ...tabs].map((page) => told(page, 1, opened)));
    }
    assert.deepEqual(tabs[2].counts[0], { users: 1, pages: 2 }, 'the numbers at the login of the third tab');
    const other = await open(t, server, nextUid()).ready();
    await Promise.all([guest, other, ...tabs].map((page) => told(page, 2, 4)));
    other.close();
    await Promise.all([guest, ...tabs].map((page) => told(page, 1, 3)));
    await pushed(server, uid, 'to all three');
    await Promise.all(tabs.map((tab) => tab.receives('to all three')));
    assert.ok(!guest.messages.includes('to all three'));

    tabs.shift().close();
    await Promise.all([guest, ...tabs].map((page) => told(page, 1, 2)));
    await pushed(server, uid, 'to the two left');
    await Promise.all(tabs.map((tab) => tab.receives('to the two left')));
    for (const tab of tabs) tab.close();
    await told(guest, 0, 0);
    assert.equal(await server.push({ to: uid, content: 'to nobody' }), 'offline');
  });
}

function restartTests(open) {
  test('a page comes back by itself after the server restarts, and is reached again', async (t) => {
    const server = await ownServer(t);
    const [uid, number] = [nextUid('回来'), nextNumber()];
    const pages = [open(t, server, uid), open(t, server, number)];
    await Promise.all(pages.map((page) => page.ready()));
    await server.restart();
    await Promise.all(pages.map((page) => page.connectedTimes(2)));
    await Promise.all(pages.map((page) => page.ready()));
    await pushed(server, uid, 'again, by string');
    await pushed(server, String(number), 'again, by number');
    await Promise.all([pages[0].receives('again, by string'), pages[1].receives('again, by number')]);
    await Promise.all(pages.map((page) => page.nextCount(({ users, pages: open }) => users === 2 && open === 2)));
    assert.ok(pages.every((page) => page.connects === 2), 'each page connected once more');
  });
}

describe('the clients that run in Node', { concurrency: CELLS_AT_ONCE }, () => {
  before(async () => {
    shared = await startServer();
  });
  after(() => shared?.stop());

  for (const version of VERSIONS) {
    for (const mode of Object.keys(MODES)) {
      describe(`socket.io-client ${version}, ${mode}`, () => {
        const open = opener(version, mode);
        loginTests(open);
        audienceTests(open);
        textTests(open);
        countTests(open);
        restartTests(open);
      });
    }
  }
});

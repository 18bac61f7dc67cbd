// This file owns the browser test of the demo page: a real Chromium, a real server, two tabs.
// It leaves screenshots in target/screenshots.

import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { DEADLINE_MS, launchChromium, startServer } from './harness.mjs';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SCREENSHOTS = path.join(ROOT, 'target', 'screenshots');
const run = promisify(execFile);

let browser;

before(async () => {
  await mkdir(SCREENSHOTS, { recursive: true });
  browser = await launchChromium();
});

after(() => browser?.close());

// A server of its own for each test, so that no test sees the users of another.
async function demo(t, contextOptions = {}, settings = []) {
  const all = [`web.root=${path.join(ROOT, 'web-demo')}`, ...settings];
  const server = await startServer(all.flatMap((setting) => ['--set', setting]));
  const context = await browser.newContext({
    locale: 'en-US', viewport: { width: 1400, height: 1000 }, ...contextOptions,
  });
  t.after(async () => {
    await context.close();
    await server.stop();
  });
  context.setDefaultTimeout(DEADLINE_MS);
  const errors = [];
  context.on('weberror', (event) => errors.push(event.error()));
  const base = `http://${server.web.host}:${server.web.port}/`;
  const load = async (query) => {
    const page = await context.newPage();
    await page.goto(base + query);
    return page;
  };
  const open = (uid) => openTab(context, `${base}?uid=${encodeURIComponent(uid)}`);
  return { server, context, errors, load, open };
}

async function storeOf(t) {
  const folder = await mkdtemp(path.join(tmpdir(), 'campanile-demo-'));
  t.after(() => rm(folder, { recursive: true }));
  return `store.url=sqlite:${path.join(folder, 'demo.db')}`;
}

// Nothing gets through to the tabs of a context, and their server is another process, while `act` runs.
async function cutOff({ server, context }, tab, act) {
  await context.setOffline(true);
  await server.restart();
  await tab.waitForSelector('#state[data-state=reconnecting]');
  await act();
  await context.setOffline(false);
  await connected(tab);
}

// A tab is ready when it is logged in and its connection is a WebSocket: a closed WebSocket
// is noticed at once, a closed long poll only after the ping timeout.
async function openTab(context, url) {
  const page = await context.newPage();
  const upgraded = new Promise((resolve) => {
    page.on('websocket', (socket) => socket.on('framesent', ({ payload }) => { if (payload === '5') resolve(true); }));
  });
  await page.goto(url);
  await connected(page);
  assert.ok(await Promise.race([upgraded, deadline()]), 'the connection became a WebSocket');
  return page;
}

const deadline = () => new Promise((resolve) => { setTimeout(resolve, DEADLINE_MS, false).unref(); });

const connected = (page) => page.waitForSelector('#state[data-state=online]');

const messages = (page) => page.locator('#messages .text').allTextContents();

const shows = (page, text) => page.waitForFunction(
  (wanted) => [...document.querySelectorAll('#messages .text')].some((item) => item.textContent === wanted), text);

const counts = (page, users, pages) => page.waitForFunction(
  (wanted) => ['users', 'pages'].every((id, i) => document.getElementById(id).textContent === wanted[i]),
  [String(users), String(pages)]);

const lists = (page, uids) => page.waitForFunction(
  (wanted) => [...document.querySelectorAll('#online-list button')].map((b) => b.dataset.uid).sort().join() === wanted,
  [...uids].sort().join());

const answers = (page, word) => page.waitForFunction(
  (wanted) => document.querySelector('#answer b')?.textContent === wanted, word);

async function pushAnswers(server, fields, wanted) {
  const end = Date.now() + DEADLINE_MS;
  let answer = await server.push(fields);
  while (answer !== wanted && Date.now() < end) answer = await server.push(fields);
  assert.equal(answer, wanted);
}

test('a message to one uid reaches only that tab and a message to everyone reaches both', async (t) => {
  const { server, open, errors } = await demo(t);
  const alice = await open('alice');
  const bob = await open('bob');

  assert.equal(await server.push({ type: 'publish', to: 'alice', content: 'only for alice' }), 'ok');
  await shows(alice, 'only for alice');
  const forAll = '大家好 🔔👩‍💻 <b>not bold</b> & "double" \'single\' &lt; &amp;amp;';
  assert.equal(await server.push({ type: 'publish', to: '', content: forAll }), 'ok');
  await shows(alice, forAll);
  await shows(bob, forAll);

  // The second message is there, so the first one would be too: one connection keeps the order.
  assert.deepEqual(await messages(alice), [forAll, 'only for alice'], 'newest first');
  assert.deepEqual(await messages(bob), [forAll]);
  assert.equal(await bob.locator('#messages .text *').count(), 0, 'markup stays text');
  assert.deepEqual(errors, []);
});

test('the online count and list follow a tab that opens and a tab that closes', async (t) => {
  const { open } = await demo(t);
  const alice = await open('alice');
  await counts(alice, 1, 1);
  const bob = await open('bob');
  await counts(alice, 2, 2);
  await counts(bob, 2, 2);
  await lists(alice, ['alice', 'bob']);
  await bob.close();
  await counts(alice, 1, 1);
  await lists(alice, ['alice']);
});

test('the push form pushes to me, to another uid and to everyone, and explains the answer', async (t) => {
  const { open, errors } = await demo(t);
  const alice = await open('alice');
  const bob = await open('bob');
  await alice.bringToFront(); // a tab behind another one is slowed down by the browser

  await alice.fill('#content', 'note to myself');
  await alice.click('#push');
  await answers(alice, 'ok');
  await shows(alice, 'note to myself');

  await lists(alice, ['alice', 'bob']);
  await alice.click('#online-list button[data-uid=bob]');
  assert.equal(await alice.isChecked('#to-mode-uid'), true);
  assert.equal(await alice.inputValue('#to'), 'bob');
  await alice.fill('#content', '给 bob 的消息 🎉');
  await alice.click('#push');
  await shows(bob, '给 bob 的消息 🎉');

  await alice.fill('#to', 'nobody');
  await alice.click('#push');
  await answers(alice, 'offline');
  assert.match(await alice.textContent('#answer'), /nobody has no open page/);

  await alice.check('#to-mode-all');
  await alice.fill('#content', 'to everyone');
  await alice.click('#push');
  await answers(alice, 'ok');
  await shows(alice, 'to everyone');
  await shows(bob, 'to everyone');
  assert.deepEqual(await messages(bob), ['to everyone', '给 bob 的消息 🎉']);
  assert.deepEqual(errors, []);
});

test('a blank uid is never pushed to everyone', async (t) => {
  const { open } = await demo(t);
  const alice = await open('alice');
  let pushes = 0;
  alice.on('request', (request) => { if (request.url().endsWith('/push')) pushes += 1; });
  await alice.check('#to-mode-uid');
  await alice.fill('#to', '  ');
  await alice.click('#push');
  await alice.waitForFunction(() => /uid/.test(document.querySelector('#answer').textContent));
  assert.equal(pushes, 0);
  assert.match(await alice.textContent('#curl'), /^# /, 'nor does the page offer a line that would do it');
});

test('the curl line and the PHP snippet push exactly what the form shows', async (t) => {
  const { open } = await demo(t);
  const alice = await open('alice');
  const uid = "o'neil \\ $HOME";
  const other = await open(uid);
  await alice.bringToFront();
  await alice.check('#to-mode-uid');
  await alice.fill('#to', uid);

  const tools = [
    { id: 'curl', probe: ['curl', ['--version']], call: (text) => run('sh', ['-c', text]) },
    { id: 'php', probe: ['php', ['-r', 'exit(extension_loaded("curl") ? 0 : 1);']], call: (text) => run('php', ['-r', text]) },
  ];
  for (const { id, probe, call } of tools) {
    if (spawnSync(...probe).status !== 0) { t.diagnostic(`${id} is not installed: snippet not run`); continue; }
    const content = `@${id} it's "100%" \\' \\\\ $HOME \`id\` a+b&c=d <i>你好</i> 👋\nsecond line \\`;
    await alice.fill('#content', content);
    const { stdout } = await call(await alice.textContent(`#${id}`));
    assert.equal(stdout, 'ok', id);
    await shows(other, content);
  }
});

test('the language switches, is remembered, and follows the browser at first', async (t) => {
  const { open, context } = await demo(t);
  const alice = await open('alice');
  assert.equal(await alice.getAttribute('html', 'lang'), 'en');
  assert.equal(await alice.textContent('#push'), 'Push');
  await alice.click('#lang');
  assert.equal(await alice.getAttribute('html', 'lang'), 'zh-CN');
  assert.equal(await alice.textContent('#push'), '推送');
  assert.equal(await alice.textContent('#state'), '已连接');
  await alice.reload();
  await connected(alice);
  assert.equal(await alice.textContent('#push'), '推送');
  await alice.click('#lang');
  assert.equal(await alice.textContent('#push'), 'Push');

  const chinese = await browser.newContext({ locale: 'zh-CN' });
  t.after(() => chinese.close());
  const page = await chinese.newPage();
  await page.goto(context.pages()[0].url());
  await connected(page);
  assert.equal(await page.textContent('#push'), '推送');
});

test('a changed uid logs in anew and is kept for the tab', async (t) => {
  const { server, open, load, errors } = await demo(t);
  const tab = await open('alice');
  await tab.fill('#uid', 'carol');
  await tab.click('#uid-apply');
  await connected(tab);
  await pushAnswers(server, { type: 'publish', to: 'alice', content: 'too late' }, 'offline');
  assert.equal(await server.push({ type: 'publish', to: 'carol', content: 'hello carol' }), 'ok');
  await shows(tab, 'hello carol');
  await lists(tab, ['carol']);
  await tab.reload();
  await connected(tab);
  assert.equal(await tab.inputValue('#uid'), 'carol');

  const fresh = await load('');
  await connected(fresh);
  assert.match(await fresh.inputValue('#uid'), /^[a-z]+(-\d+)?$/, 'a fresh tab gets a uid of its own');
  assert.deepEqual(errors, []);
});

test('a tab that was cut off shows what it missed, each message once and in order, and how many that was', async (t) => {
  const setting = await storeOf(t);
  const here = await demo(t, {}, [setting]);
  const { server, open, errors } = here;
  const alice = await open('alice');
  assert.equal(await server.push({ to: 'alice', content: 'before' }), 'ok');
  await shows(alice, 'before');
  assert.equal(await alice.isHidden('#back'), true);
  await cutOff(here, alice, async () => {
    for (const content of ['one', 'two']) assert.equal(await server.push({ to: 'alice', content }), 'offline');
    assert.equal(await server.push({ to: 'bob', content: 'not for alice' }), 'offline');
    assert.equal(await server.push({ to: '', content: 'to everyone' }), 'ok');
  });
  await shows(alice, 'to everyone');
  assert.equal(await server.push({ to: 'alice', content: 'live' }), 'ok');
  await shows(alice, 'live');
  assert.deepEqual(await messages(alice), ['live', 'to everyone', 'two', 'one', 'before']);
  assert.equal(await alice.textContent('#back'), '3 messages came while you were away.');
  assert.deepEqual(await alice.locator('#messages .late .text').allTextContents(), ['to everyone', 'two', 'one']);
  await alice.click('#lang');
  assert.equal(await alice.textContent('#back'), '你不在的时候来了 3 条消息。');
  await cutOff(here, alice, async () => {});
  assert.equal(await alice.isHidden('#back'), true, 'nothing was missed');
  assert.deepEqual(errors, []);
});

test('a tab that was away for longer than the server remembers says that messages may be missing', async (t) => {
  const setting = await storeOf(t);
  const here = await demo(t, {}, [setting, 'recovery.max_bytes=64 KiB']);
  const alice = await here.open('alice');
  await cutOff(here, alice, async () => {
    for (let i = 1; i <= 20; i += 1) await here.server.push({ to: 'alice', content: `${i} ${'x'.repeat(10_000)}` });
    await here.server.push({ to: 'alice', content: 'the last' });
  });
  await shows(alice, 'the last');
  assert.match(await alice.textContent('#back'), /^\d messages came while you were away\. .*may be missing\.$/);
  assert.equal(await alice.getAttribute('#back', 'data-recovered'), 'false');
});

test('a push that is kept for an absent uid appears when a tab of that uid opens', async (t) => {
  const setting = await storeOf(t);
  const { open, errors } = await demo(t, {}, [setting]);
  const alice = await open('alice');
  await alice.fill('#to', 'bob');
  await alice.fill('#content', 'for later');
  await alice.click('#push');
  await answers(alice, 'offline');
  await alice.check('#store');
  await alice.fill('#content', 'kept for bob');
  for (const id of ['curl', 'php']) assert.match(await alice.textContent(`#${id}`), /'store(=1'|' +=> '1')/, id);
  await alice.click('#push');
  await alice.waitForFunction(() => /^offline bob .* waits on disk/.test(document.getElementById('answer').textContent));
  const bob = await open('bob');
  await shows(bob, 'kept for bob');
  assert.deepEqual(await messages(bob), ['kept for bob']);
  assert.equal(await bob.textContent('#back'), '1 message came while you were away.');
  assert.deepEqual(errors, []);
});

test('a push that cannot be kept is told to be nowhere', async (t) => {
  const { open } = await demo(t);
  const alice = await open('alice');
  await alice.bringToFront();
  await alice.check('#store');
  await alice.click('#push');
  await answers(alice, 'fail');
  assert.match(await alice.textContent('#answer'), /not kept, and sent to nobody: .*store\.url is empty/);
  assert.deepEqual(await messages(alice), []);
});

test('where a push takes a key the form asks for it and says why another is of no use, and the snippets take it from the environment', async (t) => {
  const [key, reading] = ['a key that is typed in'.replaceAll(' ', '-'), 'a-key-that-may-not-push'];
  const { open, errors } = await demo(t, {}, [`api.keys=["push:${key}", "read:${reading}"]`]);
  const alice = await open('alice');
  await alice.bringToFront();
  let pushes = 0;
  alice.on('request', (request) => { if (request.url().endsWith('/push')) pushes += 1; });
  const says = (words) => alice.waitForFunction((wanted) => document.querySelector('#answer').textContent.includes(wanted), words);
  assert.equal(await alice.getAttribute('#key', 'type'), 'password');
  for (const none of ['', '钥匙']) {
    await alice.fill('#key', none);
    await alice.click('#push');
    await says('with a key only');
  }
  assert.equal(pushes, 0);
  for (const [wrong, why] of [['another-key-altogether', 'the key is not known'], [reading, 'the key is not for this']]) {
    await alice.fill('#key', wrong);
    await alice.click('#push');
    await says(`not taken, and sent to nobody: ${why}`);
  }
  assert.deepEqual(await messages(alice), []);
  await alice.fill('#key', key);
  await alice.fill('#content', 'with a key');
  await alice.click('#push');
  await answers(alice, 'ok');
  await shows(alice, 'with a key');
  const tools = { curl: (text) => ['sh', ['-c', text]], php: (text) => ['php', ['-r', text]] };
  for (const [id, call] of Object.entries(tools)) {
    const text = await alice.textContent(`#${id}`);
    assert.ok(!text.includes(key), `${id} does not show the key`);
    await alice.fill('#content', `by ${id}`);
    const [program, args] = call(await alice.textContent(`#${id}`));
    const { stdout } = await run(program, args, { env: { ...process.env, KEY: key } });
    assert.equal(stdout, 'ok', id);
    await shows(alice, `by ${id}`);
  }
  assert.deepEqual(errors, []);
});

test('the list keeps the newest 200 messages', async (t) => {
  const { server, open } = await demo(t);
  const alice = await open('alice');
  for (let i = 1; i <= 203; i += 1) await server.push({ type: 'publish', to: 'alice', content: `message ${i}` });
  await shows(alice, 'message 203');
  const texts = await messages(alice);
  assert.equal(texts.length, 200);
  assert.equal(texts[0], 'message 203');
  assert.equal(texts.at(-1), 'message 4');
});

test('without the Socket.IO client the page says what to run and the rest still works', async (t) => {
  const { context, load, errors } = await demo(t);
  await context.route('**/socket.io.min.js', (route) => route.fulfill({ status: 404, body: '' }));
  const page = await load('?uid=alice');
  await page.waitForSelector('#missing-client', { state: 'visible' });
  const words = await page.textContent('#missing-client');
  assert.match(words, /make run/);
  assert.match(words, /npm install/);
  assert.match(words, /请运行/);
  await page.check('#to-mode-all');
  await page.click('#push');
  await answers(page, 'ok');
  assert.deepEqual(errors, []);
});

test('where a push takes no key nobody is asked for one', async (t) => {
  const { open } = await demo(t);
  const alice = await open('alice');
  assert.equal(await alice.isVisible('#key'), false);
});

test('when pushing from the page is off the page says so and keeps the curl line', async (t) => {
  const { context, load, errors } = await demo(t);
  await context.route('**/demo.json', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...await response.json(), push: false } });
  });
  const page = await load('?uid=alice');
  await connected(page);
  assert.equal(await page.isDisabled('#push'), true);
  assert.match(await page.textContent('#answer'), /off.*curl/);
  assert.match(await page.textContent('#curl'), /^curl 'http:/);
  assert.deepEqual(errors, []);
});

test('screenshots: wide, narrow, dark and Chinese, none of them wider than its window', async (t) => {
  const looks = {
    wide: {},
    narrow: { viewport: { width: 480, height: 900 } },
    dark: { colorScheme: 'dark' },
    chinese: { locale: 'zh-CN' },
  };
  for (const [name, options] of Object.entries(looks)) {
    const setting = await storeOf(t);
    const { server, open } = await demo(t, options, [setting]);
    await server.push({ to: 'alice', content: 'Your report is ready.', store: '1' });
    const page = await open('alice');
    await shows(page, 'Your report is ready.');
    await open('bob-42');
    await counts(page, 2, 2);
    await lists(page, ['alice', 'bob-42']);
    await server.push({ type: 'publish', to: '', content: '你好 👋 The nightly import has finished.' });
    await server.push({ type: 'publish', to: 'alice', content: 'Order #4711 is paid. <b>Thank you!</b>' });
    await shows(page, 'Order #4711 is paid. <b>Thank you!</b>');
    await page.bringToFront();
    await page.check('#store');
    await page.click('#push');
    await answers(page, 'ok');
    await page.screenshot({
      path: path.join(SCREENSHOTS, `demo-${name}.png`), fullPage: true, animations: 'disabled',
      style: '#toasts { visibility: hidden; }',
    });
    const spill = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(spill <= 0, `${name} is ${spill} px too wide`);
  }
});

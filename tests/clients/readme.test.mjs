// Owns the proof that README.md is true where it can be run: its pushes, its settings, what it
// promises of pages that come back, its benchmark, its pages, its tokens and the tables of the chat's
// messages and of logins with an object, each taken from the text as it stands there. Also keeps README.zh.md in step with it: same commands, same
// shape, same figures.

import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { client } from '../../benches/cuts/page.mjs';
import { CUTS } from '../../benches/cuts/paths.mjs';
import { DEADLINE_MS, REPOSITORY, VERSIONS, afterwards, startServer } from './harness.mjs';
import { Page } from './page.mjs';
import {
  CHINESE, ENGLISH, PEOPLE, SIGNED, UID_AND_TEXT, addressed, answered, areDefaults, assertAlike, bareSocket, chatServer, codeBlocks,
  inChromium, listeners, online, ownFolder, ownServer, peopled, people, pushLine, rawPage, reached, run, scriptInChromium, section,
  shell, snippet, socketioPage, storeIn, succeeds, tableRows, token, withoutComment,
} from './readme.mjs';

const CHAT = 'A chat that keeps its records';

/** Whom the curl lines of the README are for, by content and in their order. */
const PUSHES = [
  ['hello', ['alice']],
  ['to everyone', PEOPLE],
  ['both', PEOPLE],
  ['multipart', ['alice']],
  ['json', PEOPLE],
];

test('the README has one curl line for each way to push that is tested here', () => {
  assert.deepEqual(snippet('A push', 'sh').map((line) => line.split(' ')[0]), PUSHES.map(() => 'curl'));
});

for (const [index, [content, whom]] of PUSHES.entries()) {
  test(`the curl line that pushes "${content}" is answered ok and reaches ${whom.join(' and ')} alone`, async (t) => {
    const crowd = await peopled(t);
    const line = addressed(snippet('A push', 'sh')[index], crowd.server);
    assert.equal(await succeeds(run('sh', ['-c', line]), line), 'ok');
    await reached(crowd, content, whom);
  });
}

test('the PHP snippet prints ok and reaches alice alone', async (t) => {
  const crowd = await peopled(t);
  const script = addressed(snippet('A push', 'php').join('\n'), crowd.server);
  assert.equal(await succeeds(run('php', ['-r', script]), script), 'ok');
  await reached(crowd, 'hello', ['alice']);
});

test('the HTML snippet logs a page of Chromium in, and it prints the online count and a push', async (t) => {
  const server = await ownServer(t, [`web.root=${path.join(REPOSITORY, 'web-demo')}`]);
  const markup = addressed(snippet('A page', 'html').join('\n'), server);
  const { page, errors } = await inChromium(t, markup, server);
  await page.receives('当前<b>1</b>人在线，共打开<b>1</b>个页面');
  assert.equal(await server.push({ to: 'alice', content: '<b>你好</b>' }), 'ok');
  await page.receives('&lt;b&gt;你好&lt;/b&gt;');
  assert.deepEqual(errors, []);
});

const SINCE = 'A page that says where it was';

/** How long a path lets nothing through. Clients come back after half a second at the soonest. */
const AWAY_MS = 400;

test('the table on what is kept gives the defaults', async (t) => {
  const rows = tableRows(section('Nothing is lost').split('\n### ')[0]).filter(([name]) => /^`[a-z]+\./.test(name));
  assert.equal(rows.length, 8);
  await areDefaults(t, rows);
});

/** The page that says where it was, with a client of Node and over a path that can be cut: what it prints, and its reloads. */
async function sincePage(t, version, server) {
  const way = await CUTS.proxy(server.socketio);
  afterwards(t, () => way.close());
  const page = new Page(`since, ${version}`, 'polling then upgrade', server);
  page.way = way;
  page.reloads = 0;
  const io = (url) => {
    const socket = client(version)(url, { forceNew: true });
    afterwards(t, () => socket.disconnect());
    return socket;
  };
  const code = addressed(snippet(SINCE, 'js').join('\n'), { socketio: { port: Number(new URL(way.url).port) } });
  const print = (text) => page.told('new_msg', [text]);
  const reload = () => { page.reloads += 1; page.told('reload'); };
  new Function('io', 'location', 'console', code)(io, { reload }, { log: print, error: print });
  await online(server, 'alice');
  return page;
}

/** Pushes to alice until she is not there; gives what was pushed. */
async function pushUntilOffline(server) {
  const pushed = [];
  const end = performance.now() + DEADLINE_MS;
  for (let answer; answer !== 'offline';) {
    assert.ok(performance.now() < end, 'alice is noticed to be away');
    pushed.push(`missed ${pushed.length}`);
    answer = await server.push({ to: 'alice', content: pushed.at(-1) });
  }
  return pushed;
}

for (const version of VERSIONS) {
  test(`the page that says where it was is cut and gets exactly what it missed, client ${version}`, async (t) => {
    const server = await ownServer(t);
    const page = await sincePage(t, version, server);
    const all = ['before'];
    assert.equal(await server.push({ to: 'alice', content: 'before' }), 'ok');
    await page.receives('before');
    for (let cut = 0; cut < 2; cut += 1) {
      page.way.cut(AWAY_MS);
      all.push(...await pushUntilOffline(server), `to everyone ${cut}`);
      assert.equal(await server.push({ to: '', content: `to everyone ${cut}` }), 'ok');
      await page.receives(`to everyone ${cut}`);
    }
    assert.equal(await server.push({ to: 'alice', content: 'live' }), 'ok');
    await page.receives('live');
    assert.deepEqual([page.messages, page.reloads], [[...all, 'live'], 0]);
  });

  test(`the page that says where it was reloads when the log has forgotten it, client ${version}`, async (t) => {
    const server = await ownServer(t, ['recovery.max_bytes=64 KiB']);
    const page = await sincePage(t, version, server);
    page.way.cut(AWAY_MS);
    await pushUntilOffline(server);
    for (let i = 0; i < 20; i += 1) await server.push({ to: 'alice', content: 'x'.repeat(10_000) });
    await page.until('a reload', () => page.reloads > 0);
    assert.equal(page.reloads, 1);
  });
}

/** The JSON examples of the table of logins with an object. */
function loginExamples() {
  const rows = tableRows(section(SINCE)).slice(2).map(([code]) => code.slice(1, -1));
  const [login, whole, partly, refused, beside] = rows;
  assert.equal(rows.length, 5);
  return { login, whole, partly, refused, beside };
}

test('logins with an object are answered as the table says, and new_msg comes with what it says', async (t) => {
  const { login, whole, partly, refused, beside } = loginExamples();
  assert.deepEqual(login.match(/"\w+"/g), ['"uid"', '"token"', '"since"']);
  const server = await ownServer(t, ['recovery.max_bytes=64 KiB', ...SIGNED]);
  const first = bareSocket(t, '4.x', server);
  await first.next('connect');
  assertAlike(await first.login({}), refused);
  assertAlike(await first.login({ uid: 'alice' }), refused);
  assertAlike(await first.login({ uid: 'bob', token: await token('alice') }), refused);
  const answer = await first.login({ uid: 'alice', token: await token('alice') });
  assertAlike(answer, whole);
  assert.deepEqual([answer.uid, answer.recovered], ['alice', true]);
  const message = first.next('new_msg');
  assert.equal(await server.push({ to: 'alice', content: 'hello' }), 'ok');
  const [content, meta] = await message;
  assert.equal(content, 'hello');
  assertAlike(meta, beside);
  assert.ok(Math.abs(meta.ts - Date.now()) < DEADLINE_MS && meta.id > answer.since);
  const again = bareSocket(t, '1.7.4', server);
  await again.next('connect');
  const missed = again.next('new_msg');
  const told = await again.login({ uid: 'alice', token: await token('alice'), since: answer.since });
  assertAlike(told, whole);
  assert.equal(told.since, answer.since);
  assert.deepEqual(await missed, [content, meta]);
  for (let i = 0; i < 20; i += 1) await server.push({ to: 'alice', content: 'x'.repeat(10_000) });
  const late = bareSocket(t, '4.x', server);
  await late.next('connect');
  const short = await late.login({ uid: 'alice', token: await token('alice'), since: meta.id });
  assertAlike(short, partly);
  assert.equal(short.recovered, false);
  assert.ok(short.oldest > meta.id);
});

for (const version of ['3.1.3', '4.x']) {
  test(`a page may say where it was as it connects, client ${version}`, async (t) => {
    const [, option] = /`(auth: [^`]+)`/.exec(section(SINCE));
    const options = new Function('uid', 'since', `return { ${option} };`);
    const server = await ownServer(t);
    const first = bareSocket(t, version, server, options('alice', undefined));
    const [answer] = await first.next('login');
    assertAlike(answer, loginExamples().whole);
    assert.equal(await server.push({ to: 'alice', content: 'one' }), 'ok');
    const again = bareSocket(t, version, server, options('alice', answer.since));
    const missed = again.next('new_msg');
    assertAlike((await again.next('login'))[0], loginExamples().whole);
    assert.equal((await missed)[0], 'one');
  });
}

const WAITING = 'A push that waits';

test('what the curl lines and the PHP snippet keep waits for alice and bob, until a heartbeat is answered after it', async (t) => {
  const server = await ownServer(t, [await storeIn(t), 'socketio.ping_interval=500ms']);
  const lines = snippet(WAITING, 'sh').map((line) => addressed(line, server));
  const said = [];
  for (const line of lines) said.push(await succeeds(run('sh', ['-c', line]), line));
  assert.deepEqual(said, ['offline', 'ok']);
  const script = addressed(snippet(WAITING, 'php').join('\n'), server);
  assert.equal(await succeeds(run('php', ['-r', script]), script), 'kept');

  const kept = { alice: ['kept', 'kept for everyone', 'kept'], bob: ['kept for everyone'] };
  for (const [uid, contents] of Object.entries(kept)) {
    const page = socketioPage(t, server);
    page.login(uid);
    await page.until('what waited', () => page.messages.length >= contents.length);
    assert.deepEqual(page.messages, contents, uid);
    // A heartbeat, and the store's answer.
    await new Promise((resolve) => { setTimeout(resolve, 1500); });
    await page.close();
    const next = socketioPage(t, server);
    next.login(uid);
    await next.ready();
    assert.deepEqual(next.messages, [], `${uid} has it`);
  }
});

test('what waits comes also when the server was restarted meanwhile, before anything else is kept', async (t) => {
  const server = await ownServer(t, [await storeIn(t)]);
  const [line] = snippet(WAITING, 'sh').map((one) => addressed(one, server));
  assert.equal(await succeeds(run('sh', ['-c', line]), line), 'offline');
  await server.restart();
  const page = socketioPage(t, server);
  page.login('alice');
  await page.receives('kept');
});

test('without a store a push that has to be kept is answered 503 and fail, and says why', async (t) => {
  const server = await ownServer(t, ['store.url=']);
  const [line] = snippet(WAITING, 'sh').map((one) => addressed(one, server));
  const said = await succeeds(run('sh', ['-c', line.replace('curl ', 'curl -si ')]), line);
  const [, reason] = /`(x-[\w-]+)`/.exec(section('A push'));
  assert.match(said, /^HTTP\/1\.1 503 /);
  assert.match(said, new RegExp(`\r\n${reason}: .*store\\.url`, 'i'));
  assert.ok(said.endsWith('\r\n\r\nfail'), said);
  const script = addressed(snippet(WAITING, 'php').join('\n'), server);
  assert.equal(await succeeds(run('php', ['-r', script]), script), 'push it again');
});

function isAlive(pid) {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('the line that stops the server costs no page a message: each that was answered comes after the restart', async (t) => {
  const server = await ownServer(t, [await storeIn(t), 'shutdown.drain=1s']);
  const since = await sincePage(t, '4.x', server);
  const plain = socketioPage(t, server);
  plain.login('bob');
  await plain.ready();
  const { sh } = await shell(t, server.pid);
  const [line] = snippet('A restart', 'sh');
  await succeeds(sh(line), line);
  const answered = { alice: [], bob: [] };
  let left = 0;
  for (let n = 0; isAlive(server.pid); n += 1) {
    for (const to of PEOPLE) {
      const answer = await server.push({ to, content: `push ${n}` }).catch(() => null);
      if (answer !== null) answered[to].push(`push ${n}`);
      if (answer === 'offline') left += 1;
    }
    await new Promise((resolve) => { setTimeout(resolve, 5); });
  }
  assert.ok(left > 0, 'pushes are answered while pages are gone already');
  await server.restart();
  await since.receives(answered.alice.at(-1));
  await plain.receives(answered.bob.at(-1));
  assert.deepEqual(since.messages, answered.alice);
  assert.deepEqual([...new Set(plain.messages)], answered.bob);
});

test('the commands named in the text on settings print sound defaults, and say what is wrong with a file', async (t) => {
  const { folder, sh } = await shell(t);
  const named = section('Settings').match(/`campanile [^`]+`/g).map((code) => code.slice(1, -1));
  assert.deepEqual(named, ['campanile config', 'campanile check-config']);
  const [printing, checking] = named;
  const example = await succeeds(sh(printing), printing);
  await writeFile(path.join(folder, 'campanile.toml'), example);
  const defaults = await succeeds(sh(checking), checking);
  assert.equal(await succeeds(sh(`${checking} --config campanile.toml`), 'the printed file'), defaults);

  await writeFile(path.join(folder, 'campanile.toml'), '[http]\nlisten = "nowhere"\n');
  const wrong = await sh(`${checking} --config campanile.toml`);
  assert.notEqual(wrong.code, 0);
  assert.match(wrong.stdout + wrong.stderr, /http\.listen/);
});

test('the line that installs puts a server into place that starts with the configuration that it wrote', async (t) => {
  const folder = await ownFolder(t);
  const [line] = codeBlocks(section('Install'))[0].lines.map(withoutComment);
  const installs = () => run('sh', ['-c', `${line} DESTDIR=${folder}`], { cwd: REPOSITORY, timeout: 600_000 });
  await succeeds(installs(), line);
  const at = (name) => path.join(folder, name);
  const [configuration, program] = [at('etc/campanile.toml'), at('usr/local/bin/campanile')];
  const text = await readFile(configuration, 'utf8');
  const root = /^root = "(.+)"$/m.exec(text)[1];
  // What an operator has changed stays.
  await writeFile(configuration, `${text.replace(root, at(root))}# mine\n`);
  await succeeds(installs(), 'installing again');
  assert.match(await readFile(configuration, 'utf8'), /# mine/);

  const unit = await readFile(at('etc/systemd/system/campanile.service'), 'utf8');
  const setting = (name) => new RegExp(`^${name}=(.+)$`, 'm').exec(unit)[1];
  const command = setting('ExecStart').split(' ');
  assert.equal(command[0], '/usr/local/bin/campanile');
  assert.equal(setting('LoadCredential'), 'campanile.toml:/etc/campanile.toml');
  assert.equal(setting('WorkingDirectory'), `/var/lib/${setting('StateDirectory')}`);
  const grace = Number(/^grace = "(\d+)s"$/m.exec(text)[1]);
  assert.ok(parseInt(setting('TimeoutStopSec'), 10) > grace);

  const server = await startServer(['--config', configuration], { binary: program, cwd: folder });
  afterwards(t, () => server.stop());
  const client = await fetch(`http://127.0.0.1:${server.socketio.port}/socket.io/socket.io.js`);
  assert.equal(client.status, 200);
  const demo = await fetch(`http://127.0.0.1:${server.web.port}/`);
  assert.match(await demo.text(), /<html/);
});

test('the listeners of the table on settings have the defaults it gives', async (t) => {
  const { sh } = await shell(t);
  const checked = (await succeeds(sh('campanile check-config'), 'check-config')).split('\n');
  const listed = listeners().map(({ name, isOff, address }) => `${name}: ${isOff ? 'off' : address}`);
  assert.equal(listed.length, 9);
  assert.deepEqual(checked.filter((line) => line.includes(': ')), listed);
});

test('the lines with --config, the environment and --set work, and later beats earlier', async (t) => {
  const { folder, sh } = await shell(t);
  await writeFile(path.join(folder, 'campanile.toml'), '[http]\nlisten = "127.0.0.1:3101"\n');
  const lines = codeBlocks(section('Settings'))[0].lines.map(withoutComment);
  assert.equal(lines.length, 3);
  const listens = async (line, address) => {
    const said = await succeeds(sh(`${line} check-config`), line);
    assert.ok(said.split('\n').includes(`http: ${address}`), `${line}\n${said}`);
  };
  const [file, environment, flags] = lines;
  await listens(file, '127.0.0.1:3101');
  await listens(environment, '127.0.0.1:3121');
  await listens(flags, '127.0.0.1:3121');
  await listens(environment.replace('campanile', file), '127.0.0.1:3121');
  await listens(flags.replace('campanile', file), '127.0.0.1:3121');
  await listens(`${environment.replace('campanile', file)} --set http.listen=127.0.0.1:3122`, '127.0.0.1:3122');
});

test('the lines on health and figures say what the text says, and every figure of the table is there', async (t) => {
  const server = await ownServer(t, ['admin.listen=127.0.0.1:0']);
  const refused = bareSocket(t, '4.x', server);
  await refused.next('connect');
  assert.equal((await refused.login('x'.repeat(2000))).code, 'invalid_uid');
  const lines = snippet('Health and figures', 'sh').map((line) => addressed(line, server));
  const said = [];
  for (const line of lines) said.push(await succeeds(run('sh', ['-c', line]), line));
  const [health, readiness, figures] = said;
  assert.deepEqual([health, readiness, said.length], ['ok\n', 'ready\n', 3]);
  assert.ok(figures.endsWith('\n# EOF\n'), figures);
  const present = new Set([...figures.matchAll(/^campanile_([a-z_]+?)(?:_(?:sum|count|bucket))?(?:\{| )/gm)].map(([, name]) => name));
  const rows = tableRows(section('Health and figures')).slice(2);
  const named = rows.flatMap(([names]) => names.match(/`[^`]+`/g).map((code) => code.slice(1, -1)));
  assert.deepEqual(new Set(named), present);
  const values = rows.flatMap(([, words]) => words.match(/`[^`]+`/g) ?? []).map((code) => code.slice(1, -1));
  for (const value of values) assert.match(figures, new RegExp(`[{,]${value}="|="${value}"`), value);
});

test('the bench line, with fewer pages, delivers every message and measures the server', async (t) => {
  const server = await ownServer(t);
  const { sh } = await shell(t, server.pid);
  const line = codeBlocks(section('What it costs'))[0].lines[0];
  const smaller = line.replace('--clients 5000', '--clients 20');
  assert.notEqual(smaller, line);
  const here = `--socketio http://127.0.0.1:${server.socketio.port} --http http://127.0.0.1:${server.http.port}`;
  const result = JSON.parse(await succeeds(sh(`${smaller} ${here} --json`), smaller));
  const { clients, publishes, clean, rounds: [{ publish: { delivered }, memory }] } = result;
  assert.deepEqual({ clients, publishes, clean, delivered }, { clients: 20, publishes: 200, clean: true, delivered: 4000 });
  assert.ok(memory.idle_kib > 0, 'the memory of the process that --pid names');
});

/** The settings of the lines that turn the other three on, by line: [{name, address}]. */
function turningOn() {
  return codeBlocks(section('The other three'))[0].lines.map((line) => {
    const settings = [...line.matchAll(/ --set (\w+)\.listen=(\S+)/g)].map(([, name, address]) => ({ name, address }));
    assert.equal(line, `campanile${settings.map(({ name, address }) => ` --set ${name}.listen=${address}`).join('')}`);
    return { line, settings };
  });
}

test('the lines that turn the other three on set the addresses that the table gives, and check-config says so', async (t) => {
  const { sh } = await shell(t);
  const lines = turningOn();
  assert.equal(lines.length, 3);
  const off = listeners().filter(({ isOff }) => isOff).map(({ name, address }) => ({ name, address }));
  assert.deepEqual(lines.flatMap(({ settings }) => settings), off);
  for (const { line, settings } of lines) {
    const said = (await succeeds(sh(`${line} check-config`), line)).split('\n');
    const here = (name) => settings.find((setting) => setting.name === name)?.address ?? 'off';
    assert.deepEqual(off.map(({ name }) => said.find((one) => one.startsWith(`${name}: `))), off.map(({ name }) => `${name}: ${here(name)}`));
  }
});

for (const { line, settings } of turningOn()) {
  const names = settings.map(({ name }) => name);
  test(`the line that turns ${names.join(' and ')} on starts them and none of the others, on free ports`, async (t) => {
    const free = line.split(' ').filter((word) => word.includes('=')).map((setting) => setting.replace(/:\d+$/, ':0'));
    const server = await ownServer(t, [await storeIn(t), ...free]);
    const on = listeners().filter(({ name, isOff }) => isOff && server[name]).map(({ name }) => name);
    assert.deepEqual(on, names);
  });
}

test('the uid page prints a line pushed to its uid, and no other', async (t) => {
  const server = await ownServer(t, UID_AND_TEXT);
  const { page, errors } = await scriptInChromium(t, 'A uid websocket, and lines', server);
  await online(server, 'alice');
  const line = '{"uid": "alice", "text": "<b>你好</b>"}';
  assert.equal(await pushLine(server, '{"uid":"bob","text":"not for alice"}'), 'fail\n');
  assert.equal(await pushLine(server, line), 'ok\n');
  await page.receives(line);
  assert.deepEqual([page.messages, errors], [[line], []]);
});

test('the PHP snippet of the text port prints ok, and its line reaches the uid page and the Socket.IO page of alice alone', async (t) => {
  const server = await ownServer(t, UID_AND_TEXT);
  const raw = await rawPage(t, server, 'uid_socket');
  await raw.login('alice');
  await online(server, 'alice');
  const pages = [raw, ...await people(t, server)];
  const script = addressed(snippet('A uid websocket, and lines', 'php').join('\n'), server);
  assert.equal(await succeeds(run('php', ['-r', script]), script), 'ok\n');
  await reached({ server, pages }, '{"uid":"alice","percent":"88%"}', ['alice']);
});

test('the four more orders of the text port are taken with text.extensions = true', async (t) => {
  const orders = section('A uid websocket, and lines').match(/`\{"@":[^`]+`/g).map((code) => code.slice(1, -1));
  const [toAll, toGroup, isOnline, kick] = orders;
  assert.deepEqual(orders.map((order) => JSON.parse(order)['@']), ['all', 'group', 'online', 'kick']);
  const server = await chatServer(t, [...UID_AND_TEXT, 'text.extensions=true']);
  assert.equal(await pushLine(server, isOnline), 'fail\n');
  const member = await rawPage(t, server, 'chat');
  await answered(member, JSON.stringify({ type: 'login', uid: 'somebody' }));
  await answered(member, JSON.stringify({ type: 'join', group: JSON.parse(toGroup).to }));
  const { uid } = JSON.parse(kick);
  const page = await rawPage(t, server, 'uid_socket');
  await page.login(uid);
  await online(server, uid);
  for (const order of orders) assert.equal(await pushLine(server, order), 'ok\n', order);
  await page.until('the end of its connection', () => page.disconnects.length > 0);
  await member.receives(toGroup);
  assert.deepEqual([page.messages, member.messages.slice(2)], [[toAll], [toAll, toGroup]]);
});

test('the example of a subscription hears of what differs in none of its keys, on its websocket and over Socket.IO', async (t) => {
  const wish = /such as `(\{[^`]+\})`/.exec(section('Topics, and packets'))[1];
  const keys = Object.keys(JSON.parse(wish));
  const secret = 'a secret of packets';
  const server = await ownServer(t, ['topic_socket.listen=127.0.0.1:0', 'udp.listen=127.0.0.1:0', `udp.secret=${secret}`]);
  const raw = await rawPage(t, server, 'topic_socket');
  await raw.emit(wish);
  const page = socketioPage(t, server);
  await page.connectedTimes(1);
  page.emit('subscribe', JSON.parse(wish));
  const udp = dgram.createSocket('udp4');
  afterwards(t, () => new Promise((resolve) => { udp.close(resolve); }));
  const send = (packet) => new Promise((resolve, reject) => {
    udp.send(packet, server.udp.port, server.udp.host, (error) => (error ? reject(error) : resolve()));
  });
  const right = { [keys[0]]: String(JSON.parse(wish)[keys[0]]), text: 'of the one key, as a text' };
  const wrong = [{ ...JSON.parse(wish), [keys[1]]: 'another', secret }, { text: 'of no key', secret }, { ...right, secret: 'another' }, right];
  const end = performance.now() + DEADLINE_MS;
  const heard = (one) => one.receives(JSON.stringify(right), 200).then(() => true, () => false);
  // Nothing says that a subscription was heard, and a packet may be lost.
  for (;;) {
    for (const packet of [...wrong, { ...right, secret }]) await send(JSON.stringify(packet));
    if ((await Promise.all([raw, page].map(heard))).every(Boolean)) break;
    assert.ok(performance.now() < end, `both pages hear ${JSON.stringify(right)}: ${JSON.stringify([raw.messages, page.messages])}`);
  }
  assert.deepEqual(new Set([...raw.messages, ...page.messages]), new Set([JSON.stringify(right)]));
});

test('the chat page prints the answer to its login and the ack of its message', async (t) => {
  const server = await chatServer(t);
  const { page, errors } = await scriptInChromium(t, CHAT, server);
  await page.until('two answers', () => page.messages.length >= 2);
  const [login, ack, ...more] = page.messages.map((text) => JSON.parse(text));
  assert.deepEqual(login, { type: 'login', ref: 1, uid: 'alice', last: 0 });
  assert.ok(Number.isInteger(ack.id) && ack.id > 0, `an id: ${JSON.stringify(ack)}`);
  assert.deepEqual(ack, { type: 'ack', ref: 2, id: ack.id, delivered: 0 });
  assert.deepEqual([more, errors], [[], []]);
});

/** The rows of the table of the chat: the JSON examples and the single fields of both cells. */
function protocol() {
  const found = (cell) => ({
    objects: [...cell.matchAll(/`(\{[^`]*\})`/g)].map(([, code]) => code),
    fields: [...cell.matchAll(/`("[^`]*)`/g)].map(([, code]) => code),
  });
  const rows = tableRows(section(CHAT)).slice(2).map(([sent, got]) => ({ sent: found(sent), got: found(got) }));
  assert.equal(rows.length, 7, 'rows of the chat');
  const [login, toUsers, toGroup, membership, history, watch, other] = rows;
  return { login, toUsers, toGroup, membership, history, watch, other };
}

/** Says to a chat what an example says, with `fields` for its `…` or beside what it has. */
function filled(example, ...fields) {
  const text = example.replace(', …', '').replace(/\}$/, `${fields.map((field) => `,${field}`).join('')}}`);
  JSON.parse(text);
  return text;
}

async function chatPage(t, server, uid) {
  const page = await rawPage(t, server, 'chat');
  assert.equal((await answered(page, JSON.stringify({ type: 'login', uid }))).type, 'login');
  return page;
}

/** Has a page send a text with a `ref`, and reads its ack; the page may hear the text itself, too. */
async function acknowledged(page, text) {
  const before = page.messages.length;
  await page.emit(text);
  const isAck = (message) => message.startsWith('{"type":"ack"');
  return JSON.parse(await page.until(`an ack of ${text}`, () => page.messages.slice(before).find(isAck)));
}

/** Has a page send texts of its own until the record `last` is kept. */
async function fillUntil(page, last, addressees) {
  for (let id = 0, ref = 0; id < last; ref += 1) {
    ({ id } = await acknowledged(page, JSON.stringify({ ...addressees[ref % addressees.length], ref, msg: `early ${ref}` })));
  }
}

test('each message of the table of the chat gets the answer that stands beside it', async (t) => {
  const { login, toUsers, toGroup, membership, history, watch, other } = protocol();
  const server = await chatServer(t, ['chat.presence_grace=50ms']);
  const [bob, eve] = [await chatPage(t, server, 'bob'), await chatPage(t, server, 'eve')];
  await answered(bob, membership.sent.objects[0]);
  await fillUntil(bob, 7, [{ group: 'g' }, { uid: 'alice' }]);
  const alice = await rawPage(t, server, 'chat');
  const asks = async (text, example) => {
    const answer = await answered(alice, text);
    assertAlike(answer, example);
    return answer;
  };

  await asks(login.sent.objects[0], login.got.objects[0]);

  const [toBob, toBoth] = toUsers.sent.objects;
  const [ref] = toUsers.got.fields;
  assert.equal(ref, '"ref":1');
  await alice.emit(filled(toBob, '"msg":"without ref"'));
  const acks = [await asks(filled(toBob, ref), toUsers.got.objects[0]), await asks(filled(toBoth, ref), toUsers.got.objects[0])];
  assert.deepEqual(acks.map((ack) => [ack.ref, ack.delivered]), [[1, 1], [1, 2]]);
  for (const text of [filled(toBob, '"msg":"without ref"'), filled(toBob, ref), filled(toBoth, ref)]) await bob.receives(text);
  await eve.receives(filled(toBoth, ref));

  const groupMessage = filled(toGroup.sent.objects[0], '"ref":2');
  await asks(groupMessage, other.got.objects[0]);
  const [join, leave] = membership.sent.objects;
  await asks(join, membership.got.objects[0]);
  assertAlike(await acknowledged(alice, groupMessage), toUsers.got.objects[0]);
  await Promise.all([alice, bob].map((page) => page.receives(groupMessage)));

  const withBob = await asks(history.sent.objects[0], history.got.objects[0]);
  const { before: bound } = JSON.parse(history.sent.objects[0]);
  const ids = withBob.items.map(({ id }) => id);
  assert.deepEqual(ids, ids.filter((id) => id < bound).sort((a, b) => b - a), 'older records, the newest first');
  const ofGroup = history.sent.objects[0].replace('"with":"bob"', history.sent.fields[0]);
  assert.notEqual(ofGroup, history.sent.objects[0]);
  await asks(ofGroup, history.got.objects[0].replace('"with":"bob"', history.sent.fields[0]));

  await asks(leave, membership.got.objects[1]);
  await asks(groupMessage, other.got.objects[0]);

  const [watching, unwatching] = watch.sent.objects;
  assert.equal((await asks(watching, watch.got.objects[0])).online, true);
  const told = alice.messages.length;
  await bob.close();
  assertAlike(JSON.parse(await alice.until('news of bob', () => alice.messages[told])), watch.got.objects[0]);
  assert.equal(JSON.parse(alice.messages[told]).online, false);
  await alice.emit(unwatching);
  await asks('{"ref":3}', other.got.objects[0]);
  await chatPage(t, server, 'bob');
  await online(server, 'bob');
  const fault = await asks(filled('{"type":"join"}', '"ref":3'), other.got.objects[0]);
  assert.deepEqual([fault.ref, /group/.test(fault.error)], [3, true]);
});

test('with since, a login and a join of the table of the chat are answered and then told what came after that record', async (t) => {
  const { login, membership } = protocol();
  const [join] = membership.sent.objects;
  const since = login.got.fields[0];
  const [, record] = /^"since":(\d+)$/.exec(since);
  const server = await chatServer(t);
  const bob = await chatPage(t, server, 'bob');
  await answered(bob, join);
  const addressees = [{ uid: 'alice' }, { group: JSON.parse(join).group }];
  await fillUntil(bob, Number(record), addressees);
  const late = addressees.map((addressee) => JSON.stringify({ ...addressee, ref: 0, msg: 'late' }));
  for (const text of late) await acknowledged(bob, text);

  const alice = await rawPage(t, server, 'chat');
  await alice.emit(filled(login.sent.objects[0], since));
  await alice.receives(late[0]);
  await alice.emit(filled(join, since));
  await alice.receives(late[1]);
  assert.equal((await answered(alice, '{}')).type, 'error');
  const [loggedIn, first, joined, second, ...more] = alice.messages;
  assertAlike(JSON.parse(loggedIn), login.got.objects[0]);
  assertAlike(JSON.parse(joined), membership.got.objects[0]);
  assert.deepEqual([first, second, more.length], [...late, 1]);
});

test('README.zh.md has the same commands and code as README.md, comments apart', () => {
  const code = (text) => codeBlocks(text).map(({ language, lines }) => [language, ...lines.map(withoutComment)]);
  assert.deepEqual(code(CHINESE), code(ENGLISH));
});

test('README.zh.md has the same sections, lists, tables and figures as README.md', () => {
  const shape = (text) => text.match(/^(#+|-) /gm);
  assert.deepEqual(shape(CHINESE), shape(ENGLISH));
  const untranslated = /^(\d[^\u4e00-\u9fff]*|`[^`]+`|-+|)$/;
  const figures = (text) => tableRows(text).map((cells) => cells.map((cell) => (untranslated.test(cell) ? cell : 'words')));
  assert.deepEqual(figures(CHINESE), figures(ENGLISH));
  const code = (text) => tableRows(text).map((cells) => cells.map((cell) => (cell.match(/`[^`]+`/g) ?? []).sort()));
  assert.deepEqual(code(CHINESE), code(ENGLISH));
});

test('each README links to the other, and every link into the repository leads somewhere', async () => {
  assert.ok(ENGLISH.includes('](README.zh.md)') && CHINESE.includes('[English](README.md)'));
  for (const text of [ENGLISH, CHINESE]) {
    const anchors = text.match(/^#+ .*$/gm).map((line) => line.replace(/^#+ /, '#').toLowerCase().replace(/[,.:]/g, '').replaceAll(' ', '-'));
    for (const [, target] of text.matchAll(/\]\(([^)]+)\)/g)) {
      if (target.startsWith('#')) assert.ok(anchors.includes(target), `a heading for ${target}`);
      else if (!target.includes('://')) await stat(path.join(REPOSITORY, target));
    }
  }
});

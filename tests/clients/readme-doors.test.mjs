// Owns the proof that README.md is true where it tells who may log in, who may push, what stands in
// front of the server and what it bounds: each snippet, line and table is taken from the text and run.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { client } from '../../benches/cuts/page.mjs';
import { DEADLINE_MS, REPOSITORY, afterwards } from './harness.mjs';
import {
  ENGLISH, SECRET, SIGNED, UID_AND_TEXT, addressed, answered, areDefaults, assertAlike, bareSocket, chatServer, codeBlocks,
  minted, online, ownFolder, ownServer, people, peopled, pushLine, rawPage, reached, run, section, shell, snippet,
  socketioPage, succeeds, tableRows, token,
} from './readme.mjs';

/** What stands between backticks in a text, its code blocks apart. */
const codes = (text) => (text.replace(/^```[^]*?^```$/gm, '').match(/`[^`]+`/g) ?? []).map((code) => code.slice(1, -1));

/** Waits until `look` gives something. */
async function eventually(what, look) {
  for (const end = performance.now() + DEADLINE_MS; ;) {
    const found = await look();
    if (found) return found;
    assert.ok(performance.now() < end, what);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

/** Starts a program that serves, until the test ends. */
async function serving(t, program, args, port) {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (bytes) => { said += bytes; });
  const ended = new Promise((resolve) => { child.once('close', resolve); });
  afterwards(t, () => {
    child.kill('SIGKILL');
    return ended;
  });
  const isOpen = () => new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
  await eventually(`${program} serves`, isOpen).catch((error) => { throw new Error(`${error.message}: ${said}`); });
}

const DOORS = 'TLS, proxies, Unix sockets';

/** Makes the files of TLS that the text names, but in a folder of the test: a certificate for loopback, and its key. */
async function certificate(folder) {
  const [cert, key] = ['fullchain', 'privkey'].map((name) => path.join(folder, `${name}.pem`));
  const line = `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout ${key} -out ${cert}`;
  await succeeds(run('sh', ['-c', line]), line);
  return cert;
}

/** A port that was free a moment ago. */
function freePort() {
  const server = net.createServer();
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A configuration of the text, as the settings that set it. */
function settings(heading, nth = 0) {
  const { lines } = codeBlocks(section(heading)).filter(({ language }) => language === 'toml')[nth];
  let part;
  return lines.flatMap((line) => {
    const [, name] = /^\[(\w+)\]$/.exec(line) ?? [];
    part = name ?? part;
    return name || !line ? [] : [`${part}.${line.replace(' = ', '=').replace(/="(.*)"$/, '=$1')}`];
  });
}

test('every configuration of the text is a sound one', async (t) => {
  const { folder, sh } = await shell(t);
  const blocks = codeBlocks(ENGLISH).filter(({ language }) => language === 'toml');
  assert.equal(blocks.length, 5);
  await certificate(folder);
  for (const { lines } of blocks) {
    // The files that it names are read.
    await writeFile(path.join(folder, 'campanile.toml'), lines.join('\n').replaceAll('/etc/campanile/', `${folder}/`));
    await succeeds(sh('campanile --config campanile.toml check-config'), lines.join('\n'));
  }
});

test('auth.secret has to be as long as the text says', async (t) => {
  const { sh } = await shell(t);
  const [, bytes] = /at least (\d+) bytes/.exec(section('Signed tokens'));
  const check = (length) => sh(`campanile --set auth.mode=signed --set auth.secret=${'x'.repeat(length)} check-config`);
  await succeeds(check(Number(bytes)), 'a secret that is long enough');
  const { code, stdout, stderr } = await check(Number(bytes) - 1);
  assert.notEqual(code, 0);
  assert.match(stdout + stderr, /auth\.secret/);
});

for (const language of ['php', 'python', 'js']) {
  test(`the token of the line of ${language} logs a Socket.IO page in, and a plain uid does not`, async (t) => {
    const server = await ownServer(t, SIGNED);
    const page = socketioPage(t, server);
    await page.connectedTimes(1);
    // The first login that is taken counts: had this been, the next would be ignored.
    page.emit('login', 'bob');
    page.login(await token('用户 a.b', language));
    page.uid = '用户 a.b';
    await page.ready();
    assert.equal(await server.push({ to: 'bob', content: 'for nobody' }), 'offline');
  });
}

test('the token of the PHP line logs a page of the uid websocket in, and a plain uid does not', async (t) => {
  const server = await ownServer(t, [...UID_AND_TEXT, ...SIGNED]);
  const stranger = await rawPage(t, server, 'uid_socket');
  await stranger.login('alice');
  await stranger.until('the end of its connection', () => stranger.disconnects.length > 0);
  assert.equal(await server.push({ to: 'alice', content: 'for nobody' }), 'offline');
  const page = await rawPage(t, server, 'uid_socket');
  await page.login(await token('alice'));
  await online(server, 'alice');
  assert.equal(await server.push({ to: 'alice', content: 'hello' }), 'ok');
  await page.receives('hello');
});

const CHAT_LOGIN = '{"type":"login","uid":"alice","last":7}';

test('the token of the PHP line logs a chat page in, by its login or its URL, and a plain uid does not', async (t) => {
  const server = await chatServer(t, SIGNED);
  const made = await token('alice');
  const page = await rawPage(t, server, 'chat');
  assert.equal((await answered(page, JSON.stringify({ type: 'login', uid: 'alice' }))).type, 'error');
  assert.equal((await answered(page, JSON.stringify({ type: 'login', token: 'alice' }))).type, 'error');
  assert.equal(await server.push({ to: 'alice', content: 'for nobody' }), 'offline');
  assertAlike(await answered(page, JSON.stringify({ type: 'login', token: made })), CHAT_LOGIN);
  const other = await rawPage(t, server, 'chat', `?token=${made}`);
  const first = await other.until('an answer to its URL', () => other.messages[0]);
  assertAlike(JSON.parse(first), CHAT_LOGIN);
});

for (const language of ['php', 'js']) {
  test(`the JSON Web Token of ${language} logs a page in, with its groups, and one by another key does not`, async (t) => {
    const [mode, keys] = settings('JSON Web Tokens');
    const secret = /secret = "(.*)"/.exec(keys)[1];
    const server = await ownServer(t, [...UID_AND_TEXT, 'text.extensions=true', mode, keys]);
    const page = bareSocket(t, '4.x', server);
    await page.next('connect');
    const make = (by) => minted('JSON Web Tokens', language, 'alice', by);
    assert.equal((await page.login(await make('x'.repeat(40)))).code, 'bad_signature');
    const answer = await page.login(await make(secret));
    assert.deepEqual([answer.ok, answer.uid], [true, 'alice']);
    const message = page.next('new_msg');
    assert.equal(await pushLine(server, '{"@":"group","to":"staff","text":"hi"}'), 'ok\n');
    assert.match((await message)[0], /hi/);
  });
}

/** The examples of the table of the webhook. */
function webhookExamples() {
  const rows = tableRows(section('Your backend is asked')).slice(2).map(([cell]) => codes(cell)[0]);
  assert.equal(rows.length, 5);
  return rows;
}

test('the PHP page of the webhook lets a page in by its session, and tells any other why not', async (t) => {
  const folder = await ownFolder(t);
  const [mode, , bearer] = settings('Your backend is asked');
  await writeFile(path.join(folder, 'login.php'), snippet('Your backend is asked', 'php').join('\n'));
  await writeFile(path.join(folder, 'sess_abc123'), 'uid|s:5:"alice";');
  const port = await freePort();
  await serving(t, 'php', ['-d', `session.save_path=${folder}`, '-S', `127.0.0.1:${port}`, '-t', folder], port);
  const server = await ownServer(t, [mode, `auth.webhook_url=http://127.0.0.1:${port}/login.php`, bearer]);
  const comes = async (cookie) => {
    const page = bareSocket(t, '4.x', server, { extraHeaders: cookie ? { cookie } : {} });
    await page.next('connect');
    return page.login({});
  };
  const answer = await comes('a=b; PHPSESSID=abc123');
  assert.deepEqual([answer.ok, answer.uid], [true, 'alice']);
  for (const cookie of ['PHPSESSID=another', '']) {
    const { ok, code, error } = await comes(cookie);
    assert.deepEqual([ok, code], [false, 'refused']);
    assert.match(error, /log in first/);
  }
});

test('the webhook is asked as the table says, and its answers mean what stands there', async (t) => {
  const [question, uid, refusal, nobody] = webhookExamples();
  const asked = [];
  let answer;
  const { default: http } = await import('node:http');
  const backend = http.createServer(async (request, response) => {
    let body = '';
    for await (const bytes of request) body += bytes;
    asked.push([request.method, JSON.parse(body)]);
    response.writeHead(answer[0]).end(answer[1]);
  });
  await new Promise((resolve) => { backend.listen(0, '127.0.0.1', resolve); });
  afterwards(t, () => { backend.closeAllConnections(); backend.close(); });
  const server = await ownServer(t, ['auth.mode=webhook', `auth.webhook_url=http://127.0.0.1:${backend.address().port}/`]);
  const comes = async (...with_) => {
    answer = with_;
    const page = bareSocket(t, '4.x', server, { extraHeaders: { cookie: 'a=b' } });
    await page.next('connect');
    return page.login({ anything: 1 });
  };
  const later = JSON.stringify({ ...JSON.parse(uid), expires: Math.floor(Date.now() / 1000) + 60 });
  assert.deepEqual((({ ok, uid: who }) => [ok, who])(await comes(200, later)), [true, 'alice']);
  const [method, said] = asked[0];
  assert.equal(method, 'POST');
  assertAlike({ ...said, peer: JSON.parse(question.replaceAll('…', '0')).peer }, question);
  assert.deepEqual([said.login, said.headers.cookie], [{ anything: 1 }, 'a=b']);
  for (const status of [401, 403, 404]) {
    const { code, error } = await comes(status, refusal);
    assert.deepEqual([code, error.includes(JSON.parse(refusal).error)], ['refused', true]);
  }
  assert.equal((await comes(200, nobody)).code, 'refused');
  assert.equal((await comes(500, 'no')).code, codes(tableRows(section('Your backend is asked')).at(-1)[1])[0]);
});

test('the table of codes names every code with which a login is refused', async () => {
  const source = (file) => readFile(path.join(REPOSITORY, 'src', file), 'utf8');
  const [, list] = /CODES: [^=]*= \[([^\]]*)\]/.exec(await source('auth/refused.rs'));
  const entrance = (await source('gateway/entrance.rs')).match(/Self::(?:Second|Pending|OtherUid) => "\w+"/g);
  const known = [list, ...entrance].flatMap((text) => [...text.matchAll(/"(\w+)"/g)].map(([, code]) => code));
  const named = tableRows(section('Refusals and renewals')).slice(2).flatMap(([cell]) => codes(cell));
  assert.deepEqual(new Set(named), new Set([...known, 'invalid_login', 'logins', 'pages_per_uid']));
});

test('the page that renews its token stays, and one whose token expires is told so and comes back', async (t) => {
  const server = await ownServer(t, SIGNED);
  const code = addressed(snippet('Refusals and renewals', 'js').join('\n'), server);
  const sign = async (seconds) => {
    const { createHmac } = await import('node:crypto');
    const signed = `alice.${Math.floor(Date.now() / 1000) + seconds}`;
    return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('hex')}`;
  };
  const printed = [];
  let seconds = 2;
  let renew;
  let waits;
  let connections = 0;
  const io = (url) => {
    const socket = client('4.x')(url, { forceNew: true });
    afterwards(t, () => socket.disconnect());
    socket.on('connect', () => { connections += 1; });
    return socket;
  };
  const page = new Function('io', 'fetch', 'setInterval', 'setTimeout', 'console', code);
  page(io, async () => ({ text: () => sign(seconds) }), (act) => { renew = act; }, (act) => { waits = act; }, { error: (...said) => printed.push(said) });
  await online(server, 'alice');
  seconds = 4;
  await renew();
  // The first token is over by now, and the page is still there.
  await new Promise((resolve) => { setTimeout(resolve, 2600); });
  assert.deepEqual([await server.push({ to: 'alice', content: 'hi' }), printed, connections], ['ok', [], 1]);
  await eventually('it is told that its time is over', () => waits);
  assert.deepEqual(printed.map(([word]) => word), ['token_expired']);
  assert.equal(await server.push({ to: 'alice', content: 'hi' }), 'offline');
  waits();
  await online(server, 'alice');
  assert.equal(connections, 2);
});

const KEY = 'a-long-random-text';
const KEYED = [`api.keys=["push:${KEY}", "read:a-key-for-figures", "push+read:a-key-for-both-of-them"]`];

/** Pushes as a program would that has no key or a wrong one: the status and the reason. */
async function pushed({ http }, headers = {}, query = '') {
  const response = await fetch(`http://127.0.0.1:${http.port}/?type=publish&to=alice&content=x${query}`, { headers });
  return [response.status, await response.text(), response.headers.get('x-campanile-reason') ?? ''];
}

test('the curl line and the PHP line with a key reach alice alone, and without one, or with another, nobody is reached', async (t) => {
  for (const what of ['sh', 'php']) {
    const server = await ownServer(t, KEYED);
    const [alice] = await people(t, { ...server, push: keyed(server) });
    const text = addressed(snippet('Who may push', what).join('\n'), server);
    const made = what === 'sh' ? run('sh', ['-c', text]) : run('php', ['-r', `$key = '${KEY}'; ${text}`]);
    assert.equal(await succeeds(made, text), 'ok');
    await alice.receives('hello');
    assert.deepEqual(await pushed(server).then(([status, word]) => [status, word]), [401, 'fail']);
    assert.match((await pushed(server, { authorization: 'Bearer nothing' })).join(' '), /^401 fail .*not known/);
    assert.match((await pushed(server, { authorization: 'Bearer a-key-for-figures' })).join(' '), /^403 fail .*not for this/);
    assert.deepEqual((await pushed(server, {}, `&key=${KEY}`)).slice(0, 2), [200, 'ok']);
    await alice.receives('x');
    assert.deepEqual(alice.messages, ['hello', 'x']);
  }
});

/** The `push` of a server that takes a key. */
function keyed({ http }) {
  return async (fields) => {
    const body = new URLSearchParams({ type: 'publish', ...fields, key: KEY });
    return (await fetch(`http://127.0.0.1:${http.port}/`, { method: 'POST', body })).text();
  };
}

test('a line with a key begins a text connection, and without it every line is answered fail', async (t) => {
  const [row] = tableRows(section('Who may push')).filter(([port]) => port === '`[text]`');
  const [line, word] = codes(row[1]);
  const server = await ownServer(t, [...UID_AND_TEXT, ...KEYED]);
  const [alice] = await people(t, { ...server, push: keyed(server) });
  const push = '{"uid":"alice","text":"by a line"}';
  assert.equal(await pushLine(server, push), `${codes(row[2])[0]}\n`);
  const socket = net.connect({ ...server.text });
  afterwards(t, () => socket.destroy());
  let said = '';
  socket.on('data', (bytes) => { said += bytes; });
  socket.write(`${line}\n${push}\n`);
  await eventually('two answers', () => said.split('\n').length > 2);
  assert.equal(said, `${word}\nok\n`);
  await alice.receives(push);
  assert.deepEqual(alice.messages, [push]);
});

test('a push port on another address than loopback needs a key, or the word of the operator', async (t) => {
  const { sh } = await shell(t);
  const [line] = codeBlocks(section('Who may push')).find(({ language }) => language === '').lines;
  await succeeds(sh(`${line} check-config`), line);
  const without = line.replace(/ --set 'api\.keys.*'/, '');
  assert.notEqual(without, line);
  const { code, stdout, stderr } = await sh(`${without} serve`);
  assert.notEqual(code, 0);
  assert.match(stdout + stderr, /http\.listen.*api\.keys.*api\.allow_open/);
  for (const listener of ['text', 'udp']) {
    assert.notEqual((await sh(`campanile --set ${listener}.listen=0.0.0.0:0 check-config`)).code, 0, listener);
  }
  const [word] = codes(section('Who may push')).filter((one) => one.startsWith('api.allow_open'));
  await succeeds(sh(`${without} --set ${word.replaceAll(' ', '')} check-config`), word);
});

test('a page of another site may not make a browser push, with or without a key, unless it is allowed', async (t) => {
  const cross = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' };
  const server = await ownServer(t);
  assert.deepEqual((await pushed(server, cross)).slice(0, 2), [403, 'fail']);
  const asking = await ownServer(t, KEYED);
  assert.deepEqual((await pushed(asking, cross, `&key=${KEY}`)).slice(0, 2), [403, 'fail']);
  const [word] = codes(section('Who may push')).filter((one) => one.startsWith('http.allow_cross_site'));
  const allowing = await ownServer(t, [word.replaceAll(' ', '')]);
  assert.deepEqual((await pushed(allowing, cross)).slice(0, 2), [200, 'offline']);
});

test('the PHP that signs reaches alice where nothing but a signature is taken, and a changed body reaches nobody', async (t) => {
  const [word] = codes(section('Signed pushes')).filter((one) => one.startsWith('api.'));
  const server = await ownServer(t, KEYED);
  const signing = await ownServer(t, [...KEYED, word.replaceAll(' ', '')]);
  const page = socketioPage(t, signing);
  await page.connectedTimes(1);
  page.emit('login', 'alice');
  for (const one of [server, signing]) {
    const script = `$key = '${KEY}'; ${addressed(snippet('Signed pushes', 'php').join('\n'), one)}`;
    await eventually('alice is there', async () => one === server || await succeeds(run('php', ['-r', script]), script) === 'ok');
    const changed = script.replace('CURLOPT_POSTFIELDS, $body', "CURLOPT_POSTFIELDS, $body . '!'");
    assert.notEqual(changed, script);
    assert.equal(await succeeds(run('php', ['-r', changed]), changed), 'fail');
  }
  await page.receives('hello');
  assert.deepEqual((await pushed(signing, { authorization: `Bearer ${KEY}` })).slice(0, 2), [401, 'fail']);
  assert.equal(new Set(page.messages).size, 1);
});

test('with the settings of TLS backends push by https and pages connect by wss, and nothing else is spoken', async (t) => {
  const folder = await ownFolder(t);
  const cert = await certificate(folder);
  const server = await ownServer(t, settings(DOORS).map((setting) => setting.replace('/etc/campanile/', `${folder}/`)));
  const line = `curl -s --cacert ${cert} -d type=publish -d to=alice -d content=hello https://127.0.0.1:${server.http.port}/`;
  const page = client('4.x')(`https://127.0.0.1:${server.socketio.port}`, { forceNew: true, transports: ['websocket'], ca: await readFile(cert) });
  afterwards(t, () => page.disconnect());
  const told = new Promise((resolve) => { page.once('new_msg', resolve); });
  page.on('connect', () => page.emit('login', 'alice'));
  await eventually('alice is there', async () => await succeeds(run('sh', ['-c', line]), line) === 'ok');
  assert.equal(await told, 'hello');
  assert.notEqual((await run('curl', ['-s', `http://127.0.0.1:${server.http.port}/?type=publish&to=alice&content=x`])).stdout, 'ok');
});

test('pages go through nginx, as the text sets it up, to the Unix socket, and from other sites none where origins are listed', async (t) => {
  const folder = await ownFolder(t);
  const port = await freePort();
  const socket = path.join(folder, 'pages.sock');
  const here = (text) => {
    assert.ok(text.includes('/run/campanile/pages.sock'), text);
    return text.replaceAll('/run/campanile/pages.sock', socket);
  };
  const said = settings(DOORS, 1).filter((setting) => !setting.startsWith('socketio.listen'));
  assert.equal(said.length, 2);
  const server = await ownServer(t, [...said.map((one) => (one.includes('.unix=') ? here(one) : one)), 'socketio.origins=["https://www.example.com"]']);
  const block = here(snippet(DOORS, 'nginx').join('\n')).replace('listen 80;', `listen 127.0.0.1:${port};`);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}/${kind};`);
  const whole = `daemon off;\nmaster_process off;\npid ${folder}/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n${temporary.join('\n')}\n${block}\n}\n`;
  await writeFile(path.join(folder, 'nginx.conf'), whole);
  await serving(t, '/usr/sbin/nginx', ['-p', folder, '-e', 'stderr', '-c', path.join(folder, 'nginx.conf')], port);
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    const page = client('4.x')(`http://127.0.0.1:${port}`, { forceNew: true, transports });
    afterwards(t, () => page.disconnect());
    const told = new Promise((resolve) => { page.once('new_msg', resolve); });
    page.on('connect', () => page.emit('login', `alice ${transports}`));
    await eventually('alice is there', async () => await server.push({ to: `alice ${transports}`, content: 'hello' }) === 'ok');
    assert.equal(await told, 'hello');
  }
  const asked = `http://127.0.0.1:${port}/socket.io/?EIO=4&transport=polling`;
  assert.equal((await fetch(asked, { headers: { origin: 'https://evil.example' } })).status, 403);
  assert.equal((await fetch(asked, { headers: { origin: 'https://www.example.com' } })).status, 200);
});

test('what the text shows of nginx, Caddy and Apache stands in the files that it names', async () => {
  const files = { nginx: 'nginx.conf', caddy: 'Caddyfile', apache: 'apache.conf' };
  for (const [language, file] of Object.entries(files)) {
    const whole = (await readFile(path.join(REPOSITORY, 'packaging', file), 'utf8')).replace(/\s+/g, ' ')
      .replace('http://campanile_pages;', 'http://unix:/run/campanile/pages.sock;');
    for (const line of snippet(DOORS, language)) assert.ok(whole.includes(line.trim()), `${file}: ${line}`);
  }
});

test('the table of limits gives the defaults', async (t) => {
  const rows = tableRows(section('Limits')).slice(2);
  assert.equal(rows.length, 12);
  await areDefaults(t, rows);
});

test('who is over a limit is told so as the table says', async (t) => {
  const rows = tableRows(section('Limits')).slice(2);
  const verdict = (name) => rows.find(([names]) => codes(names).includes(`limits.${name}`))[3];
  const bounded = (...more) => ownServer(t, ['limits.exempt=[]', ...more]);
  const asks = async (server) => {
    const response = await fetch(`http://127.0.0.1:${server.socketio.port}/socket.io/?EIO=4&transport=polling`);
    return [response.status, await response.text(), response.headers.get('retry-after')];
  };
  const flood = await bounded('limits.handshakes_per_second=1');
  const answers = [];
  for (let n = 0; n < 15; n += 1) answers.push(await asks(flood));
  const [status, body, after] = answers.at(-1);
  assert.ok(Number(after) > 0);
  assert.equal(String(status), verdict('handshakes_per_second'));
  const [example] = codes(section('Limits')).filter((code) => code.startsWith('{"code"'));
  assertAlike(JSON.parse(body), example);

  const server = await bounded('limits.pages_per_uid=1', 'limits.refused_logins=2', 'limits.events_per_second=1');
  const first = bareSocket(t, '4.x', server);
  await first.next('connect');
  assert.equal((await first.login('alice')).ok ?? true, true);
  const second = bareSocket(t, '4.x', server);
  await second.next('connect');
  const gone = second.next('disconnect');
  assert.equal((await second.login({ uid: 'alice' })).code, codes(verdict('pages_per_uid'))[0]);
  assert.equal((await second.login({ uid: 'alice' })).code, codes(verdict('pages_per_uid'))[0]);
  assert.deepEqual((await gone)[0], 'io server disconnect');

  const talker = bareSocket(t, '4.x', server, { transports: ['polling'] });
  await talker.next('connect');
  const over = talker.next(codes(verdict('events_per_second'))[0]);
  const cut = talker.next('disconnect');
  for (let n = 0; n < 30; n += 1) talker.emit('new_msg', n);
  assert.equal((await over)[0].code, 'events');
  assert.equal((await cut)[0], 'io server disconnect');

  const full = await bounded('limits.memory=1 B', 'limits.memory_interval=20ms');
  await eventually('memory is short', async () => String((await asks(full))[0]) === verdict('memory'));
});

// Owns how a test reads README.md (its code blocks, tables and sections) and runs what stands there:
// with servers of its own, pages of Node and of Chromium, and programs. Tests are in readme*.test.mjs.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { client } from '../../benches/cuts/page.mjs';
import { DEADLINE_MS, REPOSITORY, afterwards, connect, launchChromium, startServer, within } from './harness.mjs';
import { Page } from './page.mjs';

export const BINARY = path.resolve(process.env.CAMPANILE_BIN || `${REPOSITORY}target/release/campanile`);
export const COMMAND_DEADLINE_MS = 30_000;
export const PEOPLE = ['alice', 'bob'];
export const ENGLISH = await readFile(path.join(REPOSITORY, 'README.md'), 'utf8');
export const CHINESE = await readFile(path.join(REPOSITORY, 'README.zh.md'), 'utf8');

/** All code blocks of a Markdown text, fenced and indented, in order: {language, lines}. */
export function codeBlocks(markdown) {
  const blocks = [];
  let open = null;
  for (const line of markdown.split('\n')) {
    const fence = /^```(.*)$/.exec(line);
    if (open?.fenced) {
      if (fence) open = null;
      else open.lines.push(line);
    } else if (fence) {
      blocks.push(open = { fenced: true, language: fence[1], lines: [] });
    } else if (line.startsWith('    ')) {
      if (!open) blocks.push(open = { fenced: false, language: '', lines: [] });
      open.lines.push(line.slice(4));
    } else {
      open = null;
    }
  }
  return blocks.map(({ language, lines }) => ({ language, lines }));
}

/** The text from a heading of the second level to the next one, or from one of the third to the next of either. */
export function section(heading) {
  const parts = [/^## /m, /^###? /m].flatMap((level) => ENGLISH.split(level));
  const found = parts.find((part) => part.startsWith(`${heading}\n`));
  assert.ok(found, `README.md has a section "${heading}"`);
  return found;
}

/** The one block of a language under a heading, headings below it apart. */
export function snippet(heading, language) {
  const own = section(heading).split('\n### ')[0];
  const found = codeBlocks(own).filter((block) => block.language === language);
  assert.equal(found.length, 1, `one block of "${language}" in "${heading}"`);
  return found[0].lines;
}

export const withoutComment = (line) => line.replace(/\s+# .*$/, '');

/** The rows of all tables, as lists of cells. */
export function tableRows(markdown) {
  const rows = markdown.split('\n').filter((line) => line.startsWith('|'));
  return rows.map((row) => row.split('|').slice(1, -1).map((cell) => cell.trim()));
}

/** The table of listeners: {name, isOff, address}. */
export function listeners() {
  return tableRows(section('Settings')).slice(2).map(([name, cell]) => {
    const [, off, address] = /^(off; )?`([\d.]+:\d+)`$/.exec(cell) ?? [];
    assert.ok(address, `an address of ${name}: ${cell}`);
    return { name: name.replace(/[`[\]]/g, ''), isOff: off !== undefined, address };
  });
}

/** A text of the README with the ports of `server` in place of the usual ones. */
export function addressed(text, server) {
  const usual = new Map(listeners().map(({ name, address }) => [address.split(':')[1], name]));
  const changed = text.replace(/127\.0\.0\.1:(\d+)/g, (address, port) => {
    const there = server[usual.get(port)];
    return there ? `127.0.0.1:${there.port}` : address;
  });
  assert.notEqual(changed, text, `it names a port of the server: ${text}`);
  return changed;
}

/** Runs a program to its end: {code, stdout, stderr}. */
export function run(program, args, options = {}) {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('CAMPANILE_'));
  const env = { ...Object.fromEntries(inherited), no_proxy: '*', ...options.env };
  return new Promise((resolve, reject) => {
    execFile(program, args, { timeout: COMMAND_DEADLINE_MS, ...options, env }, (error, stdout, stderr) => {
      if (error && typeof error.code !== 'number') reject(new Error(`${program} ${args.join(' ')}: ${error.message}`));
      else resolve({ code: error?.code ?? 0, stdout, stderr });
    });
  });
}

export async function succeeds(ran, what) {
  const { code, stdout, stderr } = await ran;
  assert.equal(code, 0, `${what}\n${stdout}${stderr}`);
  return stdout;
}

export async function ownServer(t, settings = []) {
  const server = await startServer(settings.flatMap((setting) => ['--set', setting]));
  afterwards(t, () => server.stop());
  return server;
}

export async function ownFolder(t) {
  const folder = await mkdtemp(path.join(tmpdir(), 'campanile-readme-'));
  afterwards(t, () => rm(folder, { recursive: true }));
  return folder;
}

export const storeIn = async (t) => `store.url=sqlite:${path.join(await ownFolder(t), 'x.db')}`;

export const UID_AND_TEXT = ['uid_socket.listen=127.0.0.1:0', 'text.listen=127.0.0.1:0'];

/** A server with a chat on an empty store. */
export async function chatServer(t, settings = []) {
  return ownServer(t, ['chat.listen=127.0.0.1:0', await storeIn(t), ...settings]);
}

export function socketioPage(t, server) {
  const page = connect('4.x', 'websocket only', server);
  afterwards(t, () => page.close());
  return page;
}

/** One Socket.IO page of each of the people, logged in. */
export async function people(t, server) {
  const pages = PEOPLE.map((uid) => {
    const page = socketioPage(t, server);
    page.login(uid);
    return page;
  });
  await Promise.all(pages.map((page) => page.ready()));
  return pages;
}

/** A server with the people. */
export async function peopled(t) {
  const server = await ownServer(t);
  return { server, pages: await people(t, server) };
}

/** Waits until a push to `uid` finds somebody. Pages keep no such probe among their messages. */
export async function online(server, uid) {
  const end = performance.now() + DEADLINE_MS;
  while (await server.push({ to: uid, content: 'probe-0' }) !== 'ok') {
    assert.ok(performance.now() < end, `${uid} is online within ${DEADLINE_MS} ms`);
  }
}

let browser;
after(async () => (await browser)?.close());

export async function ownTab(t) {
  const tab = await (await (browser ??= launchChromium())).newPage();
  afterwards(t, () => tab.close());
  tab.setDefaultTimeout(DEADLINE_MS);
  return tab;
}

/** A tab of Chromium that runs `markup`, from an origin of its own. The messages of `page` are what it prints. */
export async function inChromium(t, markup, server) {
  const site = http.createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(`<!doctype html>\n${markup}\n`);
  });
  await new Promise((resolve, reject) => site.once('error', reject).listen(0, '127.0.0.1', resolve));
  afterwards(t, () => new Promise((resolve) => {
    site.close(resolve);
    site.closeAllConnections();
  }));
  const tab = await ownTab(t);
  const page = new Page('the printing page', 'websocket only', server);
  const errors = [];
  tab.on('pageerror', (error) => errors.push(error.message));
  tab.on('console', (message) => page.told('new_msg', [message.text()]));
  await tab.goto(`http://127.0.0.1:${site.address().port}/`);
  return { page, errors };
}

/** The block of JavaScript under a heading, running in Chromium. */
export function scriptInChromium(t, heading, server) {
  return inChromium(t, `<script>\n${addressed(snippet(heading, 'js').join('\n'), server)}\n</script>`, server);
}

/** A websocket of Chromium to a listener. Its messages are the text frames that came; `emit` sends one. */
export async function rawPage(t, server, listener, query = '') {
  const tab = await ownTab(t);
  const page = new Page(`page of ${listener}`, 'websocket only', server);
  await tab.exposeFunction('told', (kind, detail) => page.told(kind, detail));
  const send = (text) => tab.evaluate((frame) => window.socket.send(frame), text);
  page.attach({ login: send, emit: send, close: () => tab.evaluate(() => window.socket.close()) });
  await tab.evaluate((url) => {
    window.socket = new WebSocket(url);
    window.socket.onopen = () => window.told('connect');
    window.socket.onmessage = ({ data }) => window.told('new_msg', [data]);
    window.socket.onclose = ({ code }) => window.told('disconnect', code);
  }, `ws://127.0.0.1:${server[listener].port}/${query}`);
  await page.connectedTimes(1);
  return page;
}

/** Sends a text on a raw page and reads the next message as JSON. */
export async function answered(page, text) {
  const before = page.messages.length;
  await page.emit(text);
  return JSON.parse(await page.until(`an answer to ${text}`, () => page.messages[before]));
}

/** What the text port answers to a line. */
export function pushLine(server, line) {
  const socket = net.connect({ ...server.text });
  const answer = new Promise((resolve, reject) => {
    let said = '';
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`the text port hung up after ${JSON.stringify(said)}`)));
    socket.on('data', (bytes) => {
      said += bytes;
      if (said.endsWith('\n')) resolve(said);
    });
  });
  socket.write(`${line}\n`);
  return within(DEADLINE_MS, answer, () => `answer to ${line}`).finally(() => socket.destroy());
}

/** Each page got exactly `content` if it is one of those it is for, and else nothing. */
export async function reached({ server, pages }, content, whom) {
  const fence = 'everything before this has come';
  assert.equal(await server.push({ to: '', content: fence }), 'ok');
  await Promise.all(pages.map((page) => page.receives(fence)));
  for (const page of pages) {
    assert.deepEqual(page.messages, whom.includes(page.uid) ? [content, fence] : [fence], `the messages of ${page.uid}`);
  }
}

/** A folder where `campanile` is a command, as for a reader who has installed it. */
export async function shell(t, pid = '') {
  const folder = await ownFolder(t);
  await symlink(BINARY, path.join(folder, 'campanile'));
  await writeFile(path.join(folder, 'pidof'), `#!/bin/sh\necho ${pid}\n`, { mode: 0o755 });
  const env = { PATH: `${folder}:${process.env.PATH}` };
  return { folder, sh: (line) => run('sh', ['-c', line], { cwd: folder, env }) };
}

/** An answer has the type, the keys and the names of an example; its numbers may be others, and what is `…` there may be anything. */
export function assertAlike(answer, example) {
  const check = (value, pattern, where) => {
    if (pattern === '…') {
      assert.notEqual(value, undefined, where);
    } else if (Array.isArray(pattern)) {
      assert.ok(Array.isArray(value) && value.length > 0, `${where} is a list with something in it`);
      value.forEach((item, index) => check(item, pattern[0], `${where}[${index}]`));
    } else if (typeof pattern === 'object') {
      assert.equal(typeof value, 'object', where);
      if ('…' in pattern) return;
      assert.deepEqual(Object.keys(value).sort(), Object.keys(pattern).sort(), `keys of ${where}`);
      for (const key of Object.keys(pattern)) check(value[key], pattern[key], `${where}.${key}`);
    } else if (typeof pattern === 'string') {
      assert.equal(value, pattern, where);
    } else {
      assert.equal(typeof value, typeof pattern, where);
    }
  };
  const pattern = JSON.parse(example.replaceAll('{…}', '{"…":0}').replaceAll(':…', ':"…"'));
  check(answer, pattern, JSON.stringify(answer));
}

/** A stock page of Node, to be spoken to as the test likes. */
export function bareSocket(t, version, server, options = {}) {
  const socket = client(version)(`http://127.0.0.1:${server.socketio.port}`, { forceNew: true, ...options });
  afterwards(t, () => socket.disconnect());
  const next = (event) => within(DEADLINE_MS, new Promise((resolve) => { socket.once(event, (...told) => resolve(told)); }), () => event);
  const login = (object) => within(DEADLINE_MS, new Promise((resolve) => { socket.emit('login', object, resolve); }), () => 'an answer');
  return { next, login, emit: (...event) => socket.emit(...event) };
}

export const SECRET = 'sixteen bytes !!';
export const SIGNED = ['auth.mode=signed', `auth.secret=${SECRET}`];

/** How each language runs a line of the text that makes a `token` for `uid` with `secret`, and prints it. */
const MINTS = {
  php: (line) => ['php', ['-r', `$uid = $argv[1]; $secret = $argv[2]; ${line} echo $token;`, '--']],
  python: (line) => ['python3', ['-c', `import sys; uid, secret = sys.argv[1:]\n${line}\nprint(token, end="")`]],
  js: (line) => ['node', ['-e', `const [uid, secret] = process.argv.slice(1); ${line} process.stdout.write(token);`, '--']],
};

/** The token that a snippet of the README makes. */
export async function minted(heading, language, uid, secret) {
  const line = snippet(heading, language).join('\n');
  const [program, args] = MINTS[language](line);
  return succeeds(run(program, [...args, uid, secret]), line);
}

/** The token that the line of the README makes. */
export async function token(uid, language = 'php') {
  const made = await minted('Signed tokens', language, uid, SECRET);
  assert.match(made, /^.+\.\d+\.[\da-f]{64}$/);
  return made;
}

/** Each row names keys and then their values: those that `campanile config` prints. */
export async function areDefaults(t, rows) {
  const { sh } = await shell(t);
  const printed = {};
  let part;
  for (const line of (await succeeds(sh('campanile config'), 'config')).split('\n')) {
    const [, name] = /^\[(\w+)\]$/.exec(line) ?? [];
    const [, key, value] = /^(\w+) = "?([^"]*)"?$/.exec(line) ?? [];
    if (name) part = name;
    if (key) printed[`${part}.${key}`] = value;
  }
  const codes = (cell) => cell.match(/`[^`]+`/g).map((code) => code.slice(1, -1));
  for (const [names, values] of rows) assert.deepEqual(codes(names).map((name) => printed[name]), codes(values));
}

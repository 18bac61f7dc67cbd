// Owns the proof that README.md is true where it can be run: its pushes, its settings,
// its benchmark and its page, each taken from the text as it stands there. Also keeps
// README.zh.md in step with it: same commands, same shape, same figures.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { DEADLINE_MS, REPOSITORY, afterwards, connect, launchChromium, startServer } from './harness.mjs';

const BINARY = path.resolve(process.env.CAMPANILE_BIN || `${REPOSITORY}target/release/campanile`);
const COMMAND_DEADLINE_MS = 30_000;
const PEOPLE = ['alice', 'bob'];
const ENGLISH = await readFile(path.join(REPOSITORY, 'README.md'), 'utf8');
const CHINESE = await readFile(path.join(REPOSITORY, 'README.zh.md'), 'utf8');

/** Whom the curl lines of the README are for, by content and in their order. */
const PUSHES = [
  ['hello', ['alice']],
  ['to everyone', PEOPLE],
  ['both', PEOPLE],
  ['multipart', ['alice']],
  ['json', PEOPLE],
];

/** All code blocks of a Markdown text, fenced and indented, in order: {language, lines}. */
function codeBlocks(markdown) {
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

/** The text from a heading of the second level to the next one. */
function section(heading) {
  const found = ENGLISH.split(/^## /m).find((part) => part.startsWith(`${heading}\n`));
  assert.ok(found, `README.md has a section "${heading}"`);
  return found;
}

function snippet(heading, language) {
  const found = codeBlocks(section(heading)).filter((block) => block.language === language);
  assert.equal(found.length, 1, `one block of "${language}" in "${heading}"`);
  return found[0].lines;
}

const withoutComment = (line) => line.replace(/\s+# .*$/, '');

/** The rows of all tables, as lists of cells. */
function tableRows(markdown) {
  const rows = markdown.split('\n').filter((line) => line.startsWith('|'));
  return rows.map((row) => row.split('|').slice(1, -1).map((cell) => cell.trim()));
}

/** A text of the README with the ports of `server` in place of the usual ones. */
function addressed(text, server) {
  const changed = text
    .replaceAll('127.0.0.1:2120', `127.0.0.1:${server.socketio.port}`)
    .replaceAll('127.0.0.1:2121', `127.0.0.1:${server.http.port}`);
  assert.notEqual(changed, text, `it names a port of the server: ${text}`);
  return changed;
}

/** Runs a program to its end: {code, stdout, stderr}. */
function run(program, args, options = {}) {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('CAMPANILE_'));
  const env = { ...Object.fromEntries(inherited), no_proxy: '*', ...options.env };
  return new Promise((resolve, reject) => {
    execFile(program, args, { timeout: COMMAND_DEADLINE_MS, ...options, env }, (error, stdout, stderr) => {
      if (error && typeof error.code !== 'number') reject(new Error(`${program} ${args.join(' ')}: ${error.message}`));
      else resolve({ code: error?.code ?? 0, stdout, stderr });
    });
  });
}

async function succeeds(ran, what) {
  const { code, stdout, stderr } = await ran;
  assert.equal(code, 0, `${what}\n${stdout}${stderr}`);
  return stdout;
}

async function ownServer(t, extraArgs) {
  const server = await startServer(extraArgs);
  afterwards(t, () => server.stop());
  return server;
}

/** A server with one page of each of the people, logged in. */
async function peopled(t) {
  const server = await ownServer(t);
  const pages = PEOPLE.map((uid) => {
    const page = connect('4.x', 'websocket only', server);
    afterwards(t, () => page.close());
    page.login(uid);
    return page;
  });
  await Promise.all(pages.map((page) => page.ready()));
  return { server, pages };
}

/** Each page got exactly `content` if it is one of those it is for, and else nothing. */
async function reached({ server, pages }, content, whom) {
  const fence = 'everything before this has come';
  assert.equal(await server.push({ to: '', content: fence }), 'ok');
  await Promise.all(pages.map((page) => page.receives(fence)));
  for (const page of pages) {
    assert.deepEqual(page.messages, whom.includes(page.uid) ? [content, fence] : [fence], `the messages of ${page.uid}`);
  }
}

/** A folder where `campanile` is a command, as for a reader who has installed it. */
async function shell(t, pid = '') {
  const folder = await mkdtemp(path.join(tmpdir(), 'campanile-readme-'));
  afterwards(t, () => rm(folder, { recursive: true }));
  await symlink(BINARY, path.join(folder, 'campanile'));
  await writeFile(path.join(folder, 'pidof'), `#!/bin/sh\necho ${pid}\n`, { mode: 0o755 });
  const env = { PATH: `${folder}:${process.env.PATH}` };
  return { folder, sh: (line) => run('sh', ['-c', line], { cwd: folder, env }) };
}

test('the README has one curl line for each way to push that is tested here', () => {
  assert.deepEqual(snippet('A push', 'sh').map((line) => line.split(' ')[0]), PUSHES.map(() => 'curl'));
});

for (const [index, [content, whom]] of PUSHES.entries()) {
  test(`the curl line that pushes "${content}" is answered ok and reaches ${whom.join(' and ')} alone`, async (t) => {
    const people = await peopled(t);
    const line = addressed(snippet('A push', 'sh')[index], people.server);
    assert.equal(await succeeds(run('sh', ['-c', line]), line), 'ok');
    await reached(people, content, whom);
  });
}

test('the PHP snippet prints ok and reaches alice alone', async (t) => {
  const people = await peopled(t);
  const script = addressed(snippet('A push', 'php').join('\n'), people.server);
  assert.equal(await succeeds(run('php', ['-r', script]), script), 'ok');
  await reached(people, 'hello', ['alice']);
});

test('the HTML snippet logs a page of Chromium in, and it prints the online count and a push', async (t) => {
  const server = await ownServer(t, ['--set', `web.root=${path.join(REPOSITORY, 'web-demo')}`]);
  const markup = addressed(snippet('A page', 'html').join('\n'), server);
  const site = http.createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(`<!doctype html>\n${markup}\n`);
  });
  await new Promise((resolve, reject) => site.once('error', reject).listen(0, '127.0.0.1', resolve));
  afterwards(t, () => new Promise((resolve) => {
    site.close(resolve);
    site.closeAllConnections();
  }));
  const browser = await launchChromium();
  afterwards(t, () => browser.close());
  const tab = await browser.newPage();
  tab.setDefaultTimeout(DEADLINE_MS);
  const errors = [];
  tab.on('pageerror', (error) => errors.push(error.message));
  const printed = (text) => tab.waitForEvent('console', (message) => message.text() === text);

  const counted = printed('当前<b>1</b>人在线，共打开<b>1</b>个页面');
  await Promise.all([counted, tab.goto(`http://127.0.0.1:${site.address().port}/`)]);
  const came = printed('&lt;b&gt;你好&lt;/b&gt;');
  const pushed = server.push({ to: 'alice', content: '<b>你好</b>' });
  assert.deepEqual(await Promise.all([pushed, came.then(() => errors)]), ['ok', []]);
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

test('the listeners of the table on settings have the defaults it gives', async (t) => {
  const { sh } = await shell(t);
  const checked = (await succeeds(sh('campanile check-config'), 'check-config')).split('\n');
  const plain = (cell) => cell.replace(/[`[\]]/g, '');
  const listed = tableRows(section('Settings')).slice(2).map(([name, address]) => [plain(name), plain(address)]);
  assert.equal(listed.length, 3);
  for (const [name, address] of listed) assert.ok(checked.includes(`${name}: ${address}`), `${name}: ${address} in\n${checked.join('\n')}`);
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
});

test('each README links to the other, and every link into the repository leads somewhere', async () => {
  assert.ok(ENGLISH.includes('](README.zh.md)') && CHINESE.includes('[English](README.md)'));
  for (const text of [ENGLISH, CHINESE]) {
    const anchors = text.match(/^#+ .*$/gm).map((line) => line.replace(/^#+ /, '#').toLowerCase().replaceAll(' ', '-'));
    for (const [, target] of text.matchAll(/\]\(([^)]+)\)/g)) {
      if (target.startsWith('#')) assert.ok(anchors.includes(target), `a heading for ${target}`);
      else if (!target.includes('://')) await stat(path.join(REPOSITORY, target));
    }
  }
});

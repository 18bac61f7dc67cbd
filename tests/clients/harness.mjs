// Owns the life of a server under test (start, stop, restart on the same ports,
// push over HTTP, its log) and the opening of pages in Node with every published
// generation of the Socket.IO client. Pages themselves are in page.mjs, browsers
// in browser.mjs; both are exported here too.

import { spawn } from 'node:child_process';
import http from 'node:http';
import https from 'node:https';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { DEADLINE_MS, Page, socketOptions, wire } from './page.mjs';

export { DEADLINE_MS, MODES } from './page.mjs';
export { launchChromium, openInBrowser, serveOrigin } from './browser.mjs';

/** The clients that can run in Node, oldest first; package.json says which release 4.x is. */
export const VERSIONS = ['1.4.8', '1.7.4', '2.5.0', '3.1.3', '4.x'];
export const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));

const BINARY = process.env.CAMPANILE_BIN || `${REPOSITORY}target/release/campanile`;
const ALWAYS = ['socketio', 'http', 'web'];
/** Off unless a test wants them. */
const WANTED = ['admin', 'uid_socket', 'text', 'topic_socket', 'udp', 'chat'];
const LISTENERS = [...ALWAYS, ...WANTED];

const alive = new Set();
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => process.exit(1));
}

/** What PHP's htmlspecialchars makes of a text. */
export function escaped(text) {
  const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#039;' };
  return text.replace(/[&<>"']/g, (c) => entities[c]);
}

const duties = new WeakMap();

/** Does `duty` when the test `t` ended, the newest first, each of them even if another one fails. */
export function afterwards(t, duty) {
  if (duties.has(t)) {
    duties.get(t).push(duty);
    return;
  }
  duties.set(t, [duty]);
  t.after(async () => {
    const errors = [];
    for (const next of duties.get(t).reverse()) {
      try {
        await next();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  });
}

/** Rejects with `what()` unless `promise` settles in time. */
export function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what()}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function listenSetting(listener, extraArgs) {
  const prefix = `${listener}.listen=`;
  const own = extraArgs.filter((arg) => arg.startsWith(prefix)).at(-1);
  if (own !== undefined) return own.slice(prefix.length);
  return ALWAYS.includes(listener) ? '127.0.0.1:0' : '';
}

/** The arguments of a start; a listener that has a port already keeps it. */
function serveArguments(extraArgs, ports) {
  const fixed = (listener, setting) => (ports[listener] ? setting.replace(/:0$/, `:${ports[listener]}`) : setting);
  const args = ['serve'];
  for (const listener of LISTENERS) args.push('--set', `${listener}.listen=${fixed(listener, listenSetting(listener, []))}`);
  // Nothing is left behind, and nothing is waited for at the end, unless a test wants it.
  for (const setting of ['log.format=json', 'store.url=', 'shutdown.drain=0s']) args.push('--set', setting);
  for (const arg of extraArgs) {
    const listener = LISTENERS.find((name) => arg.startsWith(`${name}.listen=`));
    args.push(listener ? fixed(listener, arg) : arg);
  }
  return args;
}

function endpoint(address) {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
  return { host: host === '0.0.0.0' ? '127.0.0.1' : host, port: Number(address.slice(colon + 1)) };
}

/** Starts the program and waits until every wanted listener said where it listens. */
async function launch({ args, binary, cwd }, wanted, logs) {
  const child = spawn(binary, args, { cwd, stdio: ['ignore', 'ignore', 'pipe'] });
  const run = { child, endpoints: {}, stderr: [], ending: false, death: null };
  const started = deferred();
  const left = new Set(wanted);
  run.exited = new Promise((resolve) => {
    child.once('error', (error) => {
      run.stderr.push(String(error));
      resolve({ code: null, signal: null });
    });
    child.once('close', (code, signal) => {
      alive.delete(child);
      if (!run.ending) run.death = `the server ended by itself with ${signal ?? code}:\n${run.stderr.slice(-40).join('\n')}`;
      resolve({ code, signal });
    });
  });
  alive.add(child);
  createInterface({ input: child.stderr }).on('line', (line) => {
    run.stderr.push(line);
    const entry = parsed(line);
    logs.push(entry);
    // A Unix socket beside a port has a path instead.
    if (entry.message !== 'listening' || !entry.address || !LISTENERS.includes(entry.listener)) return;
    run.endpoints[entry.listener] = endpoint(entry.address);
    left.delete(entry.listener);
    if (left.size === 0) started.resolve();
  });
  run.exited.then(({ code, signal }) => started.reject(new Error(`it ended with ${signal ?? code}`)));
  try {
    await within(DEADLINE_MS, started.promise, () => `listening of ${[...left]}`);
  } catch (error) {
    child.kill('SIGKILL');
    throw new Error(`${binary} ${args.join(' ')} did not start: ${error.message}\n${run.stderr.join('\n')}`);
  }
  return run;
}

function deferred() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}

function parsed(line) {
  try {
    const entry = JSON.parse(line);
    if (entry && typeof entry === 'object') return entry;
  } catch { /* kept as it is */ }
  return { raw: line };
}

/** Ends the program as an operator would, and holds it to ending well. */
async function end(run) {
  run.ending = true;
  run.child.kill('SIGTERM');
  try {
    const { code, signal } = await within(DEADLINE_MS, run.exited, () => 'its end after SIGTERM');
    if (code !== 0) throw new Error(`it ended with ${signal ?? code} instead of 0`);
    return code;
  } catch (error) {
    run.child.kill('SIGKILL');
    throw new Error(`stopping the server: ${error.message}\n${run.stderr.slice(-40).join('\n')}`);
  }
}

/** One push; answers with the text of the server's answer, which always has status 200. */
function push({ host, port }, fields, method, ca) {
  const form = new URLSearchParams({ type: 'publish', ...fields }).toString();
  const posted = method === 'POST';
  const headers = posted ? { 'content-type': 'application/x-www-form-urlencoded', 'content-length': Buffer.byteLength(form) } : {};
  const answer = new Promise((resolve, reject) => {
    const options = { host, port, method, headers, ca, agent: false, path: posted ? '/' : `/?${form}` };
    const request = (ca ? https : http).request(options, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`a push was answered with status ${response.statusCode}: ${text}`));
      });
    });
    request.on('error', reject);
    request.end(posted ? form : undefined);
  });
  return within(DEADLINE_MS, answer, () => `answer to a ${method} push`);
}

/**
 * Starts a server on free ports of the loopback; `extraArgs` follow the usual ones, e.g.
 * ['--set', 'web.root=/some/folder']. A `web.listen` without a port means no web listener. Where they
 * say that the server speaks TLS, `ca` is the certificate to trust. `binary` and `cwd`: which program, and
 * where it is started.
 */
export async function startServer(extraArgs = [], { ca, binary = BINARY, cwd } = {}) {
  const wanted = LISTENERS.filter((listener) => listenSetting(listener, extraArgs).includes(':'));
  const logs = [];
  const start = (ports) => launch({ args: serveArguments(extraArgs, ports), binary, cwd }, wanted, logs);
  let run = await start({});
  const ports = Object.fromEntries(Object.entries(run.endpoints).map(([name, { port }]) => [name, port]));
  let stopping = null;
  const server = {
    socketio: run.endpoints.socketio,
    http: run.endpoints.http,
    web: run.endpoints.web ?? null,
    ...Object.fromEntries(WANTED.map((name) => [name, run.endpoints[name] ?? null])),
    pid: run.child.pid,
    ca,
    logs,
    stop: () => (stopping ??= end(run)),
    async restart() {
      await server.stop();
      run = await start(ports);
      stopping = null;
      server.pid = run.child.pid;
    },
    /** Why it is not there any more although nobody stopped it; null while all is well. */
    death: () => run.death,
    push: (fields, method = 'POST') => push(server.http, fields, method, ca),
  };
  return server;
}

async function client(version) {
  const module = await import(`socket.io-client-${version}`);
  return module.io ?? module.default;
}

const clients = Object.fromEntries(await Promise.all(VERSIONS.map(async (version) => [version, await client(version)])));

/** Opens a page in Node. It connects on the next turns of the event loop, so a login() that follows at once is in time. */
export function connect(version, mode, server) {
  const page = new Page(`${version}, ${mode}`, mode, server);
  const url = `${server.ca ? 'https' : 'http'}://${server.socketio.host}:${server.socketio.port}`;
  const options = { ...socketOptions(mode), ...(server.ca && { ca: server.ca, rejectUnauthorized: true }) };
  return page.attach(wire(clients[version], url, options, (kind, detail) => page.told(kind, detail)));
}

// Replays the cases recorded from the PHP originals (push.json, socket.json, uid-socket.json) against
// a real server.
// Every case that a deployment relies on has to match, but for those in deviations.json, each with
// its reason; a deviation that no longer deviates has to leave the list. The cases that killed the
// original have to be survived.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startServer } from '../clients/harness.mjs';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const deviations = JSON.parse(readFileSync(here('deviations.json'), 'utf8'));

function replay(server, options) {
  const ports = [server.socketio.port, server.http.port].map(String);
  const args = [here('web-msg-sender-run.mjs'), ...ports, '--json', ...options];
  return new Promise((resolve, reject) => {
    // Exit code 1 says that there are mismatches, which is for us to judge.
    execFile(process.execPath, args, { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      const last = stdout.trim().split('\n').at(-1) ?? '';
      if (!last.startsWith('{')) return reject(new Error(`no result: ${stdout}${stderr}${error ?? ''}`));
      resolve(JSON.parse(last));
    });
  });
}

function judge(result, corpus) {
  const known = Object.keys(deviations[corpus]);
  const unexpected = result.badKeep.filter((name) => !known.includes(name));
  assert.deepEqual(unexpected, [], 'cases that no longer match the original');
  const fixed = known.filter((name) => !result.badKeep.includes(name));
  assert.deepEqual(fixed, [], 'deviations that no longer deviate');
  assert.ok(result.ok > 0, 'no case was replayed');
}

test('pushes mean what they meant to the original', async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  judge(await replay(server, ['--keep-only']), 'push');
});

test('pages are served as the original served them', async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  judge(await replay(server, ['--keep-only', '--only-socket']), 'socket');
});

test('what killed the original is survived', async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  const push = await replay(server, ['--crash', '--group', 'crash']);
  const accidents = Object.keys(deviations.crash);
  assert.deepEqual(push.badOther.filter((name) => !accidents.includes(name)), []);
  const socket = await replay(server, ['--crash', '--only-socket', '--group', 'crash']);
  assert.deepEqual([...socket.badKeep, ...socket.badOther], []);
  assert.equal(await server.push({ type: 'publish', content: 'alive' }), 'ok');
});

test('the uid websocket and its text port do as the original did, less its bugs', async (t) => {
  const server = await startServer(['--set', 'uid_socket.listen=127.0.0.1:0', '--set', 'text.listen=127.0.0.1:0']);
  t.after(() => server.stop());
  const ports = [server.uid_socket.port, server.text.port].map(String);
  const replayed = await new Promise((resolve) => {
    const args = [here('uid-socket-run.mjs'), ...ports, '--profile', 'proposed'];
    execFile(process.execPath, args, { maxBuffer: 1 << 26 }, (_error, stdout, stderr) => resolve(stdout + stderr));
  });
  const [, passed, failed] = /^(\d+) passed, (\d+) failed/m.exec(replayed) ?? assert.fail(replayed);
  assert.equal(Number(failed), 0, replayed);
  assert.ok(Number(passed) >= 60, replayed);
});

// Owns the proof that the clients that run in Node connect by TLS, and only to a
// server whose certificate they trust, and that a backend pushes by it.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { MODES, VERSIONS, afterwards, connect, startServer } from './harness.mjs';

let folder;
let server;

/** A certificate for the loopback; gives the arguments that show it. */
function certificate(name) {
  const [cert, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
  execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-out', cert, '-keyout', key,
  ], { stdio: 'pipe' });
  return { ca: readFileSync(cert, 'utf8'), args: ['--set', `tls.cert=${cert}`, '--set', `tls.key=${key}`] };
}

describe('the clients that run in Node, by TLS', { concurrency: 5 }, () => {
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'campanile-tls-'));
    const { ca, args } = certificate('ours');
    server = await startServer(args, { ca });
  });
  after(async () => {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const version of VERSIONS) {
    for (const mode of Object.keys(MODES)) {
      test(`socket.io-client ${version}, ${mode}`, async (t) => {
        const uid = `${version} ${mode}`;
        const page = connect(version, mode, server);
        afterwards(t, () => page.close());
        page.login(uid);
        await page.ready();
        const texts = [`你好 ${'😀'.repeat(20_000)}`, 'second', 'third'];
        for (const content of texts) assert.equal(await server.push({ to: uid, content }), 'ok');
        await page.receivesInOrder(texts);
        await page.onFinalTransport();
      });
    }

    test(`socket.io-client ${version} does not trust a stranger's certificate`, async (t) => {
      const stranger = { ...server, ca: certificate(`not ours ${version}`).ca };
      const page = connect(version, 'websocket only', stranger);
      afterwards(t, () => page.close());
      await page.until('a refusal', () => page.failures.length > 0);
      assert.equal(page.connects, 0);
    });
  }
});

// Owns the proof that no website can push through a real browser on a machine whose push ports ask for
// no key: by HTTP that is meant for the text port, or by a name of its own that points there.

import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { afterwards, launchChromium, serveOrigin } from './harness.mjs';
import { UID_AND_TEXT, online, ownServer, pushLine, rawPage } from './readme.mjs';

let browser;
let origin;

before(async () => {
  // A site whose name its owner has let point to this machine.
  const rebound = ['--host-resolver-rules=MAP evil.com 127.0.0.1'];
  [browser, origin] = await Promise.all([launchChromium(rebound), serveOrigin()]);
});
after(() => Promise.all([browser?.close(), origin?.stop()]));

async function tab(t, address) {
  const page = await browser.newPage();
  afterwards(t, () => page.close());
  const response = await page.goto(address);
  return { page, response };
}

/** What the page of a site can do: fetches and forms, to be read by somebody else than HTTP. */
async function attacks(page, port) {
  await page.evaluate(async (target) => {
    const body = '\n{"uid":"alice","content":"evil"}\n'.repeat(3);
    const ask = (options) => fetch(target, { mode: 'no-cors', signal: AbortSignal.timeout(5000), ...options }).catch(() => {});
    await Promise.all([
      ask({ method: 'POST', body }),
      ask({ method: 'POST', body: new Blob([body]) }),
      ask({ method: 'GET' }),
    ]);
    navigator.sendBeacon(target, body);
    const [form, field, frame] = ['form', 'textarea', 'iframe'].map((name) => document.createElement(name));
    [frame.name, form.target, form.method, form.enctype, form.action] = ['frame', 'frame', 'post', 'text/plain', target];
    [field.name, field.value] = ['x', body];
    form.append(field);
    document.body.append(form, frame);
    const loaded = new Promise((resolve) => { frame.onload = resolve; });
    form.submit();
    await Promise.race([loaded, new Promise((resolve) => { setTimeout(resolve, 2000); })]);
  }, `http://127.0.0.1:${port}/`);
}

test('what a website makes a browser send to the text port pushes nothing', async (t) => {
  const server = await ownServer(t, UID_AND_TEXT);
  const alice = await rawPage(t, server, 'uid_socket');
  await alice.login('alice');
  await online(server, 'alice');
  // The browser does reach a port that is none of HTTP: what it sends is read here, too.
  let heard = '';
  const witness = net.createServer((socket) => {
    socket.on('data', (bytes) => { heard += bytes; }).on('error', () => {});
    socket.setTimeout(1000, () => socket.destroy());
  });
  await new Promise((resolve) => { witness.listen(0, '127.0.0.1', resolve); });
  afterwards(t, () => new Promise((resolve) => { witness.close(resolve); }));
  const { page } = await tab(t, origin.url);
  await attacks(page, witness.address().port);
  assert.match(heard, /\n\{"uid":"alice","content":"evil"\}\n/);
  await attacks(page, server.text.port);
  const honest = '{"uid":"alice","content":"honest"}';
  assert.equal(await pushLine(server, honest), 'ok\n');
  await alice.receives(honest);
  assert.deepEqual(alice.messages, [honest]);
});

test('a page cannot push by a name of its own that points to this machine', async (t) => {
  const server = await ownServer(t);
  const push = '/?type=publish&to=alice&content=evil';
  const { page, response } = await tab(t, `http://evil.com:${server.http.port}${push}`);
  assert.deepEqual([response.status(), await response.text()], [403, 'fail']);
  // The page is of the same site now, in the eyes of its browser.
  const fetched = await page.evaluate(async (target) => {
    const options = [{}, { method: 'POST', body: 'type=publish' }, { headers: { 'accept-language': '' }, referrerPolicy: 'no-referrer' }];
    const answers = await Promise.all(options.map((option) => fetch(target, option)));
    return answers.map((answer) => answer.status);
  }, push);
  assert.deepEqual(fetched, [403, 403, 403]);
  // Somebody who opens it by an own name pushes, as ever.
  const own = await tab(t, `http://localhost:${server.http.port}${push}`);
  assert.deepEqual([own.response.status(), await own.response.text()], [200, 'offline']);
});

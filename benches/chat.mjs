// How many messages a second the chat keeps and acknowledges: 64 pages send to each other, each
// message is durable before its sender gets the ack. Starts its own server on a fresh store.
//
//   node benches/chat.mjs [--senders 64] [--seconds 8] [--in-flight 64] [--store URL] [--check]
//
// --check: exit code 1 below 20,000 a second.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startServer } from '../tests/clients/harness.mjs';

const { values: options } = parseArgs({
  options: {
    senders: { type: 'string', default: '64' },
    seconds: { type: 'string', default: '8' },
    'in-flight': { type: 'string', default: '64' },
    store: { type: 'string' },
    check: { type: 'boolean', default: false },
  },
});
const senders = Number(options.senders);
const seconds = Number(options.seconds);
const inFlight = Number(options['in-flight']);

// A masked text frame; the mask is zero, which leaves the payload as it is.
function frame(text) {
  const payload = Buffer.from(text);
  const head = payload.length < 126
    ? Buffer.from([0x81, 0x80 | payload.length, 0, 0, 0, 0])
    : Buffer.from([0x81, 0x80 | 126, payload.length >> 8, payload.length & 255, 0, 0, 0, 0]);
  return Buffer.concat([head, payload]);
}

// One page: a raw socket, so that the client costs as little as it can.
class Page {
  constructor(port, number) {
    this.number = number;
    this.unread = Buffer.alloc(0);
    this.upgraded = false;
    this.acked = 0;
    this.heard = 0;
    this.faults = 0;
    this.lastId = 0;
    this.sent = 0;
    this.ready = new Promise((resolve) => { this.isReady = resolve; });
    const to = (number + 1) % senders;
    this.message = (ref) => frame(`{"uid":"page-${to}","ref":${ref},"msg":"${'x'.repeat(64)}"}`);
    this.socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.on('data', (bytes) => this.read(bytes));
    this.socket.on('error', () => { this.faults += 1; });
    this.socket.write('GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
      + 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
    this.socket.write(frame(`{"type":"login","uid":"page-${number}"}`));
  }

  read(bytes) {
    let unread = this.unread.length ? Buffer.concat([this.unread, bytes]) : bytes;
    if (!this.upgraded) {
      const end = unread.indexOf('\r\n\r\n');
      if (end < 0) { this.unread = unread; return; }
      this.upgraded = true;
      unread = unread.subarray(end + 4);
    }
    let landed = 0;
    while (unread.length >= 2) {
      let [length, start] = [unread[1] & 127, 2];
      if (length === 126) {
        if (unread.length < 4) break;
        [length, start] = [unread.readUInt16BE(2), 4];
      }
      if (unread.length < start + length) break;
      landed += this.hear(unread.latin1Slice(start, start + Math.min(length, 64)));
      unread = unread.subarray(start + length);
    }
    this.unread = unread;
    if (landed && this.sending) this.send(landed);
  }

  // Says whether the text was an answer to a message.
  hear(text) {
    if (text.startsWith('{"type":"ack"')) {
      const id = Number(/"id":(\d+)/.exec(text)[1]);
      assert.ok(id > this.lastId, `acks in the order of the records: ${id} after ${this.lastId}`);
      this.lastId = id;
      this.acked += 1;
      return 1;
    }
    if (text.startsWith('{"type":"login"')) { this.isReady(); return 0; }
    if (text.startsWith('{"type":"error"')) { this.faults += 1; return 1; }
    this.heard += 1;
    return 0;
  }

  send(count) {
    const frames = [];
    for (let n = 0; n < count; n += 1) frames.push(this.message(this.sent += 1));
    this.socket.write(Buffer.concat(frames));
  }
}

const folder = mkdtempSync(join(tmpdir(), 'campanile-chat-'));
const store = options.store ?? `sqlite:${join(folder, 'chat.db')}`;
const server = await startServer(['--set', 'chat.listen=127.0.0.1:0', '--set', `store.url=${store}`, '--set', 'log.level=info']);
let rate = 0;
try {
  const pages = Array.from({ length: senders }, (_, number) => new Page(server.chat.port, number));
  await Promise.all(pages.map((page) => page.ready));
  const sum = (field) => pages.reduce((total, page) => total + page[field], 0);
  for (const page of pages) { page.sending = true; page.send(inFlight); }
  await new Promise((resolve) => { setTimeout(resolve, 1000); });
  const [before, began] = [sum('acked'), performance.now()];
  await new Promise((resolve) => { setTimeout(resolve, seconds * 1000); });
  rate = (sum('acked') - before) / ((performance.now() - began) / 1000);
  for (const page of pages) page.sending = false;
  const deadline = performance.now() + 20_000;
  while (sum('acked') + sum('faults') < sum('sent') && performance.now() < deadline) {
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
  while (sum('heard') < sum('acked') && performance.now() < deadline) {
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
  console.log(`${senders} senders, ${inFlight} in flight each, ${store.split(':')[0]}: `
    + `${Math.round(rate)} messages/s kept and acknowledged`);
  console.log(`${sum('sent')} sent, ${sum('acked')} acknowledged, ${sum('heard')} delivered, ${sum('faults')} faults`);
  assert.equal(sum('faults'), 0);
  assert.equal(sum('acked'), sum('sent'));
  assert.equal(sum('heard'), sum('acked'));
  for (const page of pages) page.socket.destroy();
} finally {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}
if (options.check && rate < 20_000) {
  console.error('below 20,000 a second');
  process.exitCode = 1;
}

// Writes the seeds of the fuzz targets, `corpus/TARGET/CASE`, from the cases that were recorded on
// the originals (tests/conformance). `node fuzz/seed.mjs`; the files are committed.
// What a fuzzer finds by itself has 40 digits for a name, and is not.

import {createHash} from 'node:crypto';
import {mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const recorded = (name) => JSON.parse(readFileSync(`${root}tests/conformance/${name}.json`, 'utf8'));

// Longer ones teach a fuzzer little and slow it down; as little do the many that are nearly the same.
const LONGEST = 1024;
const MOST = 40;

const seeds = new Map();

function seed(target, name, bytes) {
  bytes = Buffer.from(bytes);
  if (bytes.length === 0 || bytes.length > LONGEST) return;
  if (!seeds.has(target)) seeds.set(target, new Map());
  const hash = createHash('sha256').update(bytes).digest('hex');
  const known = seeds.get(target);
  if (!known.has(hash)) known.set(hash, {name, bytes});
}

/** The bytes of a recorded request: texts, base64, and parts that are repeated. */
function bytesOf(parts) {
  return Buffer.concat((parts ?? []).map((part) => {
    if (part.repeat !== undefined || part.times !== undefined) return Buffer.alloc(LONGEST + 1);
    return part.b64 !== undefined ? Buffer.from(part.b64, 'base64') : Buffer.from(part.text ?? '');
  }));
}

/** A request's first line, headers and body. */
function taken(bytes) {
  const text = bytes.toString('latin1');
  const end = text.indexOf('\r\n\r\n');
  const [line, ...headers] = text.slice(0, end < 0 ? undefined : end).split('\r\n');
  const header = (name) => headers.map((h) => h.split(/:\s*/s))
    .find(([known]) => known.toLowerCase() === name)?.[1] ?? '';
  const body = end < 0 ? Buffer.alloc(0) : bytes.subarray(end + 4);
  const query = line.split(' ')[1]?.split('?').slice(1).join('?') ?? '';
  return {query: Buffer.from(query, 'latin1'), type: header('content-type'), body};
}

function pushes() {
  for (const {id, steps} of recorded('push').cases) {
    for (const [i, step] of steps.entries()) {
      const name = `${id}-${i}`;
      const request = bytesOf(step.request);
      const {query, type, body} = taken(request);
      seed('first_line', name, request);
      for (const target of ['form', 'query']) seed(target, name, query);
      const boundary = /boundary="?([^;"]*)/i.exec(type)?.[1];
      if (boundary !== undefined) {
        seed('multipart', name, Buffer.concat([Buffer.from(`${boundary}\n`), body]));
      } else if (/json/i.test(type)) {
        seed('json_body', name, body);
        seed('json', name, body);
      } else {
        for (const target of ['form', 'query']) seed(target, name, body);
      }
      const content = /content=([^&]*)/.exec(query.toString('latin1'))?.[1];
      if (content) seed('escape', name, Buffer.from(unescape(content), 'latin1'));
    }
  }
}

/** A frame as a page sends it, masked. */
function masked(opcode, payload, fin = true) {
  const mask = Buffer.from([0x12, 0xA5, 0x00, 0xFF]);
  const length = payload.length < 126
    ? [0x80 | payload.length]
    : [0xFE, payload.length >> 8, payload.length & 0xFF];
  const data = payload.map((byte, i) => byte ^ mask[i % 4]);
  return Buffer.concat([Buffer.from([(fin ? 0x80 : 0) | opcode, ...length]), mask, data]);
}

/** A frame as a server writes it. */
function written(text) {
  const payload = Buffer.from(text);
  const length = payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 0xFF];
  return Buffer.concat([Buffer.from([0x81, ...length]), payload]);
}

function pages() {
  for (const {id, frames, flow, expect} of recorded('socket').cases) {
    const sent = (frames ?? []).map(({text, op, b64, fin}) =>
      [op ?? 1, b64 === undefined ? Buffer.from(text ?? '') : Buffer.from(b64, 'base64'), fin]);
    const stream = Buffer.concat(sent.map(([op, payload, fin]) => masked(op, payload, fin)));
    for (const target of ['mend', 'frames']) seed(target, id, stream);
    for (const [i, [, payload]] of sent.entries()) {
      seed('mend', `${id}-polled-${i}`, payload);
      seed('token', `${id}-${i}`, payload);
    }
    seed('wire', id, Buffer.concat((expect.frames_out ?? []).map(written)));
    for (const [i, step] of (flow ?? []).entries()) {
      const {body} = taken(bytesOf(step.request));
      seed('mend', `${id}-${i}`, body);
      seed('payload', `${id}-${i}`, body);
    }
    seed('payload', id, (expect.frames_out ?? []).map((text) => `${text.length}:${text}`).join(''));
  }
}

function lines() {
  for (const {id, steps} of recorded('uid-socket').cases) {
    for (const [i, step] of steps.entries()) {
      const name = `${id}-${i}`;
      if (step.line !== undefined && (typeof step.data === 'string' || step.data.hex)) {
        const data = step.data.hex ? Buffer.from(step.data.hex, 'hex') : Buffer.from(step.data);
        for (const [n, line] of data.toString('latin1').split('\n').entries()) {
          for (const target of ['text_line', 'json']) {
            seed(target, `${name}-${n}`, Buffer.from(line, 'latin1'));
          }
        }
      }
      const frames = (step.frames ?? []).filter(({payload}) => typeof payload === 'string');
      seed('frames', name, Buffer.concat(frames.map(({op, payload, fin}) =>
        masked(op ?? 1, Buffer.from(payload), fin))));
      if (step.uid !== undefined) seed('token', name, `\n${step.uid}`);
      if (step.rawHead !== undefined) seed('first_line', name, step.rawHead);
      const asked = Object.fromEntries(Object.entries(step.headers ?? {})
        .map(([key, value]) => [key.toLowerCase(), value]));
      if (step.headers !== undefined) {
        const key = asked['sec-websocket-key'] ?? 'dGhlIHNhbXBsZSBub25jZQ==';
        seed('handshake', name, `${key}\n${asked['sec-websocket-protocol'] ?? 'chat, superchat'}\nuid=${step.uid ?? ''}`);
      }
    }
  }
}

/** What the originals had nothing of. */
function ours() {
  const chat = [
    {type: 'login', uid: 'alice', since: 7}, {type: 'login', token: 'alice.1.00'},
    {uid: 'bob', text: 'hi', ref: 1}, {uid: ['bob', 7, 'carol'], text: 'hi', ref: 'x'},
    {group: 'g', text: 'hi'}, {type: 'join', group: 'g', since: 3}, {type: 'leave', group: 'g'},
    {type: 'history', with: 'bob', before: 9, limit: 5}, {type: 'history', group: 'g'},
    {type: 'watch', uid: ['a', 'b']}, {type: 'unwatch', uid: 'a'},
    {uid: 'bob', _id: 1, _from: 'x', _ts: 2}, {uid: ['bob', 'bob', 7, 7.0]},
  ];
  for (const [i, request] of chat.entries()) seed('chat_request', `ours-${i}`, JSON.stringify(request));
  const topics = [
    {school_id: '2', class_id: 1}, {school_id: 2.5, student_id: null, secret: 's3'},
    {secret: 's3', school_id: true, rest: [{secret: 1}]},
  ];
  for (const [i, topic] of topics.entries()) {
    for (const target of ['topic', 'udp_packet', 'json']) seed(target, `ours-${i}`, JSON.stringify(topic));
  }
  seed('topic', 'ours-twice', '{"school_id":"1","class_id":"2","school_id":"3"}');
  seed('text_line', 'ours-ends', '{"uid":"a"}\r\r\r');
  seed('text_line', 'ours-all', '{"@":"all","x":1}');
  seed('text_line', 'ours-group', '{"@":"group","to":"g"}\r');
  seed('text_line', 'ours-online', '{"@":"online","uid":7.0}');
  seed('text_line', 'ours-kick', '{"@":"kick","uid":"a"}');
  seed('handshake', 'ours', 'dGhlIHNhbXBsZSBub25jZQ==\nchat , superchat\nuid=a%20b&token=a.1.00&since=5');
  seed('payload', 'ours', 'a\u{1F600}b|é"<');
  const fragments = [[1, 'x'.repeat(15), false], [9, 'ping', true], [0, 'y'.repeat(15), false], [0, 'z', true], [1, 'w', true]];
  seed('frames', 'ours', Buffer.concat(fragments.map(([op, text, fin]) => masked(op, Buffer.from(text), fin))));
  seed('multipart', 'ours', 'b\nhi|alice|bob|1');
  for (const [i, number] of [1.5, 1e100, -0, 1 / 3, 5e-324, 123456789.125].entries()) {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleLE(number);
    seed('escape', `float-${i}`, bytes);
  }
}

pushes();
pages();
lines();
ours();

// What was found once, and what fuzzers have left.
const KEPT = /^(?:found-|[0-9a-f]{40}$)/;
for (const [target, known] of [...seeds].sort()) {
  const folder = `${root}fuzz/corpus/${target}`;
  mkdirSync(folder, {recursive: true});
  for (const old of readdirSync(folder).filter((name) => !KEPT.test(name))) rmSync(`${folder}/${old}`);
  const all = [...known.values()];
  const nth = (i) => Math.floor(i * MOST / all.length);
  const chosen = all.filter(({name}, i) => name.startsWith('ours') || nth(i) !== nth(i - 1));
  for (const {name, bytes} of chosen) writeFileSync(`${folder}/${name}`, bytes);
  console.log(`${target}: ${chosen.length} of ${all.length}`);
}

// Pushes by HTTP at a steady rate and notes each message with the answer it got. Of each addressee at
// most one push is under way, so the serial numbers are the order in which the server took them.
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const RATES = { uids: 180, everyone: 4 };
const IN_FLIGHT = 8;
const PATIENCE_MS = 10_000;
const COUNTED = ['ok', 'offline'];

export const targets = Object.keys(RATES);

export class Pusher {
  /** By serial number: { to, sent, took, answer }, `to` being '' for everyone. */
  messages = [];
  faults = [];
  /** Pushes that got no answer while the server was allowed to be away. */
  unanswered = 0;
  serverMayBeAway = false;
  #busy = new Set();
  #slots = 0;

  constructor(endpoint, to, uids) {
    this.endpoint = endpoint;
    this.rate = RATES[to];
    this.addressees = to === 'everyone' ? [''] : uids;
    this.workers = Math.min(IN_FLIGHT, this.addressees.length);
    this.agent = new http.Agent({ keepAlive: true, maxSockets: this.workers });
  }

  async run(seconds) {
    const began = performance.now();
    await Promise.all(Array.from({ length: this.workers }, () => this.#work(began, seconds * this.rate)));
    this.agent.destroy();
  }

  async #work(began, slots) {
    while (this.#slots < slots) {
      const due = began + (this.#slots++ * 1000) / this.rate;
      const early = due - performance.now();
      if (early > 1) await sleep(early);
      await this.#pushToOne();
    }
  }

  /** There are no more workers than addressees, so one is always free. */
  #free() {
    for (;;) {
      const to = this.addressees[Math.floor(Math.random() * this.addressees.length)];
      if (!this.#busy.has(to)) return to;
    }
  }

  async #pushToOne() {
    const to = this.#free();
    const serial = this.messages.length;
    const message = { to, sent: performance.now(), took: 0, answer: null };
    this.messages.push(message);
    this.#busy.add(to);
    try {
      message.answer = await this.#post({ type: 'publish', to, content: `m${serial}` });
      message.took = performance.now() - message.sent;
      if (!COUNTED.includes(message.answer)) this.faults.push(`a push was answered ${JSON.stringify(message.answer)}`);
    } catch (error) {
      if (this.serverMayBeAway) this.unanswered += 1;
      else this.faults.push(`a push failed: ${error.message}`);
      await sleep(20);
    }
    this.#busy.delete(to);
  }

  #post(fields) {
    const form = new URLSearchParams(fields).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': Buffer.byteLength(form) };
    return new Promise((resolve, reject) => {
      const request = http.request({ ...this.endpoint, method: 'POST', path: '/', headers, agent: this.agent }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part) => { text += part; });
        response.on('error', reject);
        response.on('end', () => resolve(response.statusCode === 200 ? text : `${response.statusCode} ${text}`));
      });
      request.setTimeout(PATIENCE_MS, () => request.destroy(new Error(`no answer within ${PATIENCE_MS} ms`)));
      request.on('error', reject);
      request.end(form);
    });
  }
}

export function isCounted(message) {
  return COUNTED.includes(message.answer);
}

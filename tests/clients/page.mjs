// Owns one page as the tests see it: the few lines every page of a site has
// (connect, log in from the connect callback, listen to two events), which run
// unchanged in Node and in a browser, and the record of what the page was told,
// with verbs that wait on that record up to a deadline.

import { isDeepStrictEqual } from 'node:util';

export const DEADLINE_MS = 8000;

/** How a page may reach the server; the values are what Socket.IO clients call transports. */
export const MODES = {
  'polling only': ['polling'],
  'websocket only': ['websocket'],
  'polling then upgrade': ['polling', 'websocket'],
};

const COUNT = /^当前<b>(\d+)<\/b>人在线，共打开<b>(\d+)<\/b>个页面$/;
const PROBE = /^probe-\d+$/;
const TRACE_LENGTH = 40;
const PROBE_PATIENCE_MS = 400;
let probes = 0;

export function socketOptions(mode) {
  if (!MODES[mode]) throw new Error(`no such transport mode: ${mode}`);
  return {
    transports: [...MODES[mode]],
    forceNew: true,
    reconnectionDelay: 50,
    reconnectionDelayMax: 200,
    randomizationFactor: 0,
    timeout: DEADLINE_MS,
  };
}

/**
 * The script of a page. It uses nothing from outside itself, because its source
 * is also sent into browsers. `report(kind, ...details)` tells the record.
 */
export function wire(io, url, options, report) {
  const socket = io(url, options);
  const manager = socket.io;
  let uid;
  let engine;
  function watchEngine() {
    if (!manager.engine || manager.engine === engine) return;
    engine = manager.engine;
    const seen = (direction) => (packet) =>
      report('packet', `${direction} ${engine.transport && engine.transport.name} ${packet.type} ${packet.data}`.slice(0, 300));
    engine.on('packet', seen('<'));
    engine.on('packetCreate', seen('>'));
    engine.on('upgrade', (transport) => report('transport', transport.name));
    engine.on('upgradeError', (error) => report('packet', `! upgrade failed: ${error && error.message}`));
  }
  watchEngine();
  manager.on('open', () => {
    watchEngine();
    report('transport', engine.transport.name);
  });
  socket.on('connect', () => {
    report('connect');
    if (uid !== undefined) socket.emit('login', uid);
  });
  socket.on('disconnect', (reason) => report('disconnect', String(reason)));
  socket.on('connect_error', (error) => report('failure', String((error && error.message) || error)));
  socket.on('new_msg', (...args) => report('new_msg', args));
  socket.on('update_online_count', (...args) => report('update_online_count', args));
  return {
    login(value) {
      uid = value;
      if (socket.connected) socket.emit('login', uid);
    },
    emit: (...args) => { socket.emit(...args); },
    close: () => { socket.disconnect(); },
  };
}

/** What one page was told so far. `driver` is what `wire` returned, or a stand-in of it in a browser. */
export class Page {
  messages = [];
  counts = [];
  connects = 0;
  disconnects = [];
  /** Why connecting failed, each time. */
  failures = [];
  connected = false;
  transport = null;
  uid;
  #label;
  #driver = null;
  #server;
  #mode;
  #probes = [];
  #countsBefore = 0;
  #trace = [];
  #fault = null;
  #waiting = new Set();

  constructor(label, mode, server) {
    this.#label = label;
    this.#mode = mode;
    this.#server = server;
  }

  attach(driver) {
    this.#driver = driver;
    return this;
  }

  /** Logs in now if connected, and in the connect callback of this and every later connection. */
  login(uid) {
    this.uid = uid;
    return this.#driver.login(uid);
  }

  emit(...args) {
    return this.#driver.emit(...args);
  }

  close() {
    return this.#driver.close();
  }

  /** Waits until `predicate` holds and returns what it returned. */
  until(what, predicate, ms = DEADLINE_MS) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const value = this.#fault ? undefined : predicate();
        if (!value && !this.#fault) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        if (this.#fault) reject(this.#fault);
        else resolve(value);
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        reject(new Error(`${this.#label}: not within ${ms} ms: ${what}\n${this.#story()}`));
      }, ms);
      this.#waiting.add(look);
      look();
    });
  }

  connectedTimes(times) {
    return this.until(`connection number ${times}`, () => this.connected && this.connects >= times);
  }

  receives(text, ms = DEADLINE_MS) {
    return this.until(`message ${JSON.stringify(text).slice(0, 120)}`, () => this.messages.includes(text), ms);
  }

  receivesInOrder(texts) {
    const wanted = new Set(texts);
    return this.until(`${texts.length} messages`, () => this.messages.filter((m) => wanted.has(m)).length >= texts.length)
      .then(() => {
        const got = this.messages.filter((m) => wanted.has(m));
        if (!isDeepStrictEqual(got, texts)) throw new Error(`${this.#label}: messages came as ${JSON.stringify(got)}`);
      });
  }

  /** The newest announced {users, pages} if it satisfies `predicate`, or else the first later one that does. */
  nextCount(predicate = () => true, ms = DEADLINE_MS) {
    return this.until(`count with ${predicate}`, () => {
      const newest = this.counts.at(-1);
      return newest && predicate(newest) && newest;
    }, ms);
  }

  /** In the upgrading mode the switch to WebSocket must happen; in the others the one transport must be in use. */
  onFinalTransport() {
    const wanted = MODES[this.#mode].at(-1);
    return this.until(`use of ${wanted} (is ${this.transport})`, () => this.connected && this.transport === wanted);
  }

  /**
   * Waits until the login of the current connection took effect: the server answered it
   * with the numbers, and a push to the decimal or plain string of the uid comes here.
   */
  async loggedIn() {
    await this.until('numbers after login', () => this.connected && this.counts.length > this.#countsBefore);
    const answers = [];
    const end = performance.now() + DEADLINE_MS;
    while (performance.now() < end) {
      const probe = `probe-${++probes}`;
      answers.push(await this.#server.push({ to: String(this.uid), content: probe }));
      try {
        return await this.until('a probe', () => this.#probes.includes(probe), PROBE_PATIENCE_MS);
      } catch {
        if (this.#fault) throw this.#fault;
      }
    }
    throw new Error(`${this.#label}: no push to uid ${JSON.stringify(this.uid)} came; answers: ${[...new Set(answers)]}\n${this.#story()}`);
  }

  /** Logged in and on the last transport of its mode. */
  async ready() {
    await this.loggedIn();
    await this.onFinalTransport();
    return this;
  }

  /** Called for every report of the page's script. */
  told(kind, detail) {
    this.#trace.push(kind === 'packet' ? detail : `= ${kind} ${JSON.stringify(detail ?? '').slice(0, 200)}`);
    if (this.#trace.length > TRACE_LENGTH) this.#trace.shift();
    if (kind === 'connect') {
      this.connects += 1;
      this.connected = true;
      this.#countsBefore = this.counts.length;
    } else if (kind === 'disconnect') {
      this.connected = false;
      this.transport = null;
      this.disconnects.push(detail);
    } else if (kind === 'failure') {
      this.failures.push(detail);
    } else if (kind === 'transport') {
      this.transport = detail;
    } else if (kind === 'new_msg') {
      const text = this.#onlyString(kind, detail);
      (PROBE.test(text) ? this.#probes : this.messages).push(text);
    } else if (kind === 'update_online_count') {
      this.#counted(this.#onlyString(kind, detail));
    }
    for (const look of [...this.#waiting]) look();
  }

  #counted(text) {
    const match = COUNT.exec(text);
    if (match) this.counts.push({ users: Number(match[1]), pages: Number(match[2]) });
    else this.#fail(`a count reads ${JSON.stringify(text)}`);
  }

  #onlyString(event, args) {
    if (args.length !== 1 || typeof args[0] !== 'string') this.#fail(`${event} came with ${JSON.stringify(args)}`);
    return String(args[0]);
  }

  #fail(what) {
    this.#fault ??= new Error(`${this.#label}: ${what}\n${this.#story()}`);
  }

  #story() {
    return [this.#server.death() ?? '', `the page's last packets and events (< received, > sent, = event):`, ...this.#trace].join('\n  ');
  }
}

// One page with a stock client: it logs in on every `connect`, in the plain way or saying since which
// message it has them all, and notes what arrives.
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../tests/clients/', import.meta.url));
const TRANSPORTS = { default: undefined, polling: ['polling'], websocket: ['websocket'] };

export const transports = Object.keys(TRANSPORTS);

/** The `io` of one of the installed clients. */
export function client(version) {
  const module = require(`socket.io-client-${version}`);
  return module.io ?? module;
}

/** Everything is the client's default except what was asked for. */
function clientOptions({ transport, reconnectMs }, agent) {
  const options = { forceNew: true };
  if (TRANSPORTS[transport]) options.transports = TRANSPORTS[transport];
  if (reconnectMs !== undefined) options.reconnectionDelay = reconnectMs;
  if (agent) options.agent = agent;
  return options;
}

export class Page {
  /** Serials and times of the messages, as they arrived. */
  serials = [];
  times = [];
  since = undefined;
  loggedIn = false;
  loggedInAt = 0;
  connects = 0;
  logins = 0;
  unrecovered = 0;
  faults = [];

  constructor(uid, version, path) {
    this.uid = uid;
    this.version = version;
    this.path = path;
  }

  open(options) {
    const io = client(this.version);
    this.socket = io(this.path.url, clientOptions(options, this.path.agent));
    this.socket.on('disconnect', () => { this.loggedIn = false; });
    if (options.login === 'since') this.wireSince();
    else this.wirePlain();
  }

  wirePlain() {
    const { socket } = this;
    socket.on('connect', () => {
      this.connects += 1;
      socket.emit('login', this.uid);
    });
    socket.on('new_msg', (content) => this.arrived(content));
    // Each login is answered with the numbers; what all are told later changes nothing here.
    socket.on('update_online_count', () => {
      if (!this.loggedIn && socket.connected) this.isIn();
    });
  }

  wireSince() {
    const { socket } = this;
    socket.on('connect', () => {
      this.connects += 1;
      socket.emit('login', { uid: this.uid, since: this.since }, (answer) => this.acked(answer));
    });
    socket.on('new_msg', (content, meta) => {
      this.arrived(content);
      if (meta?.id === undefined) this.faults.push(`a message came without an id: ${content}`);
      else this.since = meta.id;
    });
  }

  acked(answer) {
    if (answer?.recovered === undefined) {
      this.faults.push(`a login was answered ${JSON.stringify(answer)}`);
      return;
    }
    // The first login has nothing that could be recovered.
    if (this.logins > 0 && answer.recovered === false) this.unrecovered += 1;
    // What to say at the next login, should no message have come until then.
    this.since ??= answer.since;
    this.isIn();
  }

  isIn() {
    this.loggedIn = true;
    this.loggedInAt = performance.now();
    this.logins += 1;
  }

  arrived(content) {
    this.times.push(performance.now());
    this.serials.push(Number(String(content).slice(1)));
  }

  close() {
    this.socket?.io.reconnection(false);
    this.socket?.disconnect();
  }
}

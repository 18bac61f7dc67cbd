// The ways a page's bytes take to the server, and how each is cut. A path has the `url` and the
// `agent` that its page connects with; `cut(ms)` breaks every connection of the page and lets no new
// one through for that long.
import http from 'node:http';
import net from 'node:net';

/** What --cut may be, and what the server sees of each. */
export const CUTS = {
  proxy: (server) => openProxy(server, (upstream) => upstream.destroy()),
  reset: (server) => openProxy(server, (upstream) => upstream.resetAndDestroy()),
  client: (server) => new OwnSockets(server),
  none: (server) => ({ url: urlOf(server), cut() {}, close() {} }),
};

function urlOf({ host, port }) {
  return `http://${host}:${port}`;
}

/** Refuses for `ms` what `path` is asked to connect. */
function hold(path, ms) {
  clearTimeout(path.timer);
  path.held = true;
  path.timer = setTimeout(() => { path.held = false; }, ms);
}

function openProxy(server, breakUpstream) {
  const proxy = new Proxied(server, breakUpstream);
  return new Promise((resolve, reject) => {
    proxy.listener.once('error', reject);
    proxy.listener.listen(0, '127.0.0.1', () => resolve(proxy));
  });
}

/** A port of its own for one page. */
class Proxied {
  pairs = new Map();
  held = false;

  constructor(server, breakUpstream) {
    this.server = server;
    this.breakUpstream = breakUpstream;
    this.listener = net.createServer({ noDelay: true }, (page) => this.take(page));
  }

  get url() {
    return urlOf({ host: '127.0.0.1', port: this.listener.address().port });
  }

  take(page) {
    page.on('error', () => {});
    if (this.held) {
      page.destroy();
      return;
    }
    const upstream = net.connect({ ...this.server, noDelay: true });
    this.pairs.set(page, upstream);
    upstream.on('error', () => page.destroy());
    upstream.on('close', () => page.destroySoon());
    page.on('close', () => {
      this.pairs.delete(page);
      upstream.destroySoon();
    });
    page.pipe(upstream);
    upstream.pipe(page);
  }

  cut(ms) {
    hold(this, ms);
    for (const [page, upstream] of this.pairs) {
      this.breakUpstream(upstream);
      page.destroy();
    }
    this.pairs.clear();
  }

  close() {
    this.cut(0);
    this.listener.close();
  }
}

/**
 * No proxy: the page's own sockets break. The stock clients open all their sockets, of polling and of
 * websocket, through the agent they are given, so that is where to find them, whatever the transport.
 * Without keep-alive it behaves as the clients' own default.
 */
class OwnSockets {
  sockets = new Set();
  held = false;

  constructor(server) {
    this.url = urlOf(server);
    this.agent = new http.Agent();
    this.agent.createConnection = (options, done) => this.connect(options, done);
  }

  connect(options, done) {
    if (this.held) {
      setImmediate(done, new Error('no way through'));
      return undefined;
    }
    const socket = net.connect(options);
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    return socket;
  }

  cut(ms) {
    hold(this, ms);
    // With an error, as a network would: a request that is still being answered has to hear of it.
    for (const socket of this.sockets) socket.destroy(new Error('cut'));
  }

  close() {
    this.cut(0);
  }
}

// Owns pages in a real browser: the installed Chromium, a tiny web server that
// gives pages an origin of their own, and the opening of a page there that a
// test drives with the same verbs as a page in Node.

import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';
import { Page, socketOptions, wire } from './page.mjs';

const BUNDLE_1_3_7 = createRequire(import.meta.url).resolve('socket.io-client-1.3.7/socket.io.js');

const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** The installed browser, headless; none is ever downloaded. CHROMIUM_BIN names another one. */
export function launchChromium(more = []) {
  return chromium.launch({ executablePath: process.env.CHROMIUM_BIN || '/usr/bin/chromium', args: [...ARGUMENTS, ...more] });
}

function html(script) {
  return `<!doctype html><meta charset="utf-8"><title>page</title><link rel="icon" href="data:,"><script src="${script}"></script>`;
}

/**
 * A site on a port of its own: `/` is a page with the 1.3.7 bundle, `/?script=<address>`
 * is a page that loads the client from elsewhere.
 */
export async function serveOrigin() {
  const bundle = await readFile(BUNDLE_1_3_7);
  const site = http.createServer((request, response) => {
    const url = new URL(request.url, 'http://site');
    if (url.pathname === '/client.js') {
      response.writeHead(200, { 'content-type': 'text/javascript; charset=utf-8' }).end(bundle);
    } else {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
      response.end(html(url.searchParams.get('script') ?? '/client.js'));
    }
  });
  await new Promise((resolve, reject) => site.once('error', reject).listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${site.address().port}/`,
    stop: () => new Promise((resolve) => {
      site.close(resolve);
      site.closeAllConnections();
    }),
  };
}

/**
 * Opens `address` as a tab of its own (own connection pool, as long polling would
 * otherwise use up the six connections a browser has per host), connects from there
 * by the `io` the page loaded and logs in as `uid` unless that is undefined.
 */
export async function openInBrowser(browser, address, mode, server, uid) {
  const tab = await browser.newPage();
  const page = new Page(`${address}, ${mode}`, mode, server);
  await tab.exposeFunction('report', (kind, detail) => page.told(kind, detail));
  tab.on('pageerror', (error) => page.told('packet', `! script error: ${error.message}`));
  tab.on('console', (message) => page.told('packet', `! console: ${message.text()}`));
  page.attach({
    login: (value) => tab.evaluate((v) => window.page.login(v), value),
    emit: (...args) => tab.evaluate((a) => window.page.emit(...a), args),
    async close() {
      if (tab.isClosed()) return;
      await tab.evaluate(() => window.page?.close());
      if (page.connected) await page.until('the end of the connection', () => !page.connected);
      await tab.close();
    },
  });
  await tab.goto(address, { waitUntil: 'load' });
  const loaded = await tab.evaluate(() => typeof window.io);
  if (loaded !== 'function') throw new Error(`the script of ${address} gave no working io but ${loaded}`);
  const url = `http://${server.socketio.host}:${server.socketio.port}`;
  await tab.addScriptTag({ content: `window.wire = ${wire}` });
  if (uid !== undefined) page.uid = uid;
  await tab.evaluate(([to, options, as]) => {
    window.page = window.wire(window.io, to, options, (kind, detail) => window.report(kind, detail));
    if (as !== undefined) window.page.login(as);
  }, [url, socketOptions(mode), uid]);
  return page;
}

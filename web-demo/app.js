// This file owns the behaviour of the demo page: the connection, the message list,
// who is online and the push form. Fixed words live in index.html, changing ones in text.js.
// Remote data is only ever written through textContent.

import { curlParts, phpParts } from './snippets.js';
import { local, session } from './storage.js';
import { isChinese, isProposed, switchLanguage, t } from './text.js';

const MAX_MESSAGES = 200;
const ONLINE_REFRESH_MS = 5000;
const TOAST_MS = 4000;
const NAMES = ['alice', 'bob', 'carol', 'dave', 'erin', 'frank', 'grace', 'heidi', 'ivan', 'judy', 'mia', 'oscar'];

const $ = (id) => document.getElementById(id);

let config = { socketio: { port: 2120, path: '/socket.io' }, http: { port: 2121 }, escape_html: true, push: false, key: false };
let configRead = false;
let uid = firstUid();
let secondUid = friendlyUid(uid);
let socket = null;
let since; // the number of the last message that this page has for its uid
let back = null; // what coming back brought: { recovered, before, count }, before being when it logged in
let state = 'connecting';
let stateValues = {};
let answer = null; // { word, key, values }: kept so that a language change can say it again
let online = null;
let unread = 0;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// ---- who I am

function friendlyUid(not = '') {
  const free = NAMES.filter((name) => !not.startsWith(name));
  return `${free[Math.floor(Math.random() * free.length)]}-${10 + Math.floor(Math.random() * 90)}`;
}

function firstUid() {
  const asked = new URLSearchParams(location.search).get('uid')?.trim();
  const first = asked || session.get('campanile.uid') || friendlyUid();
  session.set('campanile.uid', first);
  return first;
}

function changeUid(event) {
  event.preventDefault();
  const wanted = $('uid').value.trim();
  $('uid').value = wanted || uid;
  if (!wanted || wanted === uid) return;
  uid = wanted;
  session.set('campanile.uid', uid);
  const url = new URL(location.href);
  if (url.searchParams.has('uid')) {
    // Otherwise a reload would bring the old uid back.
    url.searchParams.set('uid', uid);
    history.replaceState(null, '', url);
  }
  since = undefined;
  back = null;
  // The server takes one login per connection, so a new uid needs a new connection.
  if (socket) { setState('connecting'); socket.disconnect().connect(); }
  showUid();
  showOnline();
}

function showUid() {
  $('path-uid').textContent = uid;
  $('mode-me-uid').textContent = uid;
  $('second-uid').textContent = secondUid;
  $('second-tab').href = `?uid=${encodeURIComponent(secondUid)}`;
  showTitle();
  showSnippets();
}

// The uid comes first, so that two tabs of this page can be told apart.
function showTitle() {
  document.title = `${unread ? `(${unread}) ` : ''}${uid} · Campanile`;
}

function secondTabOpened() {
  if (!$('to').value) $('to').value = secondUid;
  // Let the browser follow the link as it is before the next name is put in.
  setTimeout(() => { secondUid = friendlyUid(secondUid); showUid(); });
}

// ---- connection

function setState(next, values = {}) {
  state = next;
  stateValues = values;
  $('state').dataset.state = next;
  $('state').textContent = t(next, values);
}

function connect() {
  if (typeof window.io !== 'function') {
    $('missing-client').hidden = false;
    setState('missing');
    refreshOnline();
    return;
  }
  const scheme = config.socketio.tls ? 'https:' : location.protocol;
  const url = `${scheme}//${location.hostname}:${config.socketio.port}`;
  socket = window.io(url, { path: config.socketio.path });
  socket.on('connect', login);
  socket.on('disconnect', (reason) => {
    if (reason === 'io client disconnect') return;
    setState('reconnecting');
    // The client library does not come back by itself when the server closed the socket.
    if (reason === 'io server disconnect') setTimeout(() => socket.connect(), 1000);
  });
  socket.on('connect_error', () => setState('reconnecting'));
  socket.on('new_msg', (content, meta) => {
    if (meta) since = meta.id;
    received(String(content), new Date(meta?.ts ?? Date.now()));
  });
  socket.on('update_online_count', (sentence) => {
    const [users, pages] = String(sentence).match(/\d+/g) ?? [];
    showNumbers(users, pages);
    refreshOnline();
  });
}

// With an object and not just the uid: the page says which message it has seen last, and gets what
// came after that, each message once. The answer comes before the first of them.
function login() {
  setState('login');
  const loggingIn = uid;
  const before = Date.now();
  socket.emit('login', { uid, since }, (answer) => {
    if (loggingIn !== uid) return;
    if (!answer.ok) { setState('refused', { error: answer.error }); return; }
    setState('online');
    since = answer.since;
    back = { recovered: answer.recovered, before, count: 0 };
    showBack();
  });
}

function showBack() {
  const sentences = [];
  if (back?.count) sentences.push(t(back.count === 1 ? 'missedOne' : 'missedMany', { n: back.count }));
  if (back?.recovered === false) sentences.push(t('gap'));
  $('back').textContent = sentences.join(' ');
  $('back').hidden = sentences.length === 0;
  $('back').dataset.recovered = String(back?.recovered !== false);
}

// ---- messages

// One pass only: a second one would turn "&amp;lt;" into "<".
function decodeEntities(text) {
  const signs = { '&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#039;': "'" };
  return text.replace(/&(?:amp|lt|gt|quot|#039);/g, (entity) => signs[entity]);
}

// `pushed` is the server's time. It is compared with this browser's: the demo is for one machine.
function received(content, pushed) {
  const text = config.escape_html ? decodeEntities(content) : content;
  const isLate = back !== null && pushed < back.before;
  if (isLate) { back.count += 1; showBack(); }
  const item = make('li', isLate ? 'late' : '');
  const time = make('time', '', pushed.toLocaleTimeString('en-GB'));
  time.dateTime = pushed.toISOString();
  item.append(time, make('span', 'text', text));
  $('messages').prepend(item);
  while ($('messages').children.length > MAX_MESSAGES) $('messages').lastElementChild.remove();
  $('empty').hidden = true;
  toast(text);
  notify(text);
  if (document.hidden) { unread += 1; showTitle(); }
}

function toast(text) {
  const box = make('p', 'toast', text);
  $('toasts').append(box);
  while ($('toasts').children.length > 3) $('toasts').firstElementChild.remove();
  setTimeout(() => box.remove(), TOAST_MS);
}

function notifyAllowed() {
  return 'Notification' in window && Notification.permission === 'granted' && local.get('campanile.notify') === '1';
}

function notify(text) {
  if (!document.hidden || !notifyAllowed()) return;
  // Some mobile browsers have the permission but not this constructor.
  try { new Notification(`Campanile · ${uid}`, { body: text }); } catch { /* the list and the toast remain */ }
}

async function toggleNotify() {
  if (notifyAllowed()) {
    local.set('campanile.notify', '0');
  } else if ('Notification' in window && await Notification.requestPermission() === 'granted') {
    local.set('campanile.notify', '1');
  }
  showNotify();
}

function showNotify() {
  const blocked = !('Notification' in window) || Notification.permission === 'denied';
  $('notify').disabled = blocked;
  $('notify').setAttribute('aria-pressed', String(notifyAllowed()));
  $('notify').textContent = t(blocked ? 'notifyNo' : notifyAllowed() ? 'notifyOn' : 'notifyAsk');
}

// ---- who is online

function showNumbers(users, pages) {
  if (users !== undefined) $('users').textContent = users;
  if (pages !== undefined) $('pages').textContent = pages;
  $('users-label').textContent = t($('users').textContent === '1' ? 'usersOne' : 'usersMany');
  $('pages-label').textContent = t($('pages').textContent === '1' ? 'openOne' : 'openMany');
}

let asking = false;
let askAgain = false;

// One request at a time: a burst of counts costs two requests, and an old answer cannot overtake a new one.
async function refreshOnline() {
  if (!config.push) return;
  if (asking) { askAgain = true; return; }
  asking = true;
  try {
    const response = await fetch('online.json', { cache: 'no-store' });
    if (response.ok) online = await response.json();
    // The count that a page is sent at its login is the last that was told to all: it is not in it yet.
    if (online) showNumbers(online.users, online.pages);
    showOnline();
  } catch { /* the server is away; the connection state says so, and the next count asks again */ }
  asking = false;
  if (askAgain) { askAgain = false; refreshOnline(); }
}

function showOnline() {
  const list = $('online-list');
  const listed = online?.uids ?? [];
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.uid : null;
  const items = listed.map((entry) => {
    const button = make('button', 'chip');
    button.type = 'button';
    button.dataset.uid = entry.uid;
    button.append(make('b', '', entry.uid));
    if (entry.uid === uid) button.append(make('em', '', t('you')));
    button.append(make('span', '', t(entry.pages === 1 ? 'pagesOne' : 'pagesMany', { n: entry.pages })));
    const item = make('li');
    item.append(button);
    return item;
  });
  list.replaceChildren(...items);
  // The list is rebuilt under the keyboard user's feet: put the focus back where it was.
  if (focused !== null) items.find((item) => item.firstChild.dataset.uid === focused)?.firstChild.focus();
  const cut = online && online.users > listed.length;
  $('online-note').textContent = !configRead ? '' : !config.push ? t('listOff')
    : cut ? t('firstOf', { n: listed.length, all: online.users }) : listed.length ? t('pickUid') : '';
}

function chooseUid(event) {
  const chip = event.target.closest('.chip');
  if (!chip) return;
  const me = chip.dataset.uid === uid;
  if (!me) $('to').value = chip.dataset.uid;
  $(me ? 'to-mode-me' : 'to-mode-uid').checked = true;
  showSnippets();
  $('content').focus();
}

// ---- push form

const mode = () => document.querySelector('input[name=mode]:checked').value;

// What the form sends. An empty `to` means everyone, so a blank uid must never get this far.
function fields() {
  const to = { me: uid, uid: $('to').value.trim(), all: '' }[mode()];
  const form = { type: 'publish', to, content: $('content').value };
  return $('store').checked ? { ...form, store: '1' } : form;
}

function showAnswer(word, key, values) {
  answer = { word, key, values };
  $('answer').dataset.word = word;
  $('answer').replaceChildren();
  if (word) $('answer').append(make('b', '', word), ' ');
  $('answer').append(t(key, values));
}

async function push(event) {
  event.preventDefault();
  const form = fields();
  const sentMode = mode();
  if (sentMode === 'uid' && !form.to) { showAnswer('', 'needUid'); $('to').focus(); return; }
  if (!form.content) { showAnswer('', 'needContent'); $('content').focus(); return; }
  const key = $('key').value.trim();
  // Anything else would be no header, and no key of the server either.
  if (config.key && !/^[\x21-\x7e]+$/.test(key)) { showAnswer('', 'needKey'); $('key').focus(); return; }
  const headers = config.key ? { authorization: `Bearer ${key}` } : {};
  showAnswer('', 'sending');
  $('push').disabled = true;
  try {
    const response = await fetch('push', { method: 'POST', headers, body: new URLSearchParams(form) });
    const word = (await response.text()).trim();
    const reason = response.headers.get('x-campanile-reason');
    if (word === 'ok') showAnswer(word, { me: 'okMe', uid: 'okUid', all: 'okAll' }[sentMode], form);
    else if (word === 'offline') showAnswer(word, form.store ? 'waits' : 'offline', form);
    else if (word === 'fail') showAnswer(word, !reason ? 'fail' : [401, 403].includes(response.status) ? 'denied' : 'unkept', { reason });
    else if (response.status === 403) showAnswer('', 'pushOff');
    else showAnswer('', 'odd', { status: response.status });
  } catch {
    showAnswer('', 'noAnswer');
  }
  $('push').disabled = !config.push;
}

// ---- snippets

function showCode(id, parts, note) {
  const nodes = parts.map((part) => (typeof part === 'string' ? part : make('span', 'string', part.s)));
  $(id).replaceChildren(...(note ? [make('span', 'comment', note)] : nodes));
  document.querySelector(`[data-copy=${id}]`).disabled = Boolean(note);
}

function showSnippets() {
  const form = fields();
  const note = !config.http ? t('httpOff') : mode() === 'uid' && !form.to ? t('needUid') : '';
  const url = `http${config.http?.tls ? 's' : ''}://${location.hostname}:${config.http?.port}/`;
  showCode('curl', curlParts(url, form, config.key), note && `# ${note}`);
  showCode('php', phpParts(url, form, config.key), note && `// ${note}`);
}

async function copy(event) {
  const button = event.currentTarget;
  const code = $(button.dataset.copy);
  let key = 'copied';
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    // Plain http on another host has no clipboard: select the text and use the old command.
    getSelection().selectAllChildren(code);
    if (!document.execCommand('copy')) key = 'notCopied';
  }
  button.textContent = t(key);
  setTimeout(() => { button.textContent = t('copy'); }, 1500);
}

// ---- language

function speak() {
  const zh = isChinese();
  document.documentElement.lang = zh ? 'zh-CN' : 'en';
  $('lang').textContent = zh ? 'English' : '中文';
  $('lang').lang = zh ? 'en' : 'zh-CN';
  for (const element of document.querySelectorAll('[data-zh]')) {
    element.dataset.en ??= element.textContent;
    element.textContent = zh ? element.dataset.zh : element.dataset.en;
  }
  for (const element of document.querySelectorAll('[data-zh-aria-label]')) {
    element.dataset.enAriaLabel ??= element.getAttribute('aria-label');
    element.setAttribute('aria-label', zh ? element.dataset.zhAriaLabel : element.dataset.enAriaLabel);
  }
  for (const button of document.querySelectorAll('.copy')) button.textContent = t('copy');
  // The proposed message follows the language until somebody writes their own.
  if (isProposed($('content').value)) $('content').value = t('hello');
  setState(state, stateValues);
  showBack();
  showNotify();
  showNumbers();
  showOnline();
  showSnippets();
  if (answer) showAnswer(answer.word, answer.key, answer.values);
}

// ---- start

async function readConfig() {
  try {
    const response = await fetch('demo.json', { cache: 'no-store' });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    config = await response.json();
  } catch {
    showAnswer('', 'noConfig');
  }
  configRead = true;
  if (config.version) $('version').textContent = config.version;
  $('socketio-port').textContent = ` :${config.socketio.port}`;
  if (config.http) $('http-port').textContent = ` :${config.http.port}`;
  $('push').disabled = !config.push;
  $('key-option').hidden = !config.key || !config.push;
  if (!config.push && !answer) showAnswer('', config.http ? 'pushOff' : 'httpOff');
}

function listen() {
  $('uid-form').addEventListener('submit', changeUid);
  $('second-tab').addEventListener('click', secondTabOpened);
  $('push-form').addEventListener('submit', push);
  $('push-form').addEventListener('input', showSnippets);
  $('to').addEventListener('input', () => { $('to-mode-uid').checked = true; });
  $('to').addEventListener('click', () => { $('to-mode-uid').checked = true; showSnippets(); });
  $('content').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) $('push-form').requestSubmit();
  });
  $('online-list').addEventListener('click', chooseUid);
  $('notify').addEventListener('click', toggleNotify);
  $('clear').addEventListener('click', () => { $('messages').replaceChildren(); $('empty').hidden = false; });
  $('lang').addEventListener('click', () => { switchLanguage(); speak(); });
  for (const button of document.querySelectorAll('.copy')) button.addEventListener('click', copy);
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) { unread = 0; showTitle(); refreshOnline(); }
  });
}

$('uid').value = uid;
listen();
showUid();
speak();
await readConfig();
showSnippets();
showOnline();
connect();
// The server repeats the count only when a number changes; a uid that replaces another does not show in it.
setInterval(() => { if (!document.hidden) refreshOnline(); }, ONLINE_REFRESH_MS);

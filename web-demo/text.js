// This file owns every sentence of the demo page that changes while it runs, English then Chinese,
// and which of the two languages is spoken. Fixed words live in index.html.

import { local } from './storage.js';

const TEXT = {
  connecting: ['Connecting…', '正在连接…'],
  login: ['Logging in…', '正在登录…'],
  online: ['Connected', '已连接'],
  refused: ['Login refused: {error}', '登录被拒绝：{error}'],
  reconnecting: ['Connection lost, trying again…', '连接断开，正在重连…'],
  missing: ['No Socket.IO client', '缺少 Socket.IO 客户端'],
  hello: ['Hello from Campanile 👋', '你好，来自 Campanile 👋'],
  missedOne: ['1 message came while you were away.', '你不在的时候来了 1 条消息。'],
  missedMany: ['{n} messages came while you were away.', '你不在的时候来了 {n} 条消息。'],
  gap: ['This page was away for longer than the server remembers: some messages may be missing.',
    '本页面离开的时间超过了服务器的记忆，可能缺少一些消息。'],
  pagesOne: ['1 page', '1 个页面'],
  pagesMany: ['{n} pages', '{n} 个页面'],
  usersOne: ['user online', '人在线'],
  usersMany: ['users online', '人在线'],
  openOne: ['page open', '个页面打开'],
  openMany: ['pages open', '个页面打开'],
  you: ['you', '我'],
  pickUid: ['Choose a uid to push to it.', '点一个 uid，就推送给它。'],
  firstOf: ['The first {n} of {all} users.', '共 {all} 人，只列出前 {n} 人。'],
  listOff: ['The list is shown only when this page is served on loopback.', '只有在本机回环地址上打开本页面，才会列出 uid。'],
  sending: ['Sending…', '正在发送…'],
  okMe: ['sent to your pages.', '已发给你的页面。'],
  okUid: ['{to} is online; the message is on its way.', '{to} 在线，消息已发出。'],
  okAll: ['sent to every open page.', '已发给所有打开的页面。'],
  offline: ['{to} has no open page now. Only somebody who left a moment ago still gets it.',
    '{to} 没有打开的页面；只有刚刚离开的人回来时还能收到。'],
  waits: ['{to} has no open page now. The message waits on disk for one.', '{to} 没有打开的页面，消息在磁盘上等待。'],
  unkept: ['not kept, and sent to nobody: {reason}.', '没有保存，也没有发给任何人：{reason}。'],
  denied: ['not taken, and sent to nobody: {reason}.', '没有接受，也没有发给任何人：{reason}。'],
  fail: ['the server did not accept this push.', '服务器没有接受这次推送。'],
  noAnswer: ['No answer from the server.', '服务器没有回答。'],
  odd: ['Unexpected answer: HTTP {status}.', '意外的回答：HTTP {status}。'],
  needUid: ['Write a uid first.', '请先填写 uid。'],
  needKey: ['This server takes pushes with a key only: write one of api.keys.', '这台服务器只接受带密钥的推送：请填写 api.keys 中的一个密钥。'],
  needContent: ['Write a message first.', '请先填写内容。'],
  pushOff: ['Pushing from this page is off, because it is not served on loopback. Use the curl line.',
    '本页面不在本机回环地址上，不能从页面推送。请用 curl 命令。'],
  noConfig: ['This page could not read demo.json, so it cannot push. The default ports are assumed.',
    '读不到 demo.json，不能从页面推送。以下按默认端口显示。'],
  httpOff: ['The push port is off in this server.', '这台服务器关闭了推送端口。'],
  copy: ['Copy', '复制'],
  copied: ['Copied', '已复制'],
  notCopied: ['Press Ctrl+C', '请按 Ctrl+C'],
  notifyAsk: ['Notify me', '开启通知'],
  notifyOn: ['Notifications on', '通知已开启'],
  notifyNo: ['Notifications blocked', '通知被禁止'],
};

let zh = (local.get('campanile.lang') ?? (/^zh\b/i.test(navigator.language) ? 'zh' : 'en')) === 'zh';

export const isChinese = () => zh;

export function switchLanguage() {
  zh = !zh;
  local.set('campanile.lang', zh ? 'zh' : 'en');
}

export function t(key, values = {}) {
  const sentence = TEXT[key][zh ? 1 : 0];
  return sentence.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// True for any text that the page itself proposed as the message, in either language.
export const isProposed = (content) => ['', ...TEXT.hello].includes(content);

// What the uid websocket, the text push port and the chat cost and carry, on this machine.
//   node benches/cousins.mjs [--quick] [--check]
// --quick: fewer pages and messages, for CI; --check: exit code 1 when a budget is missed.
// The PHP original of the text port took about 95,000 pipelined lines a second on two cores.
import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { startServer } from '../tests/clients/harness.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const quick = process.argv.includes('--quick');
const check = process.argv.includes('--check');
const pages = quick ? 3000 : 12_000;
const lines = quick ? 1_000_000 : 3_000_000;
// Three times that is held here; in CI half of it, since the same machine is twice as fast at one hour as at
// another, and what took more than that would be found all the same.
const LEAST_LINES = (quick ? 1.5 : 3) * 95_000;

let missed = false;
function budget(what, value, fine, unit) {
  missed ||= !fine;
  console.log(`${fine ? 'ok    ' : 'MISSED'} ${what}: ${value.toLocaleString('en')} ${unit}`);
}

function bench(server, args) {
  const addresses = ['--dialect', 'uid', '--uid-socket', `http://127.0.0.1:${server.uid_socket.port}`,
    '--push', 'text', '--text', `127.0.0.1:${server.text.port}`, '--pid', `${server.pid}`, '--json'];
  return new Promise((resolve, reject) => {
    const child = spawn(`${root}target/release/campanile`, ['bench', ...addresses, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.on('data', (text) => { out += text; });
    child.on('close', (code) => (code === 0 ? resolve(JSON.parse(out)) : reject(new Error(`bench ${args.join(' ')}: exit ${code}\n${out}`))));
  });
}

const server = await startServer(['--set', 'uid_socket.listen=127.0.0.1:0', '--set', 'text.listen=127.0.0.1:0']);
try {
  const idle = await bench(server, ['--clients', `${pages}`, '--idle', '5', '--publishes', '2000']);
  const kib = idle.rounds[0].memory.per_idle_client_kib;
  budget(`memory per idle page, ${pages.toLocaleString('en')} pages of the uid websocket`, kib, kib <= 8, 'KiB (at most 8)');
  for (const connections of [1, 16]) {
    for (const listeners of [1, 100]) {
      const args = ['--clients', `${listeners}`, '--publishes', `${lines}`, '--concurrency', `${connections}`, '--pipeline', '1000'];
      // A shared machine has slow moments: a rate that seems too low is looked at again, and what the
      // server would do with a core to itself, by its CPU time, counts as well.
      let [rate, perCore] = [0, 0];
      for (let tries = 0; tries < 5 && Math.max(rate, perCore) < LEAST_LINES; tries += 1) {
        const { publish } = (await bench(server, args)).rounds[0];
        rate = Math.max(rate, Math.round(publish.publishes_per_second));
        perCore = Math.max(perCore, Math.round(1e6 / publish.server_cpu_us_per_push));
      }
      const what = `lines by ${connections} connection${connections > 1 ? 's' : ''} to ${listeners} page${listeners > 1 ? 's' : ''}`;
      const held = `/s, ${perCore.toLocaleString('en')} by the CPU time of the server (at least ${LEAST_LINES.toLocaleString('en')})`;
      budget(what, rate, Math.max(rate, perCore) >= LEAST_LINES, `${held}, none lost`);
    }
  }
} finally {
  await server.stop();
}
for (const inFlight of [1, 16, 64]) {
  const args = [`${root}benches/chat.mjs`, '--in-flight', `${inFlight}`, '--seconds', quick ? '3' : '8'];
  const run = spawnSync(process.execPath, args, { encoding: 'utf8' });
  const rate = Number(/: (\d+) messages/.exec(run.stdout)?.[1]);
  if (run.status !== 0) throw new Error(`${run.stdout}${run.stderr}`);
  // What a page gets that waits for each ack depends on the disk alone; it is told, not held.
  const least = inFlight === 1 ? 0 : 20_000;
  const held = least ? ` (at least ${least.toLocaleString('en')})` : '';
  budget(`chat, 64 senders with ${inFlight} in flight each, SQLite, durable`, rate, rate >= least, `messages/s kept and acknowledged${held}`);
}
if (check && missed) process.exitCode = 1;

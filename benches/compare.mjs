// Compares this server with a bare socketioxide server (benches/bare) in one run, on the same
// machine and load, and holds the results against the budgets of the README.
//   node benches/compare.mjs [--quick] [--check]
// --quick: fewer pages, for CI; --check: exit code 1 when a budget is overrun. Ratios of CPU time
// are the median of pairs of runs; shared machines are noisy, so --quick allows them more; it is there
// to catch a regression, not to measure.
import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const quick = process.argv.includes('--quick');
const check = process.argv.includes('--check');
const binary = `${root}target/release/campanile`;
// What one run leaves must not be taken up by the next.
const ours = (...more) => (s, h, web) => {
  const listeners = [`socketio.listen=${s}`, `http.listen=${h}`, `web.listen=${web}`, 'admin.listen='];
  const settings = [...listeners, 'log.level=warn', 'store.url=', 'shutdown.drain=0s', ...more];
  return [binary, settings.flatMap((setting) => ['--set', setting])];
};
const servers = {
  bare: { ports: [7120, 7121], start: (s, h) => [`${root}target/release/bare`, [s, h]] },
  campanile: { ports: [7220, 7221, 7223], start: ours() },
  forgetful: { ports: [7320, 7321, 7323], start: ours('recovery.window=0s') },
};

const overruns = [];
const budget = (what, value, most, unit) => {
  const fine = value <= most;
  if (!fine) overruns.push(what);
  console.log(`${fine ? 'ok  ' : 'OVER'} ${what}: ${value.toFixed(2)} ${unit} (at most ${+most.toFixed(2)})`);
};

async function withServer(name, work) {
  const { ports, start } = servers[name];
  const [command, args] = start(...ports.map((port) => `127.0.0.1:${port}`));
  const child = spawn(command, args, { stdio: 'ignore' });
  try {
    for (let tries = 0; ; tries += 1) {
      try {
        await fetch(`http://127.0.0.1:${ports[1]}/?type=none`);
        break;
      } catch (error) {
        if (tries > 200 || child.exitCode !== null) throw error;
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
    }
    return await work(child.pid, ports);
  } finally {
    child.kill('SIGTERM');
    await new Promise((resolve) => (child.exitCode === null ? child.once('exit', resolve) : resolve()));
  }
}

function bench(pid, [socketio, http], args) {
  const urls = ['--socketio', `http://127.0.0.1:${socketio}`, '--http', `http://127.0.0.1:${http}`];
  const run = spawnSync(binary, ['bench', ...urls, '--pid', `${pid}`, '--json', ...args.map(String)], { encoding: 'utf8' });
  if (!run.stdout) throw new Error(`bench failed: ${run.stderr}`);
  const result = JSON.parse(run.stdout);
  if (result.lost || result.duplicated) overruns.push(`lost ${result.lost}, duplicated ${result.duplicated}: ${args.join(' ')}`);
  return result.rounds;
}

// The median of the ratios of neighbouring runs: what else the machine does slows both of a pair. A
// ratio that seems too high is looked at for longer before it is believed.
async function ratio(what, args, most, against = 'bare') {
  const compared = [against, 'campanile'];
  const limit = quick ? most * 1.6 : most;
  const pairs = [];
  const median = (values) => values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)];
  const compare = async (times) => {
    for (let run = 0; run < times; run += 1) {
      const pair = {};
      for (const name of compared) {
        const [round] = await withServer(name, (pid, ports) => bench(pid, ports, args));
        pair[name] = { cpu: round.publish.server_cpu_us_per_delivery, p50: round.publish.latency_ms.p50 };
      }
      pairs.push(pair);
    }
    return median(pairs.map((pair) => pair.campanile.cpu / pair[against].cpu));
  };
  let found = await compare(3);
  for (let longer = 0; longer < 2 && found > limit; longer += 1) found = await compare(4);
  const told = compared.map((name) => {
    const of = (field) => median(pairs.map((pair) => pair[name][field]));
    return `${name} ${of('cpu').toFixed(2)} us, p50 ${of('p50').toFixed(1)} ms`;
  });
  console.log(`     ${told.join('; ')}; ${pairs.length} pairs of runs`);
  budget(`${what}, CPU per delivery against ${against}`, found, limit, 'times');
}

const pages = quick ? 2000 : 5000;
await ratio(`everyone, ${pages} pages, in a burst`, ['--clients', pages, '--publishes', 200, '--to', 'all'], 1.15);
await ratio(`everyone, ${pages} pages, 10 a second`, ['--clients', pages, '--publishes', quick ? 40 : 80, '--to', 'all', '--rate', 10], 1.15);
await ratio(`one uid of ${pages}`, ['--clients', pages, '--publishes', 40_000, '--to', 'uid'], 1.25);
// What it costs to remember.
await ratio(`everyone, ${pages} pages, in a burst`, ['--clients', pages, '--publishes', 200, '--to', 'all'], 1.1, 'forgetful');
await ratio(`everyone, ${pages} pages, 10 a second`, ['--clients', pages, '--publishes', quick ? 40 : 80, '--to', 'all', '--rate', 10], 1.1, 'forgetful');

await withServer('campanile', (pid, ports) => {
  const crowd = quick ? 4000 : 9000;
  const rounds = bench(pid, ports, ['--clients', crowd, '--publishes', 20, '--to', 'all', '--rounds', 3, '--leave-wait', 6]);
  const [first, second, third] = rounds.map((round) => round.memory);
  budget(`resident memory per idle page, ${crowd} pages`, first.per_idle_client_kib, 22, 'KiB');
  budget('kept after they have left', (first.after_leave_kib - first.before_kib) / (first.idle_kib - first.before_kib), 0.5, 'of what they took');
  budget('peak of the second and third crowd', Math.max(second.idle_kib, third.idle_kib) / first.idle_kib, 1.05, 'of the first');
});

await withServer('campanile', async (pid, ports) => {
  const rounds = bench(pid, ports, ['--clients', 2000, '--publishes', 5, '--to', 'all', '--rounds', 5, '--leave-wait', 6]);
  const left = rounds.map((round) => round.memory.after_leave_kib);
  const online = await (await fetch(`http://127.0.0.1:${ports[2]}/online.json`)).json();
  budget('users and pages that stay counted after 10,000 connections', online.users + online.pages, 0, '');
  budget('memory after 10,000 connections', left.at(-1) / left[0], quick ? 1.2 : 1.1, 'of that after 2,000');
});

for (const eio of [3, 4]) {
  await withServer('campanile', (pid, ports) => {
    const [round] = bench(pid, ports, ['--clients', 2000, '--publishes', 2000, '--to', 'uid', '--eio', eio]);
    budget(`logins lost of 2,000 at once, Engine.IO ${eio}`, round.connect.unconfirmed + round.publish.answers.offline, 0, '');
  });
}

if (overruns.length > 0) console.log(`over budget: ${overruns.join('; ')}`);
process.exitCode = check && overruns.length > 0 ? 1 : 0;

// A Spillway of the check's own: one process, with all roles or with one, which can be killed and started again on the same port
// and data.
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';

const READY_MS = 60_000;

/** Asks until `condition` returns something true. The condition says what is waited for. */
export async function until(what, condition, deadlineMs = 30_000) {
  const deadline = Date.now() + deadlineMs;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export class Spillway {
  #process;
  #starts = 0;

  constructor(program, directory, settings = {}, role = 'all') {
    this.program = program;
    this.directory = directory;
    this.settings = settings;
    this.role = role;
    this.listen = '127.0.0.1:0';
    /** What `send` and `stored` present, where keys are required. */
    this.headers = {};
    /** URLs of its roles, by name. */
    this.listeners = {};
  }

  get store() {
    return path.join(this.directory, 'data', 'store.db');
  }

  async start() {
    this.#starts += 1;
    await mkdir(this.directory, { recursive: true });
    const log = path.join(this.directory, `spillway-${this.#starts}.log`);
    const entry = this.role === 'all' ? 'gateway' : this.role;
    const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SPILLWAY_')));
    this.#process = spawn(this.program, [this.role], {
      cwd: this.directory,
      env: {
        ...inherited,
        SPILLWAY_DATA_DIR: path.join(this.directory, 'data'),
        SPILLWAY_GATEWAY__LISTEN: '127.0.0.1:0',
        SPILLWAY_PRODUCER__LISTEN: '127.0.0.1:0',
        SPILLWAY_CONSUMER__LISTEN: '127.0.0.1:0',
        [`SPILLWAY_${entry.toUpperCase()}__LISTEN`]: this.listen,
        SPILLWAY_RATE_LIMIT__BATCH_PER_SECOND: '0',
        SPILLWAY_RATE_LIMIT__SINGLE_PER_SECOND: '0',
        ...this.settings,
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.ended = ended;
    this.#process.stderr.pipe(createWriteStream(log));
    let gone = false;
    void ended.then(() => { gone = true; });
    await until(`Spillway is ready (${log})`, async () => {
      if (gone) throw new Error(`Spillway ended: ${(await readFile(log, 'utf8')).slice(-2_000)}`);
      const text = await readFile(log, 'utf8').catch(() => '');
      const address = new RegExp(`${entry} listens address=([0-9.:]+)`).exec(text)?.[1];
      if (!address) return false;
      this.listen = address;
      this.listeners = Object.fromEntries([...text.matchAll(/: (\w+) listens address=(127[0-9.:]+)/g)].map(([, name, of]) => [name, `http://${of}`]));
      const answer = await fetch(`${this.url}/actuator/health/readiness`).catch(() => undefined);
      return answer?.ok;
    }, READY_MS);
  }

  get url() {
    return `http://${this.listen}`;
  }

  async kill() {
    this.#process.kill('SIGKILL');
    await this.ended;
  }

  async stop() {
    this.#process?.kill('SIGTERM');
    await this.ended;
  }

  /** Runs a command of the program. */
  async run(...command) {
    const child = spawn(this.program, command, { cwd: this.directory, env: { ...process.env, SPILLWAY_DATA_DIR: path.join(this.directory, 'data') } });
    let out = '';
    child.stdout.on('data', (text) => { out += text; });
    child.stderr.on('data', (text) => { out += text; });
    const code = await new Promise((resolve) => child.once('exit', resolve));
    return { code, out };
  }

  /** Sends events as one batch of JSON lines; waits while the server asks for it. */
  async send(events) {
    const body = events.map((event) => JSON.stringify(event)).join('\n');
    await until('the batch is accepted', async () => {
      const answer = await fetch(`${this.url}/api/logs/batch`, { method: 'POST', headers: { 'Content-Type': 'application/x-ndjson', ...this.headers }, body });
      if (answer.status === 503 || answer.status === 429) return false;
      const result = await answer.json();
      if (answer.status !== 202 || result.failed > 0) throw new Error(`refused: ${JSON.stringify(result).slice(0, 500)}`);
      return true;
    }, 120_000);
  }

  /** Waits until a query finds as many events. */
  async stored(query, events, deadlineMs = 600_000) {
    return until(`${events} events of ${query} are stored`, async () => {
      const answer = await fetch(`${this.url}/api/logs/stats?${query}`, { headers: this.headers });
      if (!answer.ok) return false;
      const { total } = await answer.json();
      return Object.values(total).reduce((sum, count) => sum + count, 0) >= events;
    }, deadlineMs);
  }
}

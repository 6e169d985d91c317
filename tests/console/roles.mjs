// Each role as processes of their own, with keys required, on Kafka, PostgreSQL and Redis of their own (scripts/services).
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { devServer } from './dev-server.mjs';
import { Spillway } from './spillway.mjs';

const SERVICES = fileURLToPath(new URL('../../scripts/services', import.meta.url));
/** The options of `spillway key create`, by the name of the key. */
const KEYS = {
  sender: ['--role', 'ingest', '--role', 'read'],
  viewer: ['--role', 'read'],
  restricted: ['--role', 'read', '--role', 'operate', '--source', 'checkout-*'],
  operator: ['--role', 'ingest', '--role', 'read', '--role', 'operate'],
  temporary: ['--role', 'read', '--expires', '1day'],
};

export class Roles {
  #running;
  #proxy;

  /** Starts nothing yet. With `proxied`, dev-server.mjs serves the console. */
  constructor(program, directory, { proxied }) {
    this.program = program;
    this.directory = directory;
    this.proxied = proxied;
    this.keysFile = path.join(directory, 'keys.toml');
    this.processes = [];
  }

  /** Starts everything, unless it runs: a gateway, a producer and two consumers. */
  start() {
    this.#running ??= this.#start();
    return this.#running;
  }

  async #start() {
    await mkdir(this.directory, { recursive: true });
    await this.services('up', '--own');
    const sessions = path.join(this.directory, 'session-secrets');
    await writeFile(sessions, randomBytes(32).toString('base64'), { mode: 0o600 });
    // Before the processes start, so that all of them know the keys at once.
    this.keys = {};
    for (const name of Object.keys(KEYS)) this.keys[name] = await this.#createKey(name);
    const settings = { ...(await this.#addresses()), SPILLWAY_AUTH__MODE: 'required', SPILLWAY_AUTH__KEYS_FILE: this.keysFile, SPILLWAY_AUTH__SESSION_KEY_FILE: sessions };
    const launch = async (role, name, more = {}) => {
      const one = new Spillway(this.program, path.join(this.directory, name), { ...settings, ...more }, role);
      this.processes.unshift(one);
      await one.start();
      return one;
    };
    this.producer = await launch('producer', 'producer');
    this.consumers = [await launch('consumer', 'consumer-1'), await launch('consumer', 'consumer-2')];
    this.gateway = await launch('gateway', 'gateway', { SPILLWAY_GATEWAY__PRODUCERS: this.producer.url, SPILLWAY_GATEWAY__CONSUMERS: this.consumers.map(({ url }) => url).join() });
    this.gateway.headers = { Authorization: `Bearer ${this.keys.sender}` };
    if (this.proxied) this.#proxy = await devServer(0, () => this.gateway.url);
  }

  /** Where a browser finds the console. */
  get url() {
    return `${this.#proxy ? `http://127.0.0.1:${this.#proxy.address().port}` : this.gateway.url}/console/`;
  }

  async #createKey(name) {
    const { code, out } = await run(this.program, ['key', 'create', '--keys-file', this.keysFile, '--name', name, ...KEYS[name]]);
    const key = /spw_\w{8}_\w{38}/.exec(out)?.[0];
    if (code !== 0 || !key) throw new Error(`no key: ${out}`);
    return key;
  }

  /** Makes the key `temporary` expire: it is the only one that expires. */
  async expireTemporaryKey() {
    const keys = await readFile(this.keysFile, 'utf8');
    await writeFile(this.keysFile, keys.replace(/^expires = .*$/m, 'expires = "2026-01-01T00:00:00Z"'));
  }

  /** Runs scripts/services for the servers of these processes. */
  async services(...command) {
    const { code, out } = await run(SERVICES, command, { SERVICES_DIR: path.join(this.directory, 'services') });
    if (code !== 0) throw new Error(`scripts/services ${command.join(' ')}: ${out.slice(-1_000)}`);
    return out;
  }

  async #addresses() {
    const lines = (await this.services('env')).matchAll(/^export (SPILLWAY_\w+)=(\S+)$/gm);
    return Object.fromEntries([...lines].map(([, name, value]) => [name, value]));
  }

  async stop() {
    this.#proxy?.closeAllConnections();
    this.#proxy?.close();
    for (const one of this.processes) await one.stop();
    await this.services('down');
  }
}

async function run(program, command, variables = {}) {
  const child = spawn(program, command, { env: { ...process.env, ...variables } });
  let out = '';
  child.stdout.on('data', (text) => { out += text; });
  child.stderr.on('data', (text) => { out += text; });
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
  return { code, out };
}

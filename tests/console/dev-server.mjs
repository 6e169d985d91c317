// Serves the built console with its headers and forwards everything else to a Spillway: for work on the console without building
// the program, and for `scripts/console-check --proxy`.
//   node tests/console/dev-server.mjs PORT http://127.0.0.1:8080
import { createReadStream, existsSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const DIST = fileURLToPath(new URL('../../adapters/console/dist/', import.meta.url));
const RUNBOOKS = fileURLToPath(new URL('../../docs/runbooks/', import.meta.url));
const TYPES = { '.md': 'text/markdown; charset=utf-8', '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };
const HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'no-cache',
};

function serve(pathname, response) {
  const below = path.normalize(pathname.slice('/console/'.length) || 'index.html');
  const [root, name] = below.startsWith('runbooks/') ? [RUNBOOKS, below.slice('runbooks/'.length)] : [DIST, below];
  const file = path.join(root, name);
  if (!file.startsWith(root) || !existsSync(file)) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { ...HEADERS, 'Content-Type': TYPES[path.extname(file)] ?? 'application/octet-stream' });
  createReadStream(file).pipe(response);
}

function forward(request, response, target) {
  const headers = { ...request.headers, host: target.host };
  // The page is of the same origin as its server here, as it is in the real one.
  if (headers.origin) headers.origin = target.origin;
  const forwarded = http.request({ host: target.hostname, port: target.port, path: request.url, method: request.method, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
    answer.on('error', () => response.destroy());
  });
  forwarded.on('error', () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
  response.on('close', () => forwarded.destroy());
  request.pipe(forwarded);
}

/** Begins to serve; `target` is asked for each request, because it may change. Returns the server. */
export function devServer(port, target) {
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (pathname.startsWith('/console/')) serve(pathname, response);
    else forward(request, response, new URL(target()));
  });
  return new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(server)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [port, target] = process.argv.slice(2);
  if (!port || !target) {
    console.error('usage: dev-server.mjs PORT URL');
    process.exit(64);
  }
  await devServer(Number(port), () => target);
  console.log(`http://127.0.0.1:${port}/console/`);
}

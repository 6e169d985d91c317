// Runs in a page: tries to read and to write in each way that a page has.

/**
 * Tries all reads and writes at a target. Returns what the page got to see, and how many attempts it made; `simple` are those writes
 * that a browser sends without asking the server first.
 *
 * The function must refer to nothing outside of it.
 */
export async function attempt({ target, reads, writes }) {
  const OUTCOME_MS = 10_000;
  const seen = [];
  const count = { reads: 0, writes: 0, simple: 0 };

  /** The outcome of an attempt, which must come. */
  function within(what, outcome) {
    return new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error(`no outcome of ${what}`)), OUTCOME_MS);
      outcome(resolve);
    });
  }

  /** Asks, and notes what can be read of the answer. Streams are read up to their first part. */
  async function ask(how, path, options) {
    const stop = new AbortController();
    try {
      const answer = await fetch(target + path, { ...options, signal: stop.signal });
      const part = await answer.body?.getReader().read();
      const text = new TextDecoder().decode(part?.value).slice(0, 2_000);
      if (answer.type !== 'opaque' || text) seen.push({ how, path, status: answer.status, text });
    } catch {
      // The browser shows nothing of it.
    } finally {
      stop.abort();
    }
  }

  async function load(kind, path) {
    const element = document.createElement(kind);
    const loaded = await within(`${kind} ${path}`, (resolve) => {
      element.onload = () => resolve(true);
      element.onerror = () => resolve(false);
      if (kind === 'link') Object.assign(element, { rel: 'stylesheet', href: target + path });
      else element.src = target + path;
      document.head.append(element);
    });
    element.remove();
    if (loaded) seen.push({ how: kind, path, status: 0, text: '' });
  }

  async function open(how, path, socket) {
    const opened = await within(`${how} ${path}`, (resolve) => {
      socket.onopen = () => resolve(true);
      socket.onmessage = () => resolve(true);
      socket.onerror = () => resolve(false);
    });
    socket.close();
    if (opened) seen.push({ how, path, status: 0, text: '' });
  }

  async function submit(path, body, enctype) {
    const frame = document.createElement('iframe');
    frame.name = `frame-${count.writes}`;
    const form = document.createElement('form');
    // The text that arrives as `text/plain` is the body, which has a `=` in it.
    const input = document.createElement('input');
    const at = body.indexOf('=');
    [input.name, input.value] = at < 0 ? [body, ''] : [body.slice(0, at), body.slice(at + 1)];
    Object.assign(form, { action: target + path, method: 'post', enctype, target: frame.name });
    form.append(input);
    document.body.append(frame, form);
    await within(`form ${path}`, (resolve) => {
      frame.onload = () => resolve();
      form.submit();
    });
    frame.remove();
    form.remove();
  }

  for (const path of reads) {
    await ask('fetch', path, {});
    await ask('fetch with credentials', path, { credentials: 'include' });
    await ask('fetch without CORS', path, { mode: 'no-cors' });
    await open('EventSource', path, new EventSource(target + path));
    count.reads += 4;
    // A stream does not end, so that an element has no outcome.
    if (path === '/api/logs/tail') continue;
    for (const kind of ['img', 'script', 'link']) await load(kind, path);
    count.reads += 3;
  }
  // Few: a browser delays further ones when many have failed.
  for (const path of ['/', '/api/logs', '/api/logs/tail']) {
    await open('WebSocket', path, new WebSocket(target.replace('http', 'ws') + path));
    count.reads += 1;
  }
  for (const { method, path, body, type } of writes) {
    // A browser asks first: of the method, or of the headers.
    await ask('declared', path, { method, body, headers: { 'Content-Type': type, 'X-Spillway': '1' } });
    count.writes += 1;
    if (method !== 'POST') continue;
    await ask('text', path, { method, body });
    await ask('text without CORS', path, { method, body, mode: 'no-cors' });
    await ask('bytes without CORS', path, { method, body: new Blob([body]), mode: 'no-cors' });
    navigator.sendBeacon(target + path, body);
    for (const enctype of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']) await submit(path, body, enctype);
    count.writes += 7;
    count.simple += 7;
  }
  return { seen, ...count };
}

/**
 * Sends requests to a port that does not speak HTTP, in the clear and over TLS. Returns how many it sent.
 *
 * The function must refer to nothing outside of it.
 */
export async function knock({ address, body }) {
  const OUTCOME_MS = 5_000;
  const requests = [['http', 'GET'], ['http', 'POST'], ['https', 'GET'], ['https', 'POST']];
  for (const [scheme, method] of requests) {
    const stop = AbortSignal.timeout(OUTCOME_MS);
    await fetch(`${scheme}://${address}/`, { method, body: method === 'POST' ? body : undefined, mode: 'no-cors', signal: stop }).catch(() => {});
  }
  return requests.length;
}

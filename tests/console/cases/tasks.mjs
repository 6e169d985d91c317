// What people come for.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { explored } from '../browser.mjs';
import { until } from '../spillway.mjs';

const LETTERS = fileURLToPath(new URL('../letters.py', import.meta.url));

/** Finds the error of a failing checkout, as a person would: by level, then by field, then by its text. */
async function findError({ browser }) {
  const page = await browser.page();
  await page.goto(browser.url('?from=-1h'));
  await explored(page);
  await page.click('.level-toggle.level-ERROR');
  await page.waitForFunction(() => [...document.querySelectorAll('.event-row .level')].every((level) => level.textContent === 'ERROR'));
  await page.click('button[aria-label="Only source payments"]');
  await page.waitForSelector('.chip');
  await page.waitForFunction(() => [...document.querySelectorAll('.event-row .cell-source')].every((source) => source.textContent === 'payments'));
  await page.click('.event-row .cell-message');
  await page.waitForSelector('.drawer .field-table');
  const text = await page.textContent('.drawer-body');
  assert.match(text, /pool exhausted/);
  assert.match(text, /AcquirerClient\.java:142/);
  assert.match(text, /pool\.active/);
  return page;
}

async function context(environment) {
  const page = await findError(environment);
  await page.keyboard.press('c');
  await page.waitForSelector('.context-line.itself');
  const lines = await page.locator('.context-line').count();
  const itself = await page.locator('.context-line').evaluateAll((all) => all.findIndex((line) => line.classList.contains('itself')));
  assert.ok(itself > 0 && itself < lines - 1, `event ${itself} of ${lines} lines`);
  // The first line in sight stays where it is.
  await page.locator('.drawer-body').evaluate((body) => { body.scrollTop = 0; });
  const first = await page.locator('.context-line').first().evaluate((line) => ({ id: line.id, top: line.getBoundingClientRect().top }));
  await page.click('text=40 more before');
  await page.waitForFunction((before) => document.querySelectorAll('.context-line').length > before, lines);
  const { top } = await page.locator(`[id="${first.id}"]`).evaluate((line) => ({ top: line.getBoundingClientRect().top }));
  assert.ok(Math.abs(top - first.top) <= 2, `the line moved from ${first.top} to ${top}`);
}

async function trace(environment) {
  const page = await findError(environment);
  await page.keyboard.press('t');
  await page.waitForSelector('.trace-line.itself');
  const sources = new Set(await page.locator('.trace-source').allTextContents());
  assert.ok(sources.has('gateway') && sources.has('payments') && [...sources].some((source) => source.startsWith('checkout-')), [...sources].join());
  const events = await page.locator('.trace-line').count();
  await page.click('text=Show the trace in Explore');
  await page.waitForSelector(`.summary strong:text-is("${events} events")`);
  const range = new URL(page.url()).searchParams;
  const lengthMs = Date.parse(range.get('to')) - Date.parse(range.get('from'));
  assert.ok(lengthMs > 0 && lengthMs < 60_000, `a range of ${lengthMs} ms`);
}

async function share(environment) {
  const { browser } = environment;
  const page = await findError(environment);
  const copied = async (name) => {
    await page.click(`button:has-text("${name}")`);
    await page.waitForSelector(`.toast:has-text("${name} copied")`);
    return page.evaluate(() => navigator.clipboard.readText());
  };
  const link = await copied('Link to this view');
  assert.match(link, /from=\d{4}-/);
  assert.match(link, /to=\d{4}-/);
  const other = await browser.page();
  await other.goto(link);
  await other.waitForSelector('.drawer .field-table');
  assert.match(await other.textContent('.drawer-body'), /pool exhausted/);
  assert.equal(await other.textContent('.chip-text'), 'source:payments');

  // The link to the event has the open tab, and the events around it; nothing of the search.
  await page.click('#tab-trace');
  await page.waitForSelector('.trace-line.itself');
  await other.goto(await copied('Link to this event'));
  await other.waitForSelector('.trace-line.itself');
  // The list shows the newest events of these two minutes, among which this one need not be.
  assert.match(await other.textContent('.trace-line.itself'), /pool exhausted/);
  assert.equal(await other.locator('.chip').count(), 0);
}

/** A query and levels stay on the way through other views; what is written in the box is not searched again by keys. */
async function sameSearch({ browser }) {
  const page = await browser.page();
  await page.goto(browser.url('?from=-1h&level=ERROR'));
  await explored(page);
  await page.keyboard.press('/');
  await page.keyboard.type('order');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.event-row mark');
  for (const view of ['Tail', 'Pipeline', 'Tail', 'Explore']) {
    await page.click(`nav >> text=${view}`);
    await page.waitForSelector(`nav .on:has-text("${view}")`);
    if (view === 'Pipeline') continue;
    await page.waitForSelector('.event-row mark');
    assert.equal(await page.inputValue('input[name=query]'), 'order');
    assert.equal(await page.locator('.level-toggle[aria-pressed=true]').textContent().then((text) => text.startsWith('ERROR')), true);
  }
}

async function watch({ browser, spillway }) {
  const page = await browser.page();
  await page.goto(browser.url('?view=tail&level=ERROR,FATAL'));
  await page.waitForSelector('.tail-status.live');
  await spillway.send([{ source: 'watched', level: 'INFO', message: 'not this one' }, { source: 'watched', level: 'ERROR', message: 'this one is new' }]);
  await page.waitForSelector('.event-row:has-text("this one is new")');
  assert.equal(await page.locator('.event-row:has-text("not this one")').count(), 0);
  await page.keyboard.press(' ');
  await page.waitForSelector('.tail-status.paused');
  await spillway.send([{ source: 'watched', level: 'FATAL', message: 'while paused' }]);
  await page.waitForSelector('.tail-state:has-text("Paused, 1 new")');
  assert.equal(await page.locator('.event-row:has-text("while paused")').count(), 0);
  await page.keyboard.press(' ');
  await page.waitForSelector('.event-row:has-text("while paused")');
}

async function redrive({ browser, spillway }) {
  const put = spawnSync('python3', [LETTERS, spillway.store, '40'], { encoding: 'utf8' });
  assert.equal(put.status, 0, put.stderr);
  const page = await browser.page();
  // Seen from any view.
  await page.goto(browser.url('?view=pipeline'));
  await page.click('.figure a:has-text("40 waiting")');
  await page.waitForSelector('.letter-line:has-text("billing invoice 7000 cannot be written")');
  await page.waitForSelector('nav a:has-text("Dead letters") .badge:text-is("40")');
  await page.click('.letter-line button[aria-expanded]');
  assert.match(await page.textContent('.raw'), /invoice 7000/);
  const sendAgain = async (row, outcome) => {
    await page.click(`${row} >> text=Send again…`);
    await page.waitForSelector('.dialog .primary:enabled');
    const warned = await page.locator('.dialog .caution').count();
    await page.click('.dialog .primary');
    await page.waitForSelector('.dialog:has-text("1 dead letter sent again")');
    await page.waitForSelector(`.outcome:has-text("${outcome}")`);
    return warned;
  };
  assert.equal(await sendAgain('.letter-line:has-text("not valid JSON") >> nth=0', 'Refused again: the value is not the JSON of an event'), 1);
  await page.click('.dialog-actions button:has-text("Close")');
  assert.equal(await sendAgain('.letter-line:has-text("invoice 7001")', 'Stored: open the event'), 0);
  await page.click('.outcome a');
  await page.waitForSelector('.drawer .field-table');
  assert.match(await page.textContent('.drawer-body'), /invoice 7001/);
  await page.goto(browser.url('?view=dead-letters'));
  await page.click('text=Send all again…');
  await page.fill('.dialog input[type=number]', '20');
  await page.click('.dialog .primary:has-text("Send 39 again")');
  await page.waitForSelector('progress');
  await page.waitForSelector('.dialog:has-text("39 dead letters sent again")');
  await until('redriven events are stored', async () => (await (await fetch(`${spillway.url}/api/logs?source=billing&limit=100`)).json()).events.length >= 30);
}

/** What a recorded answer says; the case kafka-away stops a real Kafka. */
async function faults({ browser }) {
  const page = await browser.page();
  const fleet = fileURLToPath(new URL('../fixtures/fleet-kafka-away.json', import.meta.url));
  await page.route('**/actuator/fleet', (route) => route.fulfill({ path: fleet, contentType: 'application/json' }));
  await page.goto(browser.url());
  // Seen from any view.
  await page.click('nav a:has(.badge.critical)');
  await page.waitForSelector('.verdict.bad:has-text("Kafka takes no records")');
  await page.waitForSelector('.verdict.fair:has-text("cannot be reached")');
  const text = await page.textContent('main');
  assert.match(text, /kept on disk/);
  assert.match(text, /Kafka/);
  assert.match(text, /breaker\s*open/);
  assert.match(text, /full in 5 min/);
  assert.match(text, /not reachable/);
  await page.click('.alert >> text=Open the runbook');
  await page.waitForSelector('.runbook-body:has-text("The circuit breaker in front of Kafka is open")');
  await page.click('.runbook-body button:has-text("bus_unusable")');
  await page.waitForSelector('.runbook-place:has-text("bus_unusable")');
  await page.keyboard.press('Escape');
  await page.waitForSelector('.runbook-dialog', { state: 'detached' });

  // Nobody sends anything: the breaker is closed and no alert fires, but Kafka is away.
  const idle = JSON.parse(await readFile(fleet, 'utf8'));
  for (const { report } of idle.instances) if (report) Object.assign(report, { alerts: [] });
  Object.assign(idle.instances.find(({ role }) => role === 'producer').report.producer.breakers[0], { state: 'closed', opened: 0 });
  await page.unroute('**/actuator/fleet');
  await page.route('**/actuator/fleet', (route) => route.fulfill({ json: idle }));
  await page.waitForSelector('.alerts:has-text("None yet")');
  await page.waitForSelector('.stage[aria-label="Bus"] .box.down:has-text("away")');
  await page.waitForSelector('.stage[aria-label="Producer"] .box:has-text("waits for Kafka")');
}

async function send({ browser, spillway }) {
  const page = await browser.page();
  await page.goto(browser.url('?view=send'));
  await page.fill('textarea', '2026-01-15T10:30:00Z ERROR first line failed\njava.lang.IllegalStateException: x\n\tat a.B.c(B.java:1)\n2026-01-15T10:30:01Z INFO second line');
  await page.fill('label:has-text("Source") input', 'typed in');
  await page.click('.send-controls .primary');
  await page.waitForSelector('.answer:has-text("2 events accepted")');
  await until('the sent events are stored', async () => (await (await fetch(`${spillway.url}/api/logs?source=typed+in`)).json()).events.length === 2);
  await page.click('text=Show them in Explore');
  await page.waitForSelector('.event-row:has-text("second line")');
}

export const tasks = [
  { name: 'find-error', smoke: true, run: async (environment) => void (await findError(environment)) },
  { name: 'context', smoke: true, run: context },
  { name: 'trace', run: trace },
  { name: 'share', run: share },
  { name: 'same-search', run: sameSearch },
  { name: 'watch-errors', smoke: true, run: watch },
  { name: 'redrive', run: redrive },
  { name: 'pipeline-faults', run: faults },
  { name: 'send', smoke: true, run: send },
];

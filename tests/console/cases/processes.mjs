// Against each role as processes of their own, with keys required, on real servers: sign-in with each kind of key, and an outage of Kafka.
import assert from 'node:assert/strict';
import { until } from '../spillway.mjs';

/** A half-open breaker that meets a Kafka which is still starting opens again for a minute. */
const RECOVERY_MS = 180_000;

async function present(page, key) {
  await page.fill('#key', key);
  await page.click('.sign-in-card .primary');
}

async function refused(page, key, text) {
  await present(page, key);
  await page.waitForSelector(`.failure-text:has-text("${text}")`);
  await page.waitForSelector('.sign-in-card .primary:enabled');
}

async function accepted(page, key) {
  await present(page, key);
  await page.waitForSelector('.top');
}

async function signOut(page) {
  await page.click('.top-end .menu-button');
  await page.click('text=Sign out');
  await page.waitForSelector('.sign-in-card');
}

async function views(page, expected) {
  for (const [view, selector] of Object.entries(expected)) {
    await page.click(`nav >> text=${view}`);
    await page.waitForSelector(selector);
  }
}

const without = (role) => `.notice:has-text("needs the role ${role}")`;

async function signInRoles({ browser, roles }) {
  await roles.start();
  const { keys } = roles;
  await roles.gateway.send([{ source: 'payments', level: 'ERROR', message: 'of payments' }, { source: 'checkout-eu', level: 'INFO', message: 'of checkout' }]);
  await roles.gateway.stored('from=-1h&source=payments&source=checkout-eu', 2);
  const page = await browser.page();
  await page.goto(roles.url);
  await refused(page, 'spw_mistyped', 'A key looks like');
  // A key of the right form, with another secret.
  await refused(page, `${keys.viewer.slice(0, 13)}${keys.operator.slice(13)}`, 'the key is not valid');

  await accepted(page, keys.viewer);
  await page.waitForSelector('.event-row:has-text("of payments")');
  await views(page, { 'Dead letters': without('operate'), Pipeline: without('operate'), Send: without('ingest') });
  await page.click('text=Sign in with another key');
  await page.waitForSelector('.sign-in-card');
  await page.reload();
  await page.waitForSelector('.sign-in-card');

  await accepted(page, keys.restricted);
  await views(page, { Explore: '.event-row:has-text("of checkout")', Pipeline: '.notice:has-text("shows all sources")' });
  await page.click('nav >> text=Explore');
  await page.waitForSelector('.event-row:has-text("of checkout")');
  assert.equal(await page.locator('.event-row:has-text("of payments")').count(), 0);
  await signOut(page);

  await accepted(page, keys.operator);
  await views(page, { 'Dead letters': 'h1:has-text("Dead letters")', Pipeline: '.verdict', Send: '.send-form', Explore: '.event-row:has-text("of payments")' });
  await signOut(page);

  // A session ends when its key expires.
  await accepted(page, keys.temporary);
  await page.waitForSelector('.event-row:has-text("of payments")');
  await roles.expireTemporaryKey();
  await until('the key has expired', async () => (await fetch(`${roles.gateway.url}/api/logs?limit=1`, { headers: { Authorization: `Bearer ${keys.temporary}` } })).status === 401);
  // Without a new search, so that the list is still there when the session ends.
  await page.click('.event-row .cell-message');
  await page.click('#tab-context');
  await page.waitForSelector('.sign-in-card:has-text("Your session has ended")');
  await refused(page, keys.temporary, 'has expired');
  await accepted(page, keys.restricted);
  await page.waitForSelector('.event-row:has-text("of checkout")');
  assert.equal(await page.locator('.event-row:has-text("of payments")').count(), 0);
}

const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`;

async function kafkaAway({ browser, roles }) {
  await roles.start();
  const page = await browser.page();
  await page.goto(roles.url);
  await accepted(page, roles.keys.operator);
  await page.click('nav >> text=Pipeline');
  await page.waitForSelector('.stage[aria-label="Bus"] .box.up');
  for (const [stage, boxes] of [['Gateway', 1], ['Producer', 1], ['Consumers', 2]]) assert.equal(await page.locator(`.stage[aria-label="${stage}"] .box.up`).count(), boxes, stage);
  await page.click('nav >> text=Explore');
  await page.evaluate(() => { globalThis.wasNotLoadedAgain = true; });

  const stopped = performance.now();
  await roles.services('stop', 'kafka');
  let sent = 0;
  const sending = async () => {
    await roles.gateway.send(Array.from({ length: 20 }, () => ({ source: 'during-outage', level: 'INFO', message: `order ${(sent += 1)} placed` })));
  };
  const seen = (selector) => until(`${selector} is shown`, async () => {
    await sending();
    return page.locator(selector).first().isVisible();
  }, 90_000);
  await seen('.stale:has-text("Kafka takes no records")');
  const told = seconds(stopped);
  await page.click('nav a:has(.badge.critical)');
  await seen('.alert:has-text("breaker_open")');
  await seen('.stage[aria-label="Bus"] .box.down:has-text("open")');
  const verdict = await page.textContent('.verdict.bad');
  assert.match(verdict, /accepted events are kept on disk/);
  assert.match(verdict, /events wait in the journal/);
  assert.match(verdict, /not found by searches yet/);
  assert.match(verdict, /Reason: .*refused/);
  for (const place of ['.verdict.bad', '.alert:has-text("breaker_open")']) {
    await page.click(`${place} >> text=Open the runbook`);
    await page.waitForSelector('.runbook-body:has-text("The circuit breaker in front of Kafka is open")');
    await page.keyboard.press('Escape');
    await page.waitForSelector('.runbook-dialog', { state: 'detached' });
  }
  // Another fault is told beside the outage.
  await roles.consumers[1].kill();
  await page.waitForSelector('.verdict:has-text("1 of 4 instances cannot be reached")');
  await page.waitForSelector('.box.unreachable');
  await roles.consumers[1].start();

  await roles.services('start', 'kafka');
  const started = performance.now();
  await page.waitForSelector('.stage[aria-label="Bus"] .box.up', { timeout: RECOVERY_MS });
  await page.waitForSelector('.figure:has-text("journal"):has-text("empty")', { timeout: RECOVERY_MS });
  await page.waitForFunction(() => !/Kafka|reached/.test(document.querySelector('.verdict')?.textContent ?? 'Kafka'), undefined, { timeout: RECOVERY_MS });
  await roles.gateway.stored('from=-1h&source=during-outage', sent, RECOVERY_MS);
  const recovered = seconds(started);
  await page.click('nav >> text=Explore');
  await page.waitForSelector('.stale', { state: 'detached' });
  await page.fill('input[name=query]', 'source:during-outage');
  await page.keyboard.press('Enter');
  await page.waitForSelector(`.summary strong:text-is("${sent.toLocaleString('en-US')} events")`);
  assert.ok(await page.evaluate(() => globalThis.wasNotLoadedAgain), 'the page was loaded again');
  return `the console told it after ${told}; ${sent} events were sent meanwhile, and all of them found ${recovered} after Kafka was back`;
}

export const processes = [
  { name: 'sign-in-roles', run: signInRoles },
  { name: 'kafka-away', run: kafkaAway },
];

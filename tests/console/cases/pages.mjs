// Each view on a desk and on a phone, in both themes: nothing wider than the page, no serious finding of axe.
import assert from 'node:assert/strict';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { atEnd, DESKTOP, explored, findings, PHONE } from '../browser.mjs';

const FLEET = fileURLToPath(new URL('../fixtures/fleet-kafka-away.json', import.meta.url));
const ERRORS = '?from=-1h&level=ERROR,FATAL&where=source:payments';

async function openEvent(page, browser, tab, wait) {
  await page.goto(browser.url(ERRORS));
  await explored(page);
  await page.click('.event-row .cell-message >> nth=1');
  await page.waitForSelector('.drawer .field-table');
  if (tab) await page.click(tab);
  await page.waitForSelector(wait);
}

/** No row covers another one. */
async function rowsApart(page) {
  await page.waitForFunction(() => {
    const rows = [...document.querySelectorAll('.event-row')].map((row) => row.getBoundingClientRect()).sort((a, b) => a.top - b.top);
    return rows.every((row, index) => index === 0 || row.top >= rows[index - 1].bottom - 1);
  });
}

/** How each view is reached. */
const VIEWS = {
  explore: async (page, browser) => {
    await page.goto(browser.url('?from=-1h'));
    await explored(page);
    await page.waitForSelector('.event-row');
  },
  event: (page, browser) => openEvent(page, browser, '', '.drawer .origin'),
  context: (page, browser) => openEvent(page, browser, '#tab-context', '.context-line'),
  trace: (page, browser) => openEvent(page, browser, '#tab-trace', '.trace-line'),
  'explore-more': async (page, browser) => {
    await page.goto(browser.url('?from=-1h&where=source:payments'));
    await explored(page);
    if (page.viewportSize().width > PHONE.width) return;
    await page.click('button:text-is("More")');
    await page.click('.view-icons button[aria-label="Fields"]');
    await page.waitForSelector('.fields .value');
    await page.click('.view-icons button[aria-label="Saved views"]');
    await page.waitForSelector('.views-panel');
  },
  tail: async (page, browser) => {
    await page.goto(browser.url('?view=tail'));
    await page.waitForSelector('.tail-status.live');
    await page.waitForSelector('.event-row');
    await atEnd(page);
    await page.keyboard.press('w');
    await page.waitForSelector('.event-list.wrapped');
    await atEnd(page);
    await page.keyboard.press('w');
    await page.waitForSelector('.event-list:not(.wrapped)');
    await atEnd(page);
  },
  'dead-letters': async (page, browser) => {
    await page.goto(browser.url('?view=dead-letters'));
    await page.waitForSelector('.letter-line, .notice');
  },
  pipeline: async (page, browser) => {
    await page.goto(browser.url('?view=pipeline'));
    await page.waitForSelector('.box');
  },
  runbook: async (page, browser) => {
    await page.goto(browser.url('?view=pipeline'));
    await page.click('text=Open the runbook');
    await page.waitForSelector('.runbook-body h2');
  },
  send: async (page, browser) => {
    await page.goto(browser.url('?view=send'));
    await page.click('text=Use an example');
    await page.click('.send-controls .primary');
    await page.waitForSelector('.durability');
  },
  'sign-in': async (page, browser) => {
    await page.route('**/api/session', (route) => route.fulfill({ json: { authentication: 'keys', signIn: 'possible' } }));
    await page.goto(browser.url());
    await page.waitForSelector('.sign-in-card');
  },
  help: async (page, browser) => {
    await page.goto(browser.url('?from=-1h'));
    await explored(page);
    await page.keyboard.press('?');
    await page.waitForSelector('.dialog.help[open]');
  },
};

/** Buttons with less room than a finger needs. Links within a text are as high as the text. */
function smallTargets(page) {
  return page.locator('button:visible:not(.link), a.button:visible, [role=tab]:visible').evaluateAll((all) => {
    const small = all.filter((target) => Math.min(target.offsetWidth, target.offsetHeight) < 32);
    return small.map((target) => `${target.className} ${target.getAttribute('aria-label') ?? target.textContent} ${target.offsetWidth}x${target.offsetHeight}`);
  });
}

async function look(view, { browser, screenshots }) {
  for (const [size, viewport] of [['desk', DESKTOP], ['phone', PHONE]]) {
    for (const colorScheme of ['light', 'dark']) {
      const page = await browser.page({ viewport, colorScheme, reducedMotion: 'reduce' });
      await page.route('**/actuator/fleet', (route) => route.fulfill({ path: FLEET, contentType: 'application/json' }));
      await VIEWS[view](page, browser);
      await rowsApart(page);
      if (screenshots) await page.screenshot({ path: path.join(screenshots, `${view}-${size}-${colorScheme}.png`) });
      const width = await page.evaluate(() => document.scrollingElement.scrollWidth);
      assert.ok(width <= viewport.width, `${size}: the page is ${width} wide`);
      if (size === 'phone') assert.deepEqual(await smallTargets(page), [], `${size} ${colorScheme}: too small for a finger`);
      const found = await findings(page);
      assert.deepEqual(found, [], `${size} ${colorScheme}`);
      await page.context().close();
    }
  }
}

export const pages = Object.keys(VIEWS).map((view) => ({ name: `view-${view}`, smoke: view === 'explore', run: (environment) => look(view, environment) }));

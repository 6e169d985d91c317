// How the page behaves: history, keyboard, hostile texts, sign-in, failures of the server.
import assert from 'node:assert/strict';
import { explored, PHONE } from '../browser.mjs';
import { HOSTILE, hostileEvents } from '../hostile.mjs';
import { Spillway, until } from '../spillway.mjs';
import path from 'node:path';

const scrollTop = (page) => page.locator('.event-list').evaluate((list) => list.scrollTop);

async function back({ browser }) {
  const page = await browser.page();
  await page.goto(browser.url('?from=-1h'));
  await explored(page);
  await page.locator('.event-list').evaluate((list) => { list.scrollTop = 2_400; });
  await page.waitForFunction(() => document.querySelector('.event-row')?.getAttribute('data-index') > 50);
  const row = page.locator('.event-row >> nth=15');
  const id = await row.getAttribute('id');
  await row.locator('button').click();
  await page.waitForSelector(`#${id}.open`);
  const before = await scrollTop(page);

  // Another view, another search, an event: Back shows the same place each time.
  await page.click('nav >> text=Pipeline');
  await page.waitForSelector('h1:has-text("Pipeline")');
  await page.goBack();
  await page.waitForSelector(`#${id}.open`);
  assert.ok(Math.abs((await scrollTop(page)) - before) <= 2, `another view: ${await scrollTop(page)} instead of ${before}`);

  await page.fill('input[name=query]', 'timeout');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelector('.event-row mark'));
  await page.goBack();
  await page.waitForSelector(`#${id}.open`);
  assert.ok(Math.abs((await scrollTop(page)) - before) <= 2, `another search: ${await scrollTop(page)} instead of ${before}`);

  await page.locator(`#${id} .cell-message`).click();
  await page.waitForSelector('.drawer .field-table');
  await page.goBack();
  await page.waitForSelector('.drawer', { state: 'detached' });
  await page.waitForSelector(`#${id}.open`);
  assert.ok(Math.abs((await scrollTop(page)) - before) <= 30, `an event: ${await scrollTop(page)} instead of ${before}`);
}

async function keyboard({ browser }) {
  const page = await browser.page();
  await page.goto(browser.url('?from=-1h'));
  await explored(page);
  const press = (key) => page.keyboard.press(key);
  await press('/');
  await page.keyboard.type('level:ERROR timeout');
  await press('Enter');
  await page.waitForSelector('.event-row mark');
  // The keys are for the events of the list now, not for the search box.
  await page.waitForFunction(() => document.activeElement?.classList.contains('event-list'));
  await press('j');
  await press('j');
  await press('k');
  await page.waitForSelector('.event-row.selected[data-index="0"]');
  await press(' ');
  await page.waitForSelector('.event-row.selected.open');
  await press('Enter');
  await page.waitForSelector('.drawer .field-table');
  await press('c');
  await page.waitForSelector('.context-line.itself');
  await press('t');
  await page.waitForSelector('.trace-line.itself');
  await press('Escape');
  await page.waitForSelector('.drawer', { state: 'detached' });
  await press('w');
  await page.waitForSelector('.event-list.wrapped');
  await press('[');
  await page.waitForFunction(() => /from=\d{4}/.test(location.search));
  await press('?');
  await page.waitForSelector('.dialog.help[open]');
  await press('Escape');
  await page.waitForSelector('.dialog.help', { state: 'detached' });
  await press('l');
  await page.waitForSelector('.tail-status.live');

  // Switched off, no key does anything.
  await press('?');
  await page.click('.dialog.help input[type=checkbox]');
  await press('Escape');
  await page.waitForSelector('.dialog.help', { state: 'detached' });
  await press(' ');
  await press('?');
  assert.equal(await page.locator('.tail-status.paused, .dialog.help').count(), 0);
}

const focused = (page) => page.evaluate(() => document.activeElement.tagName);

/** A query with an error stays in the box with the focus. On a phone, the box keeps neither the focus nor the keyboard of the phone. */
async function searchFocus({ browser }) {
  const desk = await browser.page();
  await desk.goto(browser.url('?from=-1h'));
  await explored(desk);
  await desk.keyboard.press('/');
  await desk.keyboard.type('level=');
  await desk.keyboard.press('Enter');
  await desk.waitForSelector('.query-error');
  await desk.waitForFunction(() => document.activeElement.name === 'query');

  const phone = await browser.page({ viewport: PHONE, hasTouch: true, isMobile: true });
  await phone.goto(browser.url('?from=-1h'));
  await explored(phone);
  await phone.tap('input[name=query]');
  await phone.keyboard.type('order');
  await phone.keyboard.press('Enter');
  await phone.waitForSelector('.event-row mark');
  assert.notEqual(await focused(phone), 'INPUT');
  await phone.tap('input[name=query]');
  await phone.tap('button[aria-label="Clear the search"]');
  await phone.waitForFunction(() => !document.querySelector('.event-row mark'));
  assert.notEqual(await focused(phone), 'INPUT');
}

/** Names of fields and values of a field are offered, and taken with the keyboard. */
async function suggestions({ browser }) {
  const page = await browser.page();
  await page.goto(browser.url('?from=-1h'));
  await explored(page);
  await page.waitForSelector('.field:has-text("http.status")');
  await page.keyboard.press('/');
  await page.keyboard.type('htt');
  await page.waitForSelector('.suggestions li:has-text("http.status:")');
  const box = page.locator('input[name=query]');
  const choose = async (label) => {
    const labels = await page.locator('.suggestions li').allTextContents();
    for (let presses = 0; presses <= labels.indexOf(label); presses += 1) await page.keyboard.press('ArrowDown');
    await page.waitForSelector(`.suggestions li.on:text-is("${label}")`);
    await page.keyboard.press('Enter');
  };
  await choose('http.status:');
  await page.waitForSelector('.suggestions li:text-is("502")');
  await choose('502');
  assert.equal(await box.inputValue(), 'http.status:502 ');
  await page.keyboard.type('lev');
  await page.waitForSelector('.suggestions li:text-is("level:")');
  await page.keyboard.press('Escape');
  await page.waitForSelector('.suggestions', { state: 'hidden' });
  for (let presses = 0; presses < 3; presses += 1) await page.keyboard.press('Backspace');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => location.search.includes('query=http.status:502'));
  // Of the two events with this status only one has it in its message.
  await page.waitForFunction(() => {
    const rows = [...document.querySelectorAll('.event-row')];
    return rows.length > 0 && rows.every((row) => /POST \/checkout 502|checkout of order \d+ failed/.test(row.textContent));
  });
}

/** Each view is reached and used with Tab and Enter alone. */
async function tabbing({ browser }) {
  const page = await browser.page();
  await page.goto(browser.url('?from=-1h'));
  await explored(page);
  const reached = new Set();
  for (let presses = 0; presses < 120; presses += 1) {
    await page.keyboard.press('Tab');
    const name = await page.evaluate(() => {
      const at = document.activeElement;
      return at && at !== document.body ? `${at.tagName} ${at.getAttribute('aria-label') ?? at.textContent?.trim().slice(0, 40) ?? ''} ${getComputedStyle(at).outlineStyle}` : '';
    });
    if (name === '') break;
    reached.add(name);
  }
  const all = [...reached].join('\n');
  for (const part of ['Skip to the content', 'Tail', 'Dead letters', 'Search', 'Range of time', 'Histogram', 'Download', 'Live', 'Find a field', 'Events']) assert.ok(all.includes(part), `Tab does not reach ${part}:\n${all}`);
}

async function hostile({ browser, spillway }) {
  const now = Date.now();
  for (const event of hostileEvents(now)) await spillway.send([event]);
  await spillway.stored('from=-1h&source=hostile*', HOSTILE.length);
  const page = await browser.page();
  for (const wrapped of [false, true]) {
    await page.goto(browser.url('?from=-1h&where=source:hostile*&column=nested.deeper.list'));
    await explored(page);
    if (wrapped) await page.keyboard.press('w');
    await page.waitForFunction((count) => document.querySelectorAll('.event-row').length >= Math.min(count, 10), HOSTILE.length);
  }
  assert.equal(await page.locator('.event-row script, .event-row img, .event-row iframe, .event-row style').count(), 0);
  for (let index = 0; index < HOSTILE.length; index += 1) {
    await page.keyboard.press('j');
    await page.keyboard.press('Enter');
    await page.waitForSelector('.drawer .field-table');
    if (await page.locator('.drawer .log-block .link').count()) await page.click('.drawer .log-block .link >> nth=0');
  }
  await page.goto(browser.url('?from=-1h&where=source:hostile*&query=gnp.exe'));
  await explored(page);
  assert.match(await page.textContent('.event-row .cell-message'), /user U\+202Egnp\.exeU\+202C/);
  await page.goto(browser.url('?view=tail&where=source:hostile*'));
  await page.waitForSelector('.event-row');
  assert.doesNotMatch(await page.title(), /owned/);
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).display), 'block');
}

/** The largest message: the row stays one row, the text is cut, and all of it is shown on request. */
async function largeMessage({ browser, spillway }) {
  const message = `begin ${'0123456789 '.repeat(23_800)}end`.slice(0, 262_144);
  await spillway.send([{ source: 'large', level: 'INFO', message }]);
  await spillway.stored('from=-1h&source=large', 1);
  const page = await browser.page();
  await page.goto(browser.url('?from=-1h&where=source:large'));
  await explored(page);
  assert.ok((await page.locator('.event-row').boundingBox()).height <= 26);
  await page.click('.event-row .cell-message');
  await page.waitForSelector('.drawer .log-block');
  assert.equal((await page.textContent('.drawer .log-block pre')).length, 10_000);
  await page.click('.drawer .log-block .link');
  await page.waitForFunction((length) => document.querySelector('.drawer .log-block pre').textContent.length === length, message.length);
}

async function exactNumbers({ browser, spillway }) {
  const body = '{"source":"exact","level":"INFO","message":"a large id","metadata":{"id":12345678901234567890,"price":0.10}}';
  await fetch(`${spillway.url}/api/logs`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
  await spillway.stored('from=-1h&source=exact', 1);
  const page = await browser.page();
  await page.goto(browser.url('?from=-1h&where=source:exact&column=id'));
  await explored(page);
  assert.equal(await page.textContent('.event-row .cell-column'), '12345678901234567890');
  await page.click('.event-row .cell-message');
  await page.click('tr:has(th:has-text("id")):has(.number) button[aria-label^="Only"] >> nth=0');
  await page.waitForFunction(() => document.querySelectorAll('.chip').length === 2);
  await page.waitForSelector('.event-row');
}

async function failures({ browser }) {
  const page = await browser.page();
  await page.goto(browser.url('?from=-1h&query=level%3DERROR'));
  await page.waitForSelector('.query-error');
  assert.match(await page.textContent('.query-error'), /character 6/);
  await page.route('**/api/logs?**', (route) => route.fulfill({ status: 503, contentType: 'application/problem+json', body: JSON.stringify({ type: 'about:blank', title: '', status: 503, code: 'query_too_broad', detail: 'the query takes longer than 5 s' }) }));
  await page.goto(browser.url('?from=-1h'));
  await page.waitForSelector('.failure:has-text("Choose a shorter range")');
  await page.unroute('**/api/logs?**');
  await page.click('text=Try again');
  await page.waitForSelector('.event-row');
  await page.goto(browser.url('?from=-5m&query=nothing-has-this-text'));
  await page.waitForSelector('.notice:has-text("No events match")');
  await page.goto(browser.url('?from=-5m&query=LEVEL:ERROR'));
  await page.waitForSelector('.notice:has-text("the field of events is `level`")');
}

/** A part of the page is not there, as after an upgrade of Spillway while the page was open. */
async function notLoaded({ browser }) {
  const page = await browser.page();
  await page.route('**/console/views-*.js', (route) => route.fulfill({ status: 404 }));
  await page.goto(browser.url('?from=-1h'));
  await page.waitForSelector('main .failure:has-text("cannot be loaded")');
  await page.waitForSelector('nav .on:has-text("Explore")');
  // Without Spillway the page stays.
  await page.route('**/console/', (route) => route.abort());
  await page.click('text=Reload the page');
  await page.waitForSelector('.toast:has-text("Spillway does not answer")');
  await page.unroute('**/console/');
  await page.unroute('**/console/views-*.js');
  await page.click('text=Reload the page');
  await explored(page);
}

/** No view waits for a script: all of them are there before a person asks for them. */
async function loadedAhead({ browser }) {
  const page = await browser.page();
  await page.goto(browser.url('?view=send'));
  await page.waitForFunction(() => performance.getEntriesByType('resource').some(({ name }) => /\/histogram-\w+\.js$/.test(name)));
  await page.route('**/console/**', (route) => route.abort());
  await page.click('nav >> text=Pipeline');
  await page.waitForSelector('.box');
  await page.click('nav >> text=Explore');
  await explored(page);
}

/** A Spillway with keys of its own: sign in, see what the role allows, sign out. */
async function signIn({ browser, spillway, work }) {
  const secured = new Spillway(spillway.program, path.join(work, 'secured'), { SPILLWAY_AUTH__MODE: 'required' });
  await secured.start();
  try {
    const made = await secured.run('key', 'create', '--name', 'viewer', '--role', 'read');
    const key = /spw_\w{8}_\w{38}/.exec(made.out)?.[0];
    assert.ok(key, made.out);
    const page = await browser.page();
    await page.goto(`${secured.url}/console/`);
    await page.waitForSelector('.sign-in-card');
    await page.fill('#key', 'spw_mistyped');
    await page.click('.sign-in-card .primary');
    await page.waitForSelector('.failure-text');
    await page.fill('#key', key);
    await until('the key is known', async () => (await fetch(`${secured.url}/api/logs?limit=1`, { headers: { Authorization: `Bearer ${key}` } })).ok);
    await page.click('.sign-in-card .primary');
    await page.waitForSelector('.top');
    await page.waitForSelector('.notice:has-text("Nothing is stored yet")');
    await page.click('nav >> text=Pipeline');
    await page.waitForSelector('.notice:has-text("needs the role operate")');
    await page.click('.top-end .menu-button');
    await page.click('text=Sign out');
    await page.waitForSelector('.sign-in-card');
  } finally {
    await secured.stop();
  }
}

export const forms = [
  { name: 'back', smoke: true, run: back },
  { name: 'keyboard', run: keyboard },
  { name: 'search-focus', run: searchFocus },
  { name: 'suggestions', run: suggestions },
  { name: 'tab-order', run: tabbing },
  { name: 'hostile-texts', smoke: true, run: hostile },
  { name: 'large-message', run: largeMessage },
  { name: 'exact-numbers', run: exactNumbers },
  { name: 'failures', run: failures },
  { name: 'part-not-loaded', run: notLoaded },
  { name: 'parts-loaded-ahead', run: loadedAhead },
  // The development server serves the console for one Spillway only.
  { name: 'sign-in', needs: 'served', run: signIn },
];

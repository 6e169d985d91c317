// Tail: what pauses it, what ends a pause, and where the list is then.
import assert from 'node:assert/strict';
import { atEnd, DESKTOP, PHONE } from '../browser.mjs';

const PENDING = 100;
const numbered = (source, count, text) => Array.from({ length: count }, (_, index) => ({ source, level: 'INFO', message: `${text} ${index + 1} of ${count}` }));

/** A tail of a source with more events than fit on a screen. */
async function tailOf(page, { browser, spillway }, source) {
  await spillway.send(numbered(source, 60, 'before'));
  await spillway.stored(`from=-1h&source=${source}`, 60);
  await page.goto(browser.url(`?view=tail&where=source:${source}`));
  await page.waitForSelector('.tail-status.live');
  await page.waitForSelector('.event-row:has-text("before 60 of 60")');
  await atEnd(page);
}

/** The pill ends a pause whatever began it, and shows the newest event. */
async function resume(environment) {
  const { browser, spillway } = environment;
  const pauses = {
    'scrolled up': (page) => page.mouse.wheel(0, -300),
    'with an expanded event': (page) => page.click('.event-row >> nth=-3 >> .cell-toggle button'),
    // Rows have heights of their own there.
    'on a phone': (page) => page.mouse.wheel(0, -300),
    'with the event beside it': (page) => page.click('.event-row >> nth=-3 >> .cell-message'),
  };
  for (const [how, pause] of Object.entries(pauses)) {
    const source = `resumed-${how.replaceAll(' ', '-')}`;
    const page = await browser.page({ viewport: how === 'on a phone' ? PHONE : DESKTOP });
    await tailOf(page, environment, source);
    await page.hover('.event-list');
    await pause(page);
    await page.waitForSelector('.tail-status.paused');
    await spillway.send(numbered(source, PENDING, 'pending'));
    await page.click(`.to-end:has-text("${PENDING} new")`);
    await page.waitForSelector(`.event-row:has-text("pending ${PENDING} of ${PENDING}")`);
    await atEnd(page);
    // It goes on, so it was not paused again on the way.
    await spillway.send([{ source, level: 'INFO', message: 'the next one' }]);
    await page.waitForSelector('.event-row:has-text("the next one")');
    await atEnd(page);
    assert.equal(await page.locator('.tail-status.live').count(), 1, how);
    // A line begins what is new since the pause.
    if (how === 'scrolled up') {
      await page.mouse.wheel(0, -24 * (PENDING - 10));
      await page.waitForSelector(`.first-new:has-text("pending 1 of ${PENDING}")`);
    }
    await page.context().close();
  }
}

/** An event that is expanded or open stays where it is until the person resumes, however they scroll. */
async function opened(environment) {
  const { browser, spillway } = environment;
  const page = await browser.page();
  await tailOf(page, environment, 'kept');
  // The newest one, at the lower edge: what it shows comes into sight.
  await page.click('.event-row:has-text("before 60 of 60") .cell-toggle button');
  await page.waitForFunction(() => {
    const row = document.querySelector('.event-row.open')?.getBoundingClientRect();
    return row && row.height > 60 && row.bottom <= document.querySelector('.event-list').getBoundingClientRect().bottom + 1;
  });
  await spillway.send(numbered('kept', 30, 'pending'));
  await page.waitForSelector('.to-end:has-text("30 new")');
  const scrolled = async (by, reached) => {
    await page.hover('.event-list');
    await page.mouse.wheel(0, by);
    await page.waitForFunction(reached);
  };
  await scrolled(-400, () => { const list = document.querySelector('.event-list'); return list.scrollHeight - list.scrollTop - list.clientHeight > 200; });
  await scrolled(900, () => { const list = document.querySelector('.event-list'); return list.scrollHeight - list.scrollTop - list.clientHeight < 2; });
  await spillway.send(numbered('kept', 1, 'last'));
  await page.waitForSelector('.to-end:has-text("31 new")');
  assert.equal(await page.locator('.event-row:has-text("pending")').count(), 0);
  await page.keyboard.press('l');
  await page.waitForSelector('.event-row:has-text("last 1 of 1")');

  // Without one, scrolling back to the end is enough.
  await scrolled(-400, () => document.querySelector('.tail-status.paused'));
  await scrolled(900, () => document.querySelector('.tail-status.live'));
}

/** A Spillway that goes away and comes back: nothing is missed, nothing is shown twice. */
async function killed({ browser, spillway }) {
  const page = await browser.page();
  await page.goto(browser.url('?view=tail&where=source:survivor'));
  await page.waitForSelector('.tail-status.live');
  await spillway.send([{ source: 'survivor', level: 'ERROR', message: 'before the kill' }]);
  await page.waitForSelector('.event-row:has-text("before the kill")');
  await spillway.kill();
  await page.waitForSelector('.tail-status.away');
  await spillway.start();
  await spillway.send([{ source: 'survivor', level: 'ERROR', message: 'after the start' }]);
  await page.waitForSelector('.event-row:has-text("after the start")', { timeout: 60_000 });
  assert.equal(await page.locator('.event-row:has-text("before the kill")').count(), 1);
}

/** A hidden tab ends its connection after a minute, and continues without a gap. */
async function hidden({ browser, spillway }) {
  const page = await browser.page();
  await page.clock.install();
  await page.goto(browser.url('?view=tail&where=source:sleeper'));
  await page.waitForSelector('.tail-status.live');
  await spillway.send([{ source: 'sleeper', level: 'INFO', message: 'while seen' }]);
  await page.waitForSelector('.event-row:has-text("while seen")');
  const turn = (isHidden) => page.evaluate((value) => {
    Object.defineProperty(document, 'hidden', { value, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, isHidden);
  await turn(true);
  await page.clock.runFor(61_000);
  await page.waitForSelector('.tail-state:has-text("hidden")');
  await spillway.send([{ source: 'sleeper', level: 'INFO', message: 'while hidden' }]);
  await spillway.stored('from=-1h&source=sleeper', 2);
  assert.equal(await page.locator('.event-row:has-text("while hidden")').count(), 0);
  await turn(false);
  await page.waitForSelector('.event-row:has-text("while hidden")');
}

export const tail = [
  { name: 'tail-resume', run: resume },
  { name: 'tail-open', run: opened },
  { name: 'tail-killed', run: killed },
  { name: 'tail-hidden', run: hidden },
];

// How fast the page is, and how much it needs.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { explored } from '../browser.mjs';
import { until } from '../spillway.mjs';

const PAINT_MS_MAX = 1_000;
const HISTOGRAM_MS_MAX = 1_000;
const TASK_MS_MAX = 200;
const HEAP_BYTES_MAX = 150 * 1024 * 1024;
const TAIL_RATE = 5_000;

async function paint({ browser }) {
  const page = await browser.page();
  const session = await page.context().newCDPSession(page);
  await session.send('Emulation.setCPUThrottlingRate', { rate: 4 });
  await page.goto(browser.url('?from=-1h'));
  await page.waitForSelector('.top');
  const paintMs = await until('the first paint is reported', () => page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime));
  assert.ok(paintMs < PAINT_MS_MAX, `first paint after ${Math.round(paintMs)} ms`);
  return `first contentful paint after ${Math.round(paintMs)} ms with the processor slowed down four times`;
}

/** From the request to the bars, so the counting is part of it. */
async function histogram({ browser, events }) {
  const page = await browser.page();
  await page.goto(browser.url('?from=-5m'));
  await explored(page);
  await page.click('.range-menu .menu-button');
  await page.waitForSelector('.range-panel');
  await page.evaluate(() => {
    globalThis.began = performance.now();
    [...document.querySelectorAll('.range-panel .menu-item')].find((item) => item.textContent === 'Last hour').click();
  });
  await page.waitForSelector('.histogram-place.loading', { timeout: 2_000 }).catch(() => {});
  await page.waitForSelector('.histogram-place:not(.loading) .u-over');
  const tookMs = await page.evaluate(() => performance.now() - globalThis.began);
  const counted = await page.textContent('.summary strong');
  assert.ok(tookMs < HISTOGRAM_MS_MAX, `${counted} in the histogram after ${Math.round(tookMs)} ms`);
  return `${counted} of ${events} in the histogram after ${Math.round(tookMs)} ms`;
}

async function tail({ browser, spillway, tailSeconds }) {
  const page = await browser.page();
  await page.goto(browser.url('?view=tail'));
  await page.waitForSelector('.tail-status.live');
  await page.evaluate(() => {
    globalThis.longest = 0;
    new PerformanceObserver((list) => {
      for (const task of list.getEntries()) globalThis.longest = Math.max(globalThis.longest, task.duration);
    }).observe({ type: 'longtask' });
  });
  const load = spawn(spillway.program, ['generate', '--url', spillway.url, '--rate', String(TAIL_RATE), '--for', `${tailSeconds}s`], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  load.stdout.on('data', (text) => { said += text; });
  load.stderr.on('data', (text) => { said += text; });
  const code = await new Promise((resolve) => load.once('exit', resolve));
  assert.equal(code, 0, said);
  const longestMs = await page.evaluate(() => globalThis.longest);
  const session = await page.context().newCDPSession(page);
  await session.send('HeapProfiler.collectGarbage');
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  const shown = await page.textContent('.tail-count');
  const missed = await page.locator('.tail-missed').allTextContents();
  assert.equal(shown, '10,000 shown');
  assert.ok(longestMs < TASK_MS_MAX, `a task of ${Math.round(longestMs)} ms`);
  assert.ok(usedSize < HEAP_BYTES_MAX, `a heap of ${usedSize} bytes`);
  return `${TAIL_RATE} events/s for ${tailSeconds} s: longest task ${Math.round(longestMs)} ms, heap ${(usedSize / 1024 / 1024).toFixed(1)} MiB, ${shown}${missed.length > 0 ? `, ${missed.join(', ')}` : ''}`;
}

export const budgets = [
  { name: 'paint', run: paint },
  { name: 'histogram', run: histogram },
  { name: 'tail-rate', run: tail },
];

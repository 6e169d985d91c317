// A browser for the cases: each page is of a context of its own, and a page that reports an error of its own fails its case.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

export const DESKTOP = { width: 1440, height: 900 };
export const PHONE = { width: 360, height: 740 };
/** A name of another site that resolves to this machine. */
export const REBOUND = 'evil.test';
const ACTION_MS = 20_000;

export class Browser {
  #browser;
  #contexts = [];

  constructor(base) {
    this.base = base;
    this.problems = [];
  }

  async open() {
    // Tests run as root in containers, where Chromium's own sandbox does not start.
    this.#browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-dev-shm-usage', '--js-flags=--expose-gc', `--host-resolver-rules=MAP ${REBOUND} 127.0.0.1`] });
  }

  /** A new page that shows nothing yet. Violations of the content security policy and errors of the page become problems. */
  async page({ viewport = DESKTOP, colorScheme = 'light', ...more } = {}) {
    const context = await this.#browser.newContext({ viewport, colorScheme, timezoneId: 'Europe/Berlin', permissions: ['clipboard-read', 'clipboard-write'], ...more });
    this.#contexts.push(context);
    await context.addInitScript(() => {
      addEventListener('securitypolicyviolation', (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
    });
    const page = await context.newPage();
    page.setDefaultTimeout(ACTION_MS);
    page.on('pageerror', (error) => this.problems.push(`error of the page: ${error.message}`));
    page.on('console', (message) => {
      const text = message.text();
      if (message.type() === 'error' && !/^Failed to load resource/.test(text)) this.problems.push(text);
    });
    page.on('dialog', (dialog) => {
      this.problems.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    return page;
  }

  url(search = '') {
    return `${this.base}/console/${search}`;
  }

  async closePages() {
    for (const context of this.#contexts.splice(0)) await context.close();
  }

  /** The problems since the last call. */
  takeProblems() {
    return this.problems.splice(0);
  }

  async close() {
    await this.#browser?.close();
  }
}

/** Waits until Explore shows events, and its counts if they are switched on. */
export async function explored(page) {
  await page.waitForSelector('.event-row');
  await page.waitForSelector('.histogram .u-over');
}

/** The newest event is in sight, whatever the heights of the rows. */
export async function atEnd(page) {
  await page.waitForFunction(() => {
    const list = document.querySelector('.event-list');
    const last = Number(list.getAttribute('aria-rowcount')) - 2;
    const row = list.querySelector(`[data-index="${last}"]`);
    return row && row.getBoundingClientRect().bottom <= list.getBoundingClientRect().bottom + 1;
  });
}

let axeSource;

/** Serious and critical findings of axe-core, as lines. */
export async function findings(page) {
  axeSource ??= await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  // Playwright evaluates through the debugger, which no content security policy restricts.
  await page.evaluate(axeSource);
  const violations = await page.evaluate(async () => (await globalThis.axe.run(document, { resultTypes: ['violations'] })).violations);
  const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  return serious.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.target.join(' ')} ${node.any?.[0]?.message ?? node.failureSummary ?? ''}`).join(' | ')}`);
}

// Drives the page of the WebSocket feed in a headless Chromium, as a person would.
//
// usage: node page.mjs http://127.0.0.1:PORT [--screenshot FILE]
//
// Takes about a minute. Prints a line for each thing that was seen; ends with 1 and one line at the first that was not, at an error of
// the page, and at an error on its console. Chromium is /usr/bin/chromium, or what CHROMIUM names.

import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const QUIET = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync",
];
/** How long a thing may take that happens at once, or after the outbox has filled or drained; in milliseconds. */
const SOON = 15_000;
/** The server lets a reader stay behind for about 10 seconds, counted from when its outbox is full. */
const UNTIL_DISCONNECTED = 30_000;
/** Longer than any other policy is let stay behind. */
const STAYS = 12_000;

const { values: options, positionals } = parseArgs({ allowPositionals: true, options: { screenshot: { type: "string" } } });
if (positionals.length !== 1) fail("usage: node page.mjs http://127.0.0.1:PORT [--screenshot FILE]");

let passed = 0;
let trouble;

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: QUIET });
try {
  const page = await browser.newPage({ viewport: { width: 1000, height: 800 } });
  page.on("pageerror", (error) => { trouble ??= `the page failed with: ${error.message}`; });
  page.on("console", (message) => { if (message.type() === "error") trouble ??= `an error on the console: ${message.text()}`; });
  await drive(page);
  console.log(`${passed} passed, 0 failed`);
} catch (error) {
  console.log(`failed: ${trouble ?? error.message.split("\n")[0]}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}

async function drive(page) {
  await page.goto(positionals[0]);
  await becomes(page, "it connects, and flows", "flowing");
  await grows(page, "messages are handled");
  await until(page, "prices are drawn", () => document.querySelectorAll("#prices > *").length > 0);
  await until(page, "the table has the connection", () => document.querySelectorAll("#connections > tr").length > 0);

  await page.check("#slow");
  await becomes(page, "a slow reader is told of a pause", "paused");
  await until(page, "and of gaps", () => Number(document.querySelector("#gaps").textContent) > 0);
  await seen("in which messages are missing", async () => (await count(page, "missed")) >= (await count(page, "gaps")));
  if (options.screenshot) await page.screenshot({ path: options.screenshot });
  await page.uncheck("#slow");
  await becomes(page, "one that reads again flows again", "flowing");
  await grows(page, "and handles messages");

  await page.check("#slow");
  await becomes(page, "one that stays slow is disconnected", "disconnected", UNTIL_DISCONNECTED);
  await until(page, "and told why", () => document.querySelector("#reason").textContent.includes("1008"));
  await page.click("#reconnect");
  await becomes(page, "it may come back", "flowing");
  await grows(page, "and is served");

  await page.selectOption("#policy", "conflate");
  await grows(page, "with conflation a slow reader is served");
  await stays(page, "for 12 seconds without a disconnect", "disconnected", STAYS);
  await grows(page, "and then still");
  await seen("and misses nothing", async () => (await count(page, "gaps")) === 0);
  await seen("the log is short", async () => (await page.locator("#log > *").count()) <= 100);
}

/** Waits until the state is shown. */
function becomes(page, what, state, timeout) {
  return until(page, what, (state) => document.querySelector("#state").textContent === state, state, timeout);
}

/** Sees to it that a state is not shown for so long. */
async function stays(page, what, not, duration) {
  const shown = page.waitForFunction((not) => document.querySelector("#state").textContent === not, not, { timeout: duration });
  await seen(what, () => shown.then(() => false, (error) => error.name === "TimeoutError"));
}

/** Waits until more messages have been handled than now. */
async function grows(page, what) {
  const before = await count(page, "received");
  await until(page, what, (before) => Number(document.querySelector("#received").textContent) > before, before);
}

async function until(page, what, condition, argument, timeout = SOON) {
  await seen(what, () => page.waitForFunction(condition, argument, { timeout }).then(() => true, () => false));
}

async function seen(what, look) {
  const is = await look();
  if (trouble) throw new Error(trouble);
  if (!is) throw new Error(`${what}: not seen; the page shows ${await shown()}`);
  passed += 1;
  console.log(`ok: ${what}`);
}

async function shown() {
  const [page] = browser.contexts().flatMap((context) => context.pages());
  const texts = ["state", "reason", "received", "gaps", "missed", "backlog"].map(async (id) => `${id} "${await page.textContent(`#${id}`)}"`);
  return (await Promise.all(texts)).join(", ");
}

async function count(page, id) {
  return Number(await page.textContent(`#${id}`));
}

function fail(line) {
  console.error(line);
  process.exit(1);
}

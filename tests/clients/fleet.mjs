// 1 000 clients that keep up with the server under test, alone and beside 10 that never read: the ones must not notice the others.
//
// usage: node fleet.mjs PATH-OF-THE-SERVER [--rate MESSAGES-PER-SECOND] [--beside reading]
//
// Starts the server, and ends with 1 at the first check that does not hold. To see them fail: `--beside reading` has the 10 read,
// `--rate 1000` is more than the fleet can read.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpus } from "node:os";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import WebSocket from "ws";

const FLEET = 1_000;
const STALLED = 10;
/** How many messages an outbox has room for. */
const BOUND = 50;
const POLICIES = ["drop-oldest", "drop-newest", "block"];
const SECONDS = 10;
/** How long a subscriber may hold up a publisher, in microseconds. */
const HELD = 1_000;
/**
 * How often this looks at most whether publishers are held up. Whoever does that does it each time; a machine that takes a processor
 * away without saying so does not.
 */
const TRIES = 3;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { rate: { type: "string", default: "30" }, beside: { type: "string", default: "stalled" } },
});
if (positionals.length !== 1) {
  console.error("usage: node fleet.mjs PATH-OF-THE-SERVER [--rate MESSAGES-PER-SECOND] [--beside reading]");
  process.exit(2);
}
const rate = Number(options.rate);
const server = spawn(positionals[0], { stdio: ["ignore", "pipe", "inherit"] });
let address;
let passed = 0;

/** Clients that read all the time, and count what they get. */
class Fleet {
  /** Of each client. */
  messages = [];
  /** When each message first came to one of them. */
  #first = [];
  /** How much later it came to each other, in milliseconds. */
  #behind = [];

  async launch(size, topic) {
    for (let index = 0; index < size; index += 1) {
      const socket = await connect({ topic });
      this.messages.push(0);
      socket.on("message", (data) => this.#arrived(index, seqOf(data)));
    }
    return this;
  }

  #arrived(index, seq) {
    if (seq === undefined) return;
    const now = performance.now();
    this.messages[index] += 1;
    this.#behind.push(now - (this.#first[seq] ??= now));
  }

  /** Waits until nothing comes any more, forgets how late what has come was, and tells it. */
  async settle() {
    for (let before = -1; before !== this.#behind.length; await sleep(300)) before = this.#behind.length;
    const behind = Float64Array.from(this.#behind).sort();
    [this.#first, this.#behind] = [[], []];
    const at = (part) => (behind[Math.floor(behind.length * part)] ?? 0).toFixed(1);
    return `read within ${at(0.5)}/${at(0.99)} ms of the first who did (p50/p99)`;
  }
}

try {
  [address] = await once(createInterface(server.stdout), "line");
  await checks();
  console.log(`${passed} passed, 0 failed`);
} catch (error) {
  console.log(`FAILED  ${error.message}`);
  process.exitCode = 1;
} finally {
  server.kill();
}
process.exit();

async function checks() {
  const fleet = await new Fleet().launch(FLEET, "fleet");
  // Whatever happens only once is over then.
  await feed(fleet, 2);

  const alone = await feed(fleet, SECONDS);
  const enough = 0.999 * alone.count;
  const got = `${alone.least} of ${alone.count} at least`;
  check(`alone, each of ${FLEET} clients gets 99.9 %`, alone.least >= enough, got, alone.figures);

  await neverRead("fleet");
  await neverRead("few");
  await new Fleet().launch(STALLED, "few");
  await areFull();

  let worst = Infinity;
  for (let tries = 0; tries < TRIES && worst > HELD; tries += 1) {
    const toFew = publish("few", { count: SECONDS * 100, per_second: 100, bytes: 200 });
    const [beside, few] = await Promise.all([feed(fleet, SECONDS), toFew]);
    const figures = `${beside.least} at least, of ${alone.least}`;
    check(`beside ${STALLED} that never read, each gets 99 % of that`, beside.least >= 0.99 * alone.least, figures, beside.figures);
    worst = Math.min(worst, Math.max(few.held_us.max, beside.held.max - alone.held.max));
    console.log(`    a publish was held ${held(few.held_us)} where ${STALLED} read and ${STALLED} do not`);
  }
  check("none holds up a publish for more than 1 ms: to few, or to all beyond what that takes alone", worst <= HELD, `${worst} us`);
  await areFull();
}

/** Connects clients that do not read their sockets, and publishes what fills them. */
async function neverRead(topic) {
  for (let number = 0; number < STALLED; number += 1) {
    const socket = await connect({ topic, policy: POLICIES[number % POLICIES.length], messages: BOUND });
    if (options.beside === "stalled") socket.pause();
  }
  // 512 KiB each: the transport takes some 200.
  await publish(topic, { count: 128, bytes: 4_096, per_second: 100 });
}

async function areFull() {
  const { slowest } = await ask("GET", "/stats");
  const depths = slowest.map(({ messages }) => messages);
  const full = depths.length === 10 && depths.every((depth) => depth === BOUND);
  check("those that never read have all that they may have", full, `${depths} of ${BOUND} messages wait for the 10 slowest`);
}

/** Publishes for so many seconds to all, and tells what the one that got the fewest has got. */
async function feed(fleet, seconds) {
  await fleet.settle();
  const [had, count, busy] = [[...fleet.messages], Math.round(rate * seconds), watchProcessors()];
  const { held_us, took_ms } = await publish("fleet", { count, bytes: 200, per_second: rate });
  const share = busy();
  const late = await fleet.settle();
  const got = fleet.messages.map((messages, index) => messages - had[index]);
  const all = got.reduce((sum, one) => sum + one, 0);
  const speed = Math.round((all / took_ms) * 1_000);
  const figures = `${speed}/s, ${late}; processors ${share} % busy; a publish was held ${held(held_us)}`;
  return { count, least: Math.min(...got), held: held_us, figures };
}

function held({ p50, p99, p999, max }) {
  return `${p50}/${p99}/${p999}/${max} us (p50/p99/p999/max)`;
}

/** Returns what tells how busy the processors have been since, in per cent. */
function watchProcessors() {
  const sum = (kinds) => cpus().reduce((sum, { times }) => kinds.reduce((sum, kind) => sum + times[kind], sum), 0);
  const [idle, all] = [() => sum(["idle"]), () => sum(["user", "nice", "sys", "idle", "irq"])];
  const before = { idle: idle(), all: all() };
  return () => Math.round(100 - (100 * (idle() - before.idle)) / (all() - before.all));
}

async function connect(wishes) {
  const socket = new WebSocket(`ws://${address}/ws?${new URLSearchParams(wishes)}`, { perMessageDeflate: false });
  await once(socket, "open");
  return socket;
}

/** The number of a message; nothing if it is a signal or tells of a gap. */
function seqOf(data) {
  const text = data.toString("latin1", 0, 24);
  return text.startsWith('{"seq":') ? Number.parseInt(text.slice(7), 10) : undefined;
}

async function publish(topic, order) {
  return ask("POST", `/publish?${new URLSearchParams({ topic, ...order })}`);
}

async function ask(method, path) {
  return (await fetch(`http://${address}${path}`, { method })).json();
}

function check(what, holds, ...figures) {
  const line = [what, ...figures].join(": ");
  if (!holds) throw new Error(line);
  passed += 1;
  console.log(`ok  ${line}`);
}

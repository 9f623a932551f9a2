// The module for browsers and Node, against a socket that is made up and against real ones over loopback.
//
// `npm install && node --test` in this directory. With `--experimental-websocket` Node 20 runs those over loopback with its own
// WebSocket too, as later ones do without.

import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { WebSocket as WsSocket, WebSocketServer } from "ws";

import { FlowSocket } from "../../crates/backpressure-outbox/js/flow.mjs";

const PAUSE = '{"event":"flow.pause","reason":"buffer full"}';
const RESUME = '{"event":"flow.resume"}';
const HOLD = '{"event":"flow.pause"}';
const gap = (dropped) => `{"event":"flow.gap","dropped":${dropped}}`;
const numbers = (from, to) => Array.from({ length: to - from }, (_, index) => `${from + index}`);

/** A socket of which the test is the other side: what it sends is kept in `sent`. */
class FakeSocket extends EventTarget {
  readyState = 1;
  sent = [];

  send(data) {
    assert.equal(this.readyState, 1, "nothing is sent on a socket that is not open");
    this.sent.push(data);
    this.onsend?.(data);
  }

  close(code, reason) {
    this.readyState = 2;
    this.closedWith = { code, reason };
  }

  open() {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }

  arrive(...messages) {
    for (const data of messages) this.dispatchEvent(new MessageEvent("message", { data }));
  }

  end(code, reason) {
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event("close"), { code, reason }));
  }
}

/** A flow over such a socket, and the calls of its callbacks in order. */
function faked(options = {}) {
  const socket = new FakeSocket();
  const calls = [];
  const flow = new FlowSocket(socket, {
    onpause: (reason) => calls.push(`pause: ${reason}`),
    onresume: () => calls.push("resume"),
    ongap: (dropped) => void calls.push(`gap: ${dropped}`),
    onclose: ({ code, reason, unsent }) => calls.push(`close: ${code} ${reason}, ${unsent} unsent`),
    onerror: (error) => calls.push(`error: ${error.message}`),
    ...options,
  });
  return { socket, flow, calls };
}

/** A handler that is done with a message when the test says so. */
function gated() {
  const begun = [];
  const open = [];
  const handler = (data) => {
    begun.push(data);
    return new Promise((resolve, reject) => open.push({ resolve, reject }));
  };
  const next = async () => {
    open.shift().resolve();
    await microtasks();
  };
  return { handler, begun, open, next };
}

/** Until all that is ready to run has run. */
const microtasks = () => new Promise((resolve) => setImmediate(resolve));

/** Whether a promise has settled by now. */
async function settled(promise) {
  let is = false;
  promise.then(() => (is = true), () => (is = true));
  await microtasks();
  return is;
}

describe("what is sent", () => {
  test("goes out at once while the server does not pause", () => {
    const { socket, flow } = faked();
    assert.equal(flow.paused, false);
    assert.equal(flow.send("a"), true);
    assert.deepEqual(socket.sent, ["a"]);
    assert.equal(flow.waiting, 0);
  });

  test("waits while the server pauses and goes out in order, ahead of what comes after", () => {
    const { socket, flow, calls } = faked();
    socket.arrive(PAUSE);
    assert.equal(flow.paused, true);
    for (const data of numbers(0, 10)) assert.equal(flow.send(data), true);
    assert.deepEqual([socket.sent, flow.waiting], [[], 10]);
    socket.arrive(RESUME);
    flow.send("10");
    assert.deepEqual([socket.sent, flow.waiting, flow.paused], [numbers(0, 11), 0, false]);
    assert.deepEqual(calls, ["pause: buffer full", "resume"]);
  });

  test("keeps its order where a callback sends while the queue is flushed", () => {
    const { socket, flow } = faked({ onresume: () => flow.send("from onresume") });
    socket.arrive(PAUSE);
    flow.send("a");
    flow.send("b");
    socket.onsend = (data) => data === "a" && flow.send("in between");
    socket.arrive(RESUME);
    assert.deepEqual(socket.sent, ["a", "b", "in between", "from onresume"]);
  });

  test("finds room in onresume, even where the queue was full", () => {
    let accepted;
    const { socket, flow } = faked({ maxWaiting: 1, onresume: () => (accepted = flow.send("b")) });
    socket.arrive(PAUSE);
    flow.send("a");
    socket.arrive(RESUME);
    assert.deepEqual([accepted, socket.sent], [true, ["a", "b"]]);
  });

  test("stops again where a pause comes in the midst of a flush, and goes on where it ended", () => {
    const { socket, flow, calls } = faked();
    socket.arrive(PAUSE);
    for (const data of numbers(0, 6)) flow.send(data);
    socket.onsend = (data) => data === "2" && socket.arrive(PAUSE);
    socket.arrive(RESUME);
    assert.deepEqual([socket.sent, flow.waiting, flow.paused], [numbers(0, 3), 3, true]);
    // The pause that interrupted is, to the one who watches, the same one.
    assert.deepEqual(calls, ["pause: buffer full"]);
    flow.send("6");
    socket.onsend = (data) => data === "4" && socket.arrive(PAUSE, RESUME);
    socket.arrive(RESUME);
    assert.deepEqual([socket.sent, flow.waiting, flow.paused], [numbers(0, 7), 0, false]);
    assert.deepEqual(calls, ["pause: buffer full", "resume"]);
  });

  test("is refused above 50 messages, and what was refused is not kept", () => {
    const { socket, flow } = faked();
    socket.arrive(PAUSE);
    for (const data of numbers(0, 50)) assert.equal(flow.send(data), true);
    assert.equal(flow.send("one too many"), false);
    assert.equal(flow.waiting, 50);
    socket.arrive(RESUME);
    assert.deepEqual(socket.sent, numbers(0, 50));
  });

  test("is refused above 1 MiB, at two bytes for each code unit", () => {
    const { socket, flow } = faked();
    socket.arrive(PAUSE);
    assert.equal(flow.send("x".repeat(2 ** 19 + 1)), false);
    assert.equal(flow.send("x".repeat(2 ** 18)), true);
    assert.equal(flow.send("€".repeat(2 ** 18 - 1)), true);
    assert.equal(flow.send("xx"), false);
    assert.equal(flow.send("x"), true);
    assert.equal(flow.send(""), true);
    socket.arrive(RESUME);
    assert.deepEqual(socket.sent.map(({ length }) => length), [2 ** 18, 2 ** 18 - 1, 1, 0]);
  });

  test("is measured in bytes where it is binary", () => {
    const { socket, flow } = faked({ maxWaitingBytes: 10 });
    socket.arrive(PAUSE);
    assert.equal(flow.send(new ArrayBuffer(4)), true);
    assert.equal(flow.send(new Uint16Array(2)), true);
    assert.equal(flow.send(new Blob(["xxx"])), false);
    assert.equal(flow.send(new Blob(["xx"])), true);
    assert.equal(flow.send("x"), false);
  });

  test("gives its room back when it is sent", () => {
    const { socket, flow } = faked({ maxWaiting: 2, maxWaitingBytes: 4 });
    for (let round = 0; round < 3; round += 1) {
      socket.arrive(PAUSE);
      assert.deepEqual([flow.send("a"), flow.send("b"), flow.send("")], [true, true, false]);
      socket.arrive(RESUME);
    }
    assert.deepEqual(socket.sent, ["a", "b", "a", "b", "a", "b"]);
  });

  test("may be bounded to nothing", () => {
    const { socket, flow } = faked({ maxWaiting: 0 });
    assert.equal(flow.send("a"), true);
    socket.arrive(PAUSE);
    assert.equal(flow.send(""), false);
  });

  test("is refused while the socket is not open", () => {
    const { socket, flow } = faked();
    for (const readyState of [0, 2, 3]) {
      socket.readyState = readyState;
      assert.equal(flow.send("a"), false);
    }
    assert.deepEqual([socket.sent, flow.waiting], [[], 0]);
  });

  test("throws where it is no message", () => {
    const { socket, flow } = faked();
    for (const nothing of [undefined, null, 5, {}, ["a"]]) assert.throws(() => flow.send(nothing), TypeError);
    assert.deepEqual(socket.sent, []);
  });

  test("is reported where the socket throws in a flush, and the rest is sent", async () => {
    const { socket, flow, calls } = faked();
    socket.arrive(PAUSE);
    for (const data of ["a", "b", "c"]) flow.send(data);
    socket.onsend = (data) => { if (data === "b") throw new Error("no b"); };
    socket.arrive(RESUME);
    await microtasks();
    assert.deepEqual(socket.sent, ["a", "b", "c"]);
    assert.deepEqual(calls, ["pause: buffer full", "resume", "error: no b"]);
  });

  test("is counted as unsent when the socket closes while it waits", () => {
    const { socket, flow, calls } = faked();
    socket.arrive(PAUSE);
    flow.send("a");
    flow.send("b");
    socket.end(1012, "service restart");
    assert.deepEqual([flow.waiting, flow.paused, flow.send("c")], [0, false, false]);
    assert.deepEqual(calls, ["pause: buffer full", "close: 1012 service restart, 2 unsent"]);
    assert.deepEqual(socket.sent, []);
  });

  test("is not flushed into a socket that is about to close", () => {
    const { socket, flow, calls } = faked();
    socket.arrive(PAUSE);
    flow.send("a");
    socket.readyState = 2;
    socket.arrive(RESUME);
    assert.equal(flow.waiting, 1);
    socket.end(1000, "");
    assert.equal(calls.at(-1), "close: 1000 , 1 unsent");
  });
});

describe("ready()", () => {
  test("resolves at once where nothing is in the way", async () => {
    const { flow } = faked();
    await flow.ready();
  });

  test("waits for the end of a pause and of the queue", async () => {
    const { socket, flow } = faked();
    socket.arrive(PAUSE);
    const ready = flow.ready();
    flow.send("a");
    flow.send("b");
    socket.onsend = (data) => data === "a" && socket.arrive(PAUSE);
    socket.arrive(RESUME);
    assert.equal(await settled(ready), false);
    socket.arrive(RESUME);
    await ready;
    assert.deepEqual([socket.sent, flow.waiting], [["a", "b"], 0]);
  });

  test("does not resolve in the midst of a flush that a pause cuts short", async () => {
    const { socket, flow } = faked();
    socket.arrive(PAUSE);
    for (const data of ["a", "b", "c"]) flow.send(data);
    let ready;
    socket.onsend = (data) => {
      if (data === "a") ready = flow.ready();
      if (data === "b") socket.arrive(PAUSE);
    };
    socket.arrive(RESUME);
    assert.deepEqual([await settled(ready), flow.waiting], [false, 1]);
  });

  test("does not resolve for a pause that onresume has brought about", async () => {
    const { socket, flow } = faked({ onresume: () => socket.arrive(PAUSE) });
    socket.arrive(PAUSE);
    const ready = flow.ready();
    socket.arrive(RESUME);
    assert.deepEqual([await settled(ready), flow.paused], [false, true]);
  });

  test("waits until the socket is open", async () => {
    const { socket, flow } = faked();
    socket.readyState = 0;
    const ready = flow.ready();
    assert.equal(await settled(ready), false);
    socket.open();
    await ready;
  });

  test("rejects with the code and the reason when the socket closes, and ever after", async () => {
    const { socket, flow } = faked();
    socket.arrive(PAUSE);
    const rejected = { code: 1008, reason: "reads too slowly", message: "the socket has closed: 1008 reads too slowly" };
    const before = assert.rejects(flow.ready(), rejected);
    socket.end(1008, "reads too slowly");
    await before;
    await assert.rejects(flow.ready(), rejected);
  });

  test("rejects where the socket was closed before it came here", async () => {
    const socket = new FakeSocket();
    socket.readyState = 3;
    await assert.rejects(new FlowSocket(socket).ready(), { code: 1006 });
  });

  test("waits for the close where the socket is about to close", async () => {
    const { socket, flow } = faked();
    socket.readyState = 2;
    const ready = flow.ready();
    assert.equal(await settled(ready), false);
    socket.end(1000, "");
    await assert.rejects(ready, { code: 1000 });
  });

  test("keeps one promise, however many wait, and a new one for the next pause", async () => {
    const { socket, flow } = faked();
    socket.arrive(PAUSE);
    const first = flow.ready();
    for (let call = 0; call < 1000; call += 1) assert.equal(flow.ready(), first);
    socket.arrive(RESUME, PAUSE);
    await first;
    const second = flow.ready();
    assert.notEqual(second, first);
    assert.equal(await settled(second), false);
  });

  test("does not raise an unhandled rejection where nobody looks at its promise", async (t) => {
    const unhandled = t.mock.fn();
    process.on("unhandledRejection", unhandled);
    const { socket, flow } = faked();
    socket.arrive(PAUSE);
    flow.ready();
    socket.end(1001, "going away");
    flow.ready();
    await microtasks();
    process.off("unhandledRejection", unhandled);
    assert.equal(unhandled.mock.callCount(), 0);
  });
});

describe("what is received", () => {
  test("is handled one at a time and in order", async () => {
    const { socket, flow } = faked();
    const { handler, begun, next } = gated();
    flow.receive(handler);
    socket.arrive("a", "b", "c");
    assert.deepEqual([begun, flow.backlog], [["a"], 2]);
    await next();
    assert.deepEqual([begun, flow.backlog], [["a", "b"], 1]);
    await next();
    await next();
    assert.deepEqual([begun, flow.backlog], [["a", "b", "c"], 0]);
    socket.arrive("d");
    assert.deepEqual(begun, ["a", "b", "c", "d"]);
  });

  test("waits for the first handler", () => {
    const { socket, flow } = faked();
    socket.arrive("a", "b");
    assert.equal(flow.backlog, 2);
    const handled = [];
    flow.receive((data) => handled.push(data));
    assert.deepEqual([handled, flow.backlog], [["a", "b"], 0]);
  });

  test("goes to another handler from the next message on", async () => {
    const { socket, flow } = faked();
    const first = gated();
    const second = gated();
    flow.receive(first.handler);
    socket.arrive("a", "b", "c");
    flow.receive(second.handler);
    // Still one at a time.
    assert.deepEqual([first.begun, second.begun], [["a"], []]);
    await first.next();
    await second.next();
    assert.deepEqual([first.begun, second.begun], [["a"], ["b", "c"]]);
  });

  test("is not taken by what is not a function", () => {
    const { flow } = faked();
    for (const handler of [undefined, null, "handler", {}]) assert.throws(() => flow.receive(handler), TypeError);
  });

  test("goes on with the next message after a handler that throws or rejects, which is reported", async () => {
    const { socket, flow, calls } = faked();
    const handled = [];
    flow.receive((data) => {
      handled.push(data);
      if (data === "throws") throw new Error("thrown");
      if (data === "rejects") return Promise.reject(new Error("rejected"));
    });
    socket.arrive("throws", "a", "rejects", "b");
    await microtasks();
    assert.deepEqual(handled, ["throws", "a", "rejects", "b"]);
    assert.deepEqual(calls, ["error: thrown", "error: rejected"]);
  });

  test("is reported on the console where there is no onerror, even an undefined one", async (t) => {
    const log = t.mock.method(console, "error", () => {});
    for (const options of [undefined, {}, { onerror: undefined }]) {
      const socket = new FakeSocket();
      const flow = new FlowSocket(socket, options);
      flow.receive(() => { throw new Error("thrown"); });
      socket.arrive("a");
      await microtasks();
    }
    assert.deepEqual(log.mock.calls.map(({ arguments: [error] }) => error.message), ["thrown", "thrown", "thrown"]);
  });

  test("is everything that is not exactly a signal", () => {
    const { socket, flow, calls } = faked();
    const handled = [];
    flow.receive((data) => void handled.push(data));
    const bytes = new TextEncoder().encode(PAUSE);
    const data = [
      "", "{", "null", "17", '"flow.pause"', "[]", "[{\"event\":\"flow.pause\"}]", '{"event":"flow.pause"', '{"event":"flow.pause"}}',
      '{"event":"flow.pauses"}', '{"event":"flow.pause","reason":5}', '{"event":["flow.pause"]}', '{"event":{"event":"flow.pause"}}',
      '{"Event":"flow.pause"}', '{"event":"tick","note":"flow.pause"}', '{"event":"tick","flow.pause":1}', '{"event":"flow.gap"}',
      gap(0), gap(-1), gap(1.5), gap('"17"'), gap(1e300), gap("null"), '{"__proto__":{"event":"flow.pause"}}', "flow.pause", "\u0000",
      bytes, bytes.buffer, new Blob([PAUSE]),
    ];
    socket.arrive(...data);
    assert.deepEqual(handled, data);
    assert.deepEqual([calls, flow.paused, socket.sent], [[], false, []]);
  });

  test("is never looked into for a signal where it is longer than 256 characters", () => {
    const { socket, flow, calls } = faked();
    const handled = [];
    flow.receive((data) => void handled.push(data));
    const longest = PAUSE + " ".repeat(256 - PAUSE.length);
    socket.arrive(`${longest} `, PAUSE.repeat(100_000));
    assert.deepEqual([handled.length, flow.paused], [2, false]);
    socket.arrive(longest);
    assert.deepEqual([handled.length, flow.paused, calls], [2, true, ["pause: buffer full"]]);
  });

  test("is without signals, however they are written", () => {
    const { socket, flow, calls } = faked();
    flow.receive(assert.fail);
    socket.arrive('{ "event" : "flow.pause" }', '\n{"at":12,"event":"flow.resume","more":[]}', '{"reason":null,"event":"flow.pause"}');
    assert.deepEqual(calls, ["pause: ", "resume", "pause: "]);
  });

  test("is still handled after the socket has closed", async () => {
    const { socket, flow, calls } = faked();
    const { handler, begun, next } = gated();
    flow.receive(handler);
    socket.arrive("a", "b");
    socket.end(1001, "going away");
    assert.deepEqual(calls, ["close: 1001 going away, 0 unsent"]);
    await next();
    assert.deepEqual(begun, ["a", "b"]);
  });
});

describe("a gap", () => {
  test("is told at its place among the messages, not to the handler", async () => {
    const { socket, flow, calls } = faked();
    flow.receive(async (data) => {
      calls.push(`begin ${data}`);
      await microtasks();
      calls.push(`end ${data}`);
    });
    socket.arrive("a", gap(17), "b", gap(2));
    assert.deepEqual([calls, flow.backlog], [["begin a"], 3]);
    while (calls.length < 6) await microtasks();
    assert.deepEqual(calls, ["begin a", "end a", "gap: 17", "begin b", "end b", "gap: 2"]);
  });

  test("holds what is behind it until an ongap that is async is done", async () => {
    const { handler: ongap, next } = gated();
    const { socket, flow } = faked({ ongap });
    const handled = [];
    flow.receive((data) => handled.push(data));
    socket.arrive(gap(1), "a");
    await microtasks();
    assert.deepEqual(handled, []);
    await next();
    assert.deepEqual(handled, ["a"]);
  });

  test("passes where nobody listens", async () => {
    const { socket, flow, calls } = faked({ ongap: undefined });
    const handled = [];
    flow.receive((data) => handled.push(data));
    socket.arrive(gap(1), "a");
    await microtasks();
    assert.deepEqual([handled, calls], [["a"], []]);
  });
});

describe("the server is told", () => {
  test("to pause at 38 that wait and to go on at 19, once for each crossing", async () => {
    const { socket, flow } = faked();
    const { handler, next } = gated();
    flow.receive(handler);
    // One is with the handler.
    socket.arrive(...numbers(0, 38));
    assert.deepEqual([flow.backlog, socket.sent], [37, []]);
    socket.arrive("38");
    assert.deepEqual([flow.backlog, socket.sent], [38, [HOLD]]);
    socket.arrive(...numbers(39, 100));
    while (flow.backlog > 20) await next();
    assert.deepEqual(socket.sent, [HOLD]);
    await next();
    assert.deepEqual([flow.backlog, socket.sent], [19, [HOLD, RESUME]]);
    while (flow.backlog > 0) await next();
    assert.deepEqual(socket.sent, [HOLD, RESUME]);
  });

  test("nothing where the backlog goes up and down by one around a mark", async () => {
    const { socket, flow } = faked();
    const { handler, next } = gated();
    flow.receive(handler);
    socket.arrive(...numbers(0, 39));
    assert.equal(socket.sent.length, 1);
    for (let round = 0; round < 100; round += 1) {
      await next();
      assert.equal(flow.backlog, 37);
      socket.arrive("one more");
      assert.equal(flow.backlog, 38);
    }
    while (flow.backlog > 19) await next();
    assert.deepEqual(socket.sent, [HOLD, RESUME]);
    for (let round = 0; round < 100; round += 1) {
      socket.arrive("one more");
      await next();
    }
    assert.deepEqual([flow.backlog, socket.sent], [19, [HOLD, RESUME]]);
  });

  test("pause and go on in turns, whatever comes and goes", async () => {
    const { socket, flow } = faked({ high: 4, low: 1 });
    const { handler, next, open } = gated();
    flow.receive(handler);
    let random = 1;
    for (let step = 0; step < 5000; step += 1) {
      random = (random * 48271) % 2147483647;
      if (random % 2 && flow.backlog < 6) socket.arrive("more");
      else if (open.length > 0) await next();
    }
    while (open.length > 0) await next();
    assert.ok(socket.sent.length > 100, `${socket.sent.length} signals`);
    assert.equal(socket.sent.length % 2, 0);
    socket.sent.forEach((signal, index) => assert.equal(signal, index % 2 ? RESUME : HOLD));
  });

  test("to go on where the low mark is 0 only when nothing waits", async () => {
    const { socket, flow } = faked({ high: 1, low: 0, maxBacklog: 2 });
    const { handler, next } = gated();
    flow.receive(handler);
    socket.arrive("a");
    assert.deepEqual(socket.sent, []);
    socket.arrive("b", "c");
    await next();
    assert.deepEqual([flow.backlog, socket.sent], [1, [HOLD]]);
    await next();
    assert.deepEqual([flow.backlog, socket.sent], [0, [HOLD, RESUME]]);
  });

  test("while it pauses itself, past what waits to be sent", () => {
    const { socket, flow } = faked({ high: 1, low: 0 });
    socket.arrive(PAUSE);
    flow.send("data");
    socket.arrive("a");
    assert.deepEqual([socket.sent, flow.waiting], [[HOLD], 1]);
  });

  test("nothing by a handler that returns no promise, however many come in one turn", () => {
    const { socket, flow } = faked();
    let handled = 0;
    flow.receive(() => { handled += 1; });
    for (let message = 0; message < 10_000; message += 1) socket.arrive("x");
    assert.deepEqual([handled, socket.sent, socket.closedWith], [10_000, [], undefined]);
  });

  test("nothing once the socket is about to close", async () => {
    const { socket, flow } = faked({ high: 2, low: 1 });
    const { handler, next } = gated();
    flow.receive(handler);
    socket.arrive("a", "b", "c");
    socket.close(1000, "");
    await next();
    assert.deepEqual([flow.backlog, socket.sent], [1, [HOLD]]);
  });
});

describe("a reader that is overwhelmed", () => {
  test("closes the socket with 4008 where more than 1000 wait, drops them and says so", async () => {
    const { socket, flow, calls } = faked();
    const { handler, begun, next } = gated();
    flow.receive(handler);
    socket.arrive(...numbers(0, 1001));
    assert.deepEqual([flow.backlog, socket.closedWith], [1000, undefined]);
    socket.arrive("one too many");
    assert.deepEqual([flow.backlog, socket.closedWith], [0, { code: 4008, reason: "reader overwhelmed" }]);
    // The package `ws` delivers what comes in until the other side has closed, too.
    socket.arrive("late", gap(5));
    assert.equal(flow.backlog, 0);
    await next();
    socket.end(4008, "reader overwhelmed");
    assert.deepEqual(begun, ["0"]);
    assert.deepEqual(socket.sent, [HOLD]);
    assert.deepEqual(calls, [
      "error: reader overwhelmed: 1001 messages waited, and were dropped",
      "close: 4008 reader overwhelmed, 0 unsent",
    ]);
  });

  test("may be one that has no handler", () => {
    const { socket, flow } = faked({ high: 2, low: 1, maxBacklog: 2 });
    socket.arrive("a", "b", "c");
    assert.deepEqual([flow.backlog, socket.closedWith?.code, socket.sent], [0, 4008, [HOLD]]);
  });

  test("is also one who is flooded with gaps", () => {
    const { socket, flow } = faked();
    flow.receive(() => new Promise(() => {}));
    socket.arrive("a");
    for (let marker = 0; marker < 1001; marker += 1) socket.arrive(gap(1));
    assert.deepEqual([flow.backlog, socket.closedWith?.code], [0, 4008]);
  });
});

describe("options", () => {
  const wrong = [
    [{ low: 38 }, "low is 38, must be less than high, which is 38"],
    [{ high: 5, low: 6 }, "low is 6, must be less than high, which is 5"],
    [{ high: 1001 }, "high is 1001, must be at most maxBacklog, which is 1000"],
    [{ maxBacklog: 37 }, "high is 38, must be at most maxBacklog, which is 37"],
    [{ high: 0, low: 0 }, "low is 0, must be less than high, which is 0"],
    ...["maxWaiting", "maxWaitingBytes", "high", "low", "maxBacklog"].flatMap((name) =>
      [-1, 1.5, NaN, Infinity, null, "40", 2 ** 53].map((value) => [
        { [name]: value },
        `${name} is ${value}, must be an integer of at least 0`,
      ]),
    ),
  ];
  for (const [options, message] of wrong) {
    const [[name, value]] = Object.entries(options);
    test(`that make no sense are refused with what would be right: ${name} ${value} (${typeof value})`, () => {
      assert.throws(() => new FlowSocket(new FakeSocket(), options), { name: "RangeError", message });
    });
  }

  test("that are undefined are the defaults", () => {
    const { socket, flow } = faked({ high: undefined, low: undefined, maxWaiting: undefined });
    socket.arrive(...numbers(0, 38));
    assert.deepEqual([flow.backlog, socket.sent], [38, [HOLD]]);
  });

  test("may be at their bounds", () => {
    new FlowSocket(new FakeSocket(), { maxWaiting: 0, maxWaitingBytes: 0, low: 0, high: 1, maxBacklog: 1 });
  });
});

describe("callbacks", () => {
  test("that throw are reported and break nothing", async () => {
    const fail = (name) => () => { throw new Error(name); };
    const { socket, flow, calls } = faked({ onpause: fail("p"), onresume: fail("r"), ongap: fail("g"), onclose: fail("c") });
    const handled = [];
    flow.receive((data) => handled.push(data));
    socket.arrive(PAUSE);
    flow.send("sent");
    const ready = flow.ready();
    socket.arrive(RESUME, gap(1), "a");
    await ready;
    socket.end(1000, "");
    await microtasks();
    assert.deepEqual([socket.sent, handled], [["sent"], ["a"]]);
    assert.deepEqual(calls, ["error: p", "error: r", "error: g", "error: c"]);
  });

  test("do not hear of a signal that repeats the one before it", () => {
    const { socket, flow, calls } = faked();
    socket.arrive(RESUME);
    assert.deepEqual([flow.paused, calls], [false, []]);
    socket.arrive(PAUSE, PAUSE, RESUME, RESUME);
    assert.deepEqual([flow.paused, calls], [false, ["pause: buffer full", "resume"]]);
  });

  test("hear what the socket failed with, where it says", async () => {
    const { socket, calls } = faked();
    socket.dispatchEvent(Object.assign(new Event("error"), { error: new Error("refused") }));
    socket.dispatchEvent(new Event("error"));
    await microtasks();
    assert.deepEqual(calls, ["error: refused", "error: the connection failed"]);
  });

  test("may all be left out", () => {
    const socket = new FakeSocket();
    const flow = new FlowSocket(socket);
    flow.receive(() => {});
    socket.arrive(PAUSE, gap(1), "a", RESUME);
    socket.end(1000, "");
    assert.equal(flow.backlog, 0);
  });

  test("are called in turns by a server that flips 100 000 times, and nothing is left behind", async () => {
    let last = "resume";
    let flips = 0;
    const turn = (now) => {
      assert.notEqual(now, last);
      last = now;
      flips += 1;
    };
    const { socket, flow } = faked({ onpause: () => turn("pause"), onresume: () => turn("resume") });
    flow.receive(assert.fail);
    const promises = new Set();
    for (let flip = 0; flip < 50_000; flip += 1) {
      socket.arrive(PAUSE);
      promises.add(flow.ready());
      assert.equal(flow.send(`${flip}`), true);
      socket.arrive(RESUME);
    }
    await Promise.all(promises);
    assert.deepEqual([flips, flow.waiting, flow.backlog, flow.paused], [100_000, 0, 0, false]);
    assert.deepEqual(socket.sent, numbers(0, 50_000));
  });
});

const kinds = [["ws", WsSocket]];
if (globalThis.WebSocket) kinds.push(["Node's own", globalThis.WebSocket]);

for (const [kind, Socket] of kinds) {
  describe(`over loopback, with the WebSocket of ${kind}`, { timeout: 60_000 }, () => {
    /** A server for one connection, and that connection from both sides. Both are ended with the test. */
    async function connected(t, options) {
      const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
      t.after(() => server.close());
      await once(server, "listening");
      const client = new Socket(`ws://127.0.0.1:${server.address().port}`);
      const flow = new FlowSocket(client, options);
      const [peer] = await once(server, "connection");
      t.after(() => peer.terminate());
      await flow.ready();
      return { peer, client, flow };
    }

    test("what is sent across a pause arrives whole and in order", async (t) => {
      let paused;
      const { peer, flow } = await connected(t, { onpause: () => paused() });
      const pausing = new Promise((resolve) => (paused = resolve));
      const arrived = [];
      const all = new Promise((resolve) => peer.on("message", (data) => arrived.push(`${data}`) === 60 && resolve()));
      for (const data of numbers(0, 10)) flow.send(data);
      peer.send(PAUSE);
      await pausing;
      for (const data of numbers(10, 60)) assert.equal(flow.send(data), true);
      assert.equal(flow.send("no room"), false);
      peer.send(RESUME);
      await flow.ready();
      await all;
      assert.deepEqual(arrived, numbers(0, 60));
    });

    test("a server that obeys is read at the pace of the handler, and nothing is lost", async (t) => {
      const { peer, flow } = await connected(t);
      let most = 0;
      const handled = [];
      const done = new Promise((resolve) => {
        flow.receive(async (data) => {
          most = Math.max(most, flow.backlog);
          // As long as the others take, on this thread: the server runs in between.
          if (handled.length % 7 === 0) await microtasks();
          handled.push(data);
          if (handled.length === 20_000) resolve();
        });
      });
      const signals = [];
      let held = false;
      let wake = () => {};
      peer.on("message", (data) => {
        signals.push(`${data}`);
        held = signals.at(-1) === HOLD;
        wake();
      });
      for (let sent = 0; sent < 20_000; sent += 1) {
        while (held) await new Promise((resolve) => (wake = resolve));
        peer.send(`${sent}`);
        if (sent % 10 === 9) await microtasks();
      }
      await done;
      assert.deepEqual(handled, numbers(0, 20_000));
      assert.ok(signals.length > 2, `${signals.length} signals`);
      signals.forEach((signal, index) => assert.equal(signal, index % 2 ? RESUME : HOLD));
      assert.ok(most >= 38 && most <= 1000, `at most ${most} waited`);
    });

    test("a server that does not obey is hung up on", async (t) => {
      const errors = [];
      let end;
      const closed = new Promise((resolve) => (end = resolve));
      const { peer, flow } = await connected(t, { onerror: (error) => errors.push(error.message), onclose: end });
      flow.receive(() => new Promise(() => {}));
      const peerClosed = once(peer, "close");
      for (let sent = 0; sent < 2000; sent += 1) peer.send(`${sent}`);
      const [code, reason] = await peerClosed;
      assert.deepEqual([code, `${reason}`], [4008, "reader overwhelmed"]);
      assert.equal((await closed).code, 4008);
      assert.deepEqual(errors, ["reader overwhelmed: 1001 messages waited, and were dropped"]);
      await assert.rejects(flow.ready(), { code: 4008 });
    });

    test("a slow reader whom the server closes learns why, and what was not sent", async (t) => {
      let end;
      const closed = new Promise((resolve) => (end = resolve));
      let paused;
      const pausing = new Promise((resolve) => (paused = resolve));
      const { peer, flow } = await connected(t, { onpause: paused, onclose: end });
      peer.send(PAUSE);
      assert.equal(await pausing, "buffer full");
      flow.send("a");
      const ready = assert.rejects(flow.ready(), { code: 1008, reason: "reads too slowly" });
      peer.close(1008, "reads too slowly");
      assert.deepEqual(await closed, { code: 1008, reason: "reads too slowly", unsent: 1 });
      await ready;
    });

    test("binary messages, broken ones and gaps come through in order", async (t) => {
      const order = [];
      let last;
      const done = new Promise((resolve) => (last = resolve));
      const { peer, flow } = await connected(t, { ongap: (dropped) => void order.push(dropped) });
      flow.receive((data) => {
        order.push(typeof data === "string" ? data : "binary");
        if (data === "last") last();
      });
      for (const data of ['{"event":', Buffer.from(PAUSE), gap(3), "x".repeat(1 << 20), gap(4), "last"]) peer.send(data);
      await done;
      assert.deepEqual(order.map((entry) => entry.length ?? entry), [9, 6, 3, 1 << 20, 4, 4]);
      assert.equal(flow.paused, false);
    });

    test("a server that flips 100 000 times is heard in turns", async (t) => {
      let flips = 0;
      let wrong = 0;
      const { peer, flow } = await connected(t, {
        onpause: () => { wrong += flips % 2; flips += 1; },
        onresume: () => { wrong += 1 - (flips % 2); flips += 1; },
      });
      const done = new Promise((resolve) => flow.receive(resolve));
      for (let flip = 0; flip < 50_000; flip += 1) {
        peer.send(PAUSE);
        peer.send(RESUME);
        if (flip % 1000 === 0) await microtasks();
      }
      peer.send("done");
      await done;
      assert.deepEqual([flips, wrong, flow.paused, flow.backlog], [100_000, 0, false, 0]);
    });

    test("a server that is not there is reported", async () => {
      const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
      await once(server, "listening");
      const { port } = server.address();
      await new Promise((resolve) => server.close(resolve));
      let onclose;
      const closed = new Promise((resolve) => (onclose = resolve));
      const error = await new Promise((onerror) => {
        const flow = new FlowSocket(new Socket(`ws://127.0.0.1:${port}`), { onclose, onerror });
        assert.equal(flow.send("early"), false);
      });
      assert.ok(error instanceof Error);
      // Node 20's own, an experiment, does not say that it has closed.
      if (kind === "ws") assert.equal((await closed).code, 1006);
    });

    if (kind !== "ws") return;

    test("what comes in one read does not overwhelm a handler that returns no promise", async (t) => {
      const { peer, flow } = await connected(t);
      let handled = 0;
      const done = new Promise((resolve) => flow.receive(() => { if ((handled += 1) === 50_000) resolve(); }));
      for (let sent = 0; sent < 50_000; sent += 1) peer.send("x");
      await done;
      assert.equal(flow.backlog, 0);
    });
  });
}

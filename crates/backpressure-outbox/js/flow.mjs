/**
 * The other end of an outbox: a WebSocket that stops sending when the server says so, and makes the server stop when its own
 * reader falls behind. For browsers and Node; it needs a standard `WebSocket`, or that of the package `ws`, and nothing else.
 *
 *     const flow = new FlowSocket(new WebSocket("wss://example.org/feed"), { onclose: ({ code }) => comeBack(code) });
 *     flow.receive(async (data) => show(JSON.parse(data)));
 *     for (const order of orders) {
 *       await flow.ready(); // Not while the server pauses.
 *       if (!flow.send(JSON.stringify(order))) keepForLater(order);
 *     }
 *
 * Hazards:
 * - What arrives before the socket has its `FlowSocket` is not seen: make both in one turn, one of each.
 * - While the server does not pause, `send` goes straight to the socket, whose own buffer (`bufferedAmount`) has no bound.
 * - A handler that waits for `ready` may wait for ever: the server pauses because this reader is behind, and it is behind because the
 *   handler waits. Send from elsewhere, or keep for later what `send` does not take.
 * - `maxBacklog` counts messages, not bytes: the backlog takes up to that many of the largest that the server sends.
 * - `ws` hands over all messages of one read, up to 64 KiB, in one turn. A handler that returns a promise meets them as a
 *   backlog, however fast it is: where messages are small, raise `maxBacklog`, or give `ws` `allowSynchronousEvents: false`.
 *
 * @module
 */

/** @typedef {string | ArrayBuffer | ArrayBufferView | Blob} Data A message. It is not copied: leave buffers alone until sent. */

/**
 * @typedef {object} FlowOptions
 * @property {number} [maxWaiting=50] The most messages that `send` keeps while the server pauses; 0 keeps none.
 * @property {number} [maxWaitingBytes=1048576] The most bytes of them: 2 for a UTF-16 code unit of text, else the byte length.
 * @property {number} [high=38] So many messages that wait for the handler make the server pause.
 * @property {number} [low=19] So few let it go on; less than `high`.
 * @property {number} [maxBacklog=1000] More than these close the socket and are dropped; at least `high`.
 * @property {(reason: string) => void} [onpause] The server pauses. Called when the signal arrives, ahead of the backlog.
 * @property {() => void} [onresume] The server goes on, and what waited has been sent.
 * @property {(dropped: number) => unknown} [ongap] So many messages were lost here: those before the gap have been handled, those
 *   after it have not. Counts in the backlog and is awaited like a message.
 * @property {(end: {code: number, reason: string, unsent: number}) => void} [onclose] The socket has closed, and `unsent`
 *   messages that `send` took are lost. The backlog is still handled.
 * @property {(error: unknown) => void} [onerror] What the handler, a callback or the socket failed with, or that the reader was
 *   overwhelmed. Called in a microtask, `console.error` by default; one that throws is an uncaught exception.
 */

const OPEN = 1;
const CLOSED = 3;
/** In UTF-16 code units. No signal is longer, and data that is does not get parsed. */
const LONGEST_SIGNAL = 256;

/**
 * A WebSocket with back-pressure both ways. It obeys and hides `{"event":"flow.pause","reason":"..."}`, `{"event":"flow.resume"}`
 * and `{"event":"flow.gap","dropped":17}`, whatever other fields they have, and sends the first two (without a reason) itself. A
 * signal that repeats the one before it is ignored. All that is not a signal is data, broken JSON too.
 */
export class FlowSocket {
  #socket;
  #options;
  #paused = false;
  #waiting = []; // Of { data, bytes }: what `send` took and the socket has not got.
  #waitingBytes = 0;
  #flushing = false;
  #waiter; // One for all calls of `ready`.
  #closed; // The error of `ready` from then on.
  #backlog = []; // Of { data } and { dropped }: what the handler has not begun with.
  #handler;
  #handling = false;
  #holding = false; // Whether the server was told to pause.
  #overwhelmed = false;

  /**
   * Takes over what a socket receives. It may still be connecting.
   * @param {WebSocket} socket
   * @param {FlowOptions} [options]
   * @throws {RangeError} where a number is not an integer of at least 0, or not `low < high <= maxBacklog`.
   */
  constructor(socket, options = {}) {
    this.#options = checked(options);
    this.#socket = socket;
    if (socket.readyState === CLOSED) this.#closed = closedError(1006, "closed before");
    socket.addEventListener("open", () => this.#settle());
    socket.addEventListener("message", ({ data }) => this.#take(data));
    socket.addEventListener("close", ({ code, reason }) => this.#end(code, reason));
    socket.addEventListener("error", ({ error }) => this.#report(error ?? new Error("the connection failed")));
  }

  /** Whether the server pauses; `false` once the socket has closed. */
  get paused() { return this.#paused; }

  /** How many messages wait to be sent. */
  get waiting() { return this.#waiting.length; }

  /** How many messages and gaps wait for the handler, without the one that it is busy with. */
  get backlog() { return this.#backlog.length; }

  /**
   * Sends a message, or keeps it until the server goes on: what was kept is sent in its order, ahead of what comes later.
   * @param {Data} data
   * @returns {boolean} `false` where it was neither sent nor kept: there is no room, or the socket is not open.
   * @throws {TypeError} where it is no message.
   */
  send(data) {
    const bytes = bytesOf(data);
    if (this.#socket.readyState !== OPEN) return false;
    if (!this.#paused && this.#waiting.length === 0) {
      this.#socket.send(data);
      return true;
    }
    const { maxWaiting, maxWaitingBytes } = this.#options;
    if (this.#waiting.length >= maxWaiting || this.#waitingBytes + bytes > maxWaitingBytes) return false;
    this.#waiting.push({ data, bytes });
    this.#waitingBytes += bytes;
    return true;
  }

  /**
   * Waits until the socket is open, the server does not pause, and nothing waits to be sent. Those who wait share one promise and
   * wake together; where the server pauses again before they have their turn, `send` keeps what it is given.
   * @returns {Promise<void>} rejects with an `Error` that has `code` and `reason` when the socket closes, and ever after.
   */
  ready() {
    if (!this.#waiter) {
      this.#waiter = {};
      this.#waiter.promise = new Promise((resolve, reject) => Object.assign(this.#waiter, { resolve, reject }));
      this.#waiter.promise.catch(() => {}); // Those who wait get the error; that nobody waits is none.
    }
    const { promise } = this.#waiter;
    this.#settle();
    return promise;
  }

  /**
   * Hands each message to `handler` in order, the next one when the promise that it returned, if any, has settled. What it throws
   * or rejects with goes to `onerror`, and the next message follows. A promise that never settles is the end of reading: the server
   * is made to pause. Until the first call messages wait in the backlog; another call replaces the handler from the next message
   * on.
   * @param {(data: Data) => unknown} handler
   * @throws {TypeError} where it is not a function.
   */
  receive(handler) {
    if (typeof handler !== "function") throw new TypeError("the handler must be a function");
    this.#handler = handler;
    this.#handle();
  }

  #take(data) {
    const signal = signalOf(data);
    if (signal?.event === "flow.pause") return this.#pause(signal.reason ?? "");
    if (signal?.event === "flow.resume") return this.#resume();
    if (this.#overwhelmed) return;
    this.#backlog.push(signal ? { dropped: signal.dropped } : { data });
    this.#handle();
    this.#watch();
    if (this.#backlog.length > this.#options.maxBacklog) this.#overwhelm();
  }

  #pause(reason) {
    if (this.#paused) return;
    this.#paused = true;
    // In the midst of a flush nobody has been told that the pause before was over.
    if (!this.#flushing) this.#call("onpause", reason);
  }

  #resume() {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#flushing) return;
    this.#flush();
    if (!this.#paused) this.#call("onresume"); // After the flush: what it sends has room.
    this.#settle();
  }

  #flush() {
    this.#flushing = true;
    while (!this.#paused && this.#waiting.length > 0 && this.#socket.readyState === OPEN) {
      const { data, bytes } = this.#waiting.shift();
      this.#waitingBytes -= bytes;
      try { this.#socket.send(data); } catch (error) { this.#report(error); }
    }
    this.#flushing = false;
  }

  #settle() {
    if (!this.#waiter) return;
    if (this.#closed) this.#waiter.reject(this.#closed);
    else if (!this.#paused && this.#waiting.length === 0 && this.#socket.readyState === OPEN) this.#waiter.resolve();
    else return;
    this.#waiter = undefined;
  }

  /** Does without a promise where the handler does: then it keeps up with any number of messages that come in one turn. */
  async #handle() {
    if (this.#handling || !this.#handler) return;
    this.#handling = true;
    while (this.#backlog.length > 0) {
      const { data, dropped } = this.#backlog.shift();
      this.#watch();
      try {
        const done = dropped ? this.#options.ongap?.(dropped) : this.#handler(data);
        if (typeof done?.then === "function") await done;
      } catch (error) { this.#report(error); }
    }
    this.#handling = false;
  }

  /** Signals once each time that the backlog has crossed both marks. The server's own pause does not hold signals. */
  #watch() {
    const hold = this.#backlog.length >= (this.#holding ? this.#options.low + 1 : this.#options.high);
    if (hold === this.#holding) return;
    this.#holding = hold;
    if (this.#socket.readyState === OPEN) this.#socket.send(hold ? '{"event":"flow.pause"}' : '{"event":"flow.resume"}');
  }

  #overwhelm() {
    this.#overwhelmed = true;
    const dropped = this.#backlog.splice(0).length;
    this.#socket.close(4008, "reader overwhelmed");
    this.#report(new Error(`reader overwhelmed: ${dropped} messages waited, and were dropped`));
  }

  #end(code, reason) {
    this.#closed = closedError(code, reason);
    this.#paused = false;
    const unsent = this.#waiting.splice(0).length;
    this.#settle();
    this.#call("onclose", { code, reason, unsent });
  }

  #call(name, value) {
    try { this.#options[name]?.(value); } catch (error) { this.#report(error); }
  }

  #report(error) {
    queueMicrotask(() => this.#options.onerror(error));
  }
}

function checked({ maxWaiting = 50, maxWaitingBytes = 1 << 20, high = 38, low = 19, maxBacklog = 1000, ...callbacks }) {
  const bounds = { maxWaiting, maxWaitingBytes, high, low, maxBacklog };
  for (const [name, value] of Object.entries(bounds)) {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${name} is ${value}, must be an integer of at least 0`);
  }
  if (low >= high) throw new RangeError(`low is ${low}, must be less than high, which is ${high}`);
  if (high > maxBacklog) throw new RangeError(`high is ${high}, must be at most maxBacklog, which is ${maxBacklog}`);
  return { ...bounds, ...callbacks, onerror: callbacks.onerror ?? console.error };
}

/** Returns the signal that a message is, `undefined` where it is data. */
function signalOf(data) {
  // The prefix first: hardly any data is parsed only to find that it is data, and none of what is left is null.
  if (typeof data !== "string" || data.length > LONGEST_SIGNAL || !data.includes('"flow.')) return undefined;
  let signal;
  try { signal = JSON.parse(data); } catch { return undefined; }
  switch (signal.event) {
    case "flow.resume": return signal;
    case "flow.pause": return typeof (signal.reason ?? "") === "string" ? signal : undefined;
    case "flow.gap": return Number.isSafeInteger(signal.dropped) && signal.dropped > 0 ? signal : undefined;
  }
}

function bytesOf(data) {
  const bytes = typeof data === "string" ? data.length * 2 : (data?.byteLength ?? data?.size);
  if (!Number.isSafeInteger(bytes)) throw new TypeError("a message must be a string, an ArrayBuffer or a view of one, or a Blob");
  return bytes;
}

function closedError(code, reason) {
  return Object.assign(new Error(`the socket has closed: ${`${code} ${reason}`.trim()}`), { code, reason });
}

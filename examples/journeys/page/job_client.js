// The jobs of an Outlast server over HTTP: submit, read, cancel, retry, follow. Written for pages; needs only fetch.

const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 2000; // so that an open page is live again within 3 s of a restart
const SILENCE = 20000; // the server pings each 15 s

export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail ?? body?.title ?? `The server answered ${status}.`);
    this.status = status;
    this.code = body?.code;
  }
}

export class JobClient {
  constructor(base) {
    this.base = base;
  }

  /** The job made of `payload`. A lost answer is asked for again with the same key, which makes no second job. */
  submit(type, payload, key, options) {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
    const body = JSON.stringify({ type, payload });
    return patiently(() => this.call("", { method: "POST", headers, body }), options);
  }

  get(id) {
    return patiently(() => this.call(`/${id}`));
  }

  /** The job with what it was asked with, its `payload`. */
  getWithPayload(id) {
    return patiently(() => this.call(`/${id}?include=payload`));
  }

  cancel(id) {
    return this.call(`/${id}/cancel`, { method: "POST" });
  }

  /** A new job that inherits the finished steps of a failed one. */
  retry(id) {
    return this.call(`/${id}/retry`, { method: "POST" });
  }

  async call(path, options) {
    const response = await fetch(this.base + path, options);
    const body = await response.json().catch(() => null);
    if (!response.ok) throw new Problem(response.status, body);
    return body;
  }

  /**
   * Fold the job and its events into `feed` until it has ended, through lost connections and restarts of the server.
   * `changed` is called after each batch of events, `connected` with true or false as the line comes and goes.
   */
  async follow(feed, { changed, connected, signal }) {
    let waits = pauses();
    while (!feed.ended && !signal.aborted) {
      const before = feed.seq;
      try {
        await this.#read(feed, changed, connected, signal);
      } catch (error) {
        if (signal.aborted || !isPassing(error)) throw error;
      }
      if (feed.ended || signal.aborted) return;
      connected(false);
      if (feed.seq !== before) waits = pauses();
      await rest(waits.next().value, signal);
    }
  }

  async #read(feed, changed, connected, signal) {
    const watch = new Watch(signal);
    try {
      if (!feed.known) feed.know(await this.call(`/${feed.id}`, { signal: watch.signal }));
      const response = await fetch(`${this.base}/${feed.id}/events?after=${feed.seq}`, {
        headers: { Accept: "text/event-stream" },
        signal: watch.signal,
      });
      if (!response.ok) throw new Problem(response.status, await response.json().catch(() => null));
      if (response.status === 204) return;
      connected(true);
      for await (const events of batches(response.body, watch)) {
        const outcomes = events.map((event) => feed.apply(event));
        changed();
        if (outcomes.includes("restart") || feed.ended) return;
      }
    } finally {
      watch.stop();
    }
  }
}

/** A file of the page's own server. */
export function fetchFile(url) {
  return patiently(() => fetch(url));
}

/** What `call` answers, asked again for as long as the server cannot be reached. */
async function patiently(call, { connected = () => {}, signal } = {}) {
  for (const pause of pauses()) {
    try {
      const answer = await call();
      connected(true);
      return answer;
    } catch (error) {
      if (signal?.aborted || !isPassing(error)) throw error;
    }
    connected(false);
    await rest(pause, signal);
  }
}

/** A network error, a stream that was cut, a server that is starting: worth another try. */
function isPassing(error) {
  return !(error instanceof Problem) || [502, 503, 504].includes(error.status);
}

/** Aborts a stream that is silent for longer than pings allow: a proxy may hold a dead line open. */
class Watch {
  constructor(signal) {
    this.controller = new AbortController();
    this.signal = AbortSignal.any([signal, this.controller.signal]);
    this.heard();
  }

  heard() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.controller.abort(), SILENCE);
  }

  stop() {
    clearTimeout(this.timer);
    this.controller.abort();
  }
}

/** The events of a server-sent stream, as many at a time as one piece of the body brings. */
async function* batches(body, watch) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    watch.heard();
    const frames = (rest + decoder.decode(value, { stream: true })).replaceAll("\r\n", "\n").split("\n\n");
    rest = frames.pop();
    yield frames.map(dataOf).filter(Boolean);
  }
}

function dataOf(frame) {
  const lines = frame.split("\n").filter((line) => line.startsWith("data:"));
  return lines.length ? JSON.parse(lines.map((line) => line.slice(5)).join("\n")) : null;
}

function* pauses() {
  for (let pause = FIRST_PAUSE; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) yield pause * (0.5 + Math.random() / 2);
}

/** Waits, but no longer than until the page is looked at again or the machine is back on the network. */
function rest(milliseconds, signal) {
  return new Promise((resolve) => {
    const over = new AbortController();
    const wake = () => {
      clearTimeout(timer);
      over.abort();
      resolve();
    };
    const timer = setTimeout(wake, milliseconds);
    globalThis.addEventListener?.("online", wake, { signal: over.signal });
    globalThis.document?.addEventListener("visibilitychange", wake, { signal: over.signal });
    signal?.addEventListener("abort", wake, { signal: over.signal });
  });
}

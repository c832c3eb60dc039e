// The modules of the page that need no page. Run by test_page_modules.py, or by `node --test` in this folder.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { JobClient } from "../../examples/journeys/page/job_client.js";
import { JobFeed } from "../../examples/journeys/page/job_feed.js";
import { mood, path } from "../../examples/journeys/page/journey_map.js";
import { duration, failure, headline, refusal, textIsAtFault } from "../../examples/journeys/page/wording.js";

const START = Date.parse("2026-01-01T00:00:00.000Z");
const at = (seconds) => new Date(START + seconds * 1000).toISOString();

/** A feed after these events, numbered from 1. */
function fed(...events) {
  const feed = new JobFeed("job_1");
  events.forEach((event, n) => feed.apply({ seq: n + 1, time: at(n), attempt: 1, ...event }));
  return feed;
}

const delta = (offset, text, channel = "text") => ({ type: "job.output.delta", channel, offset, text });
const reset = (offset, channel = "text") => ({ type: "job.output.reset", channel, offset });
const step = (index, name, status, more = {}) => ({ type: "job.step", index, name, status, ...more });
const STARTED = { type: "job.started" };

test("an event that was seen is passed over", () => {
  const feed = fed(STARTED, delta(0, "Hello"));

  assert.equal(feed.apply({ seq: 2, ...delta(0, "Hello") }), "seen");
  assert.equal(feed.apply({ seq: 1, ...STARTED }), "seen");
  assert.equal(feed.apply({ type: "stream.end", reason: "shutdown" }), "seen");
  assert.equal(feed.apply({ seq: 3, ...delta(5, " world") }), "applied");
  assert.deepEqual(feed.seqs, [1, 2, 3]);
  assert.equal(feed.text(), "Hello world");
});

test("output is put in its place by offset, and a reset takes back what lies behind it", () => {
  const feed = fed(STARTED, delta(0, "one "), delta(4, "two "), reset(4), delta(4, "TWO"), delta(0, "{", "json"));

  assert.equal(feed.text(), "one TWO");
  assert.equal(feed.text("json"), "{");
});

test("offsets count characters, also those that take two units in a string", () => {
  const feed = fed(delta(0, "a😀b"), reset(2), delta(2, "é"), delta(3, "!"));

  assert.equal(feed.text(), "a😀é!");
});

test("a step that began and was cut off waits, and begins again in its place", () => {
  const feed = fed(STARTED, step(0, "Reading", "completed"), step(1, "Finding", "running"), {
    type: "job.queued",
    reason: "lease_lost",
  });
  feed.planned = ["Reading", "Finding", "Checking"];
  const statuses = () => feed.allSteps.map(({ name, status }) => `${name} ${status}`);

  assert.deepEqual(statuses(), ["Reading completed", "Finding pending", "Checking pending"]);
  feed.apply({ seq: 5, attempt: 2, time: at(9), ...STARTED });
  feed.apply({ seq: 6, ...step(4, "Finding", "running") });
  assert.deepEqual(statuses(), ["Reading completed", "Finding running", "Checking pending"]);
});

const INHERITED = [step(0, "Reading", "completed", { durationMs: 3 }), step(1, "Finding", "completed")];
const PLANNED = step(2, "Checking", "pending");
const listed = (feed) => feed.allSteps.map(({ name, status }) => `${name} ${status}`);

test("steps that a retry inherits are taken from the job, whether or not its log tells of them too", () => {
  for (const told of [[], INHERITED]) {
    const feed = new JobFeed("job_2");
    feed.know({ steps: [...INHERITED, PLANNED] });
    assert.deepEqual(listed(feed), ["Reading completed", "Finding completed", "Checking pending"]);

    [{ type: "job.created" }, STARTED, ...told, step(2, "Describing", "running")].forEach((event, n) =>
      feed.apply({ seq: n + 1, time: at(n), attempt: 1, ...event }),
    );

    const done = ["Reading completed", "Finding completed"];
    assert.deepEqual(listed(feed), [...done, "Describing running", "Checking pending"]);
    assert.equal(feed.allSteps[0].durationMs, 3);
    feed.apply({ seq: 9, ...step(2, "Describing", "completed") });
    feed.apply({ seq: 10, ...step(3, "Checking", "running") });
    assert.deepEqual(listed(feed), [...done, "Describing completed", "Checking running"]);
  }
});

test("a log that is read from its start does not take finished steps back", () => {
  const feed = new JobFeed("job_1");
  feed.know({ steps: [...INHERITED, step(2, "Checking", "running")] });

  feed.apply({ seq: 1, time: at(0), attempt: 1, ...STARTED });
  feed.apply({ seq: 2, ...step(0, "Reading", "running") });

  assert.deepEqual(listed(feed), ["Reading completed", "Finding completed", "Checking pending"]);
});

test("progress begins anew with a new attempt and not with a new slice", () => {
  const feed = fed(STARTED, { type: "job.progress", progress: 40, message: "Finding" });

  feed.apply({ seq: 3, attempt: 1, time: at(3), ...STARTED });
  assert.equal(feed.progress, 40);
  feed.apply({ seq: 4, attempt: 2, time: at(4), ...STARTED });
  assert.equal(feed.progress, null);
});

test("a log that does not reach the cursor is read again from its start", () => {
  const feed = fed(STARTED, delta(0, "old"));

  assert.equal(feed.apply({ type: "job.reset", seq: 1 }), "restart");
  assert.deepEqual([feed.seq, feed.seqs, feed.text(), feed.status, feed.known], [0, [], "", "queued", false]);
  assert.equal(feed.apply({ type: "job.snapshot", seq: 1, job: { status: "queued", steps: INHERITED } }), "seen");
  assert.deepEqual([feed.seq, feed.known, listed(feed)], [0, true, ["Reading completed", "Finding completed"]]);
});

test("each end is an end, and nothing is left running", () => {
  for (const status of ["completed", "failed", "cancelled"]) {
    const feed = fed(STARTED, step(0, "Reading", "running"), { type: `job.${status}`, error: { message: "no" } });
    feed.planned = ["Reading", "Checking"];

    assert.equal(feed.ended, true);
    assert.deepEqual(feed.allSteps.map((each) => each.status), ["failed"]);
  }
});

test("the headline says what goes on, and for how long", () => {
  const feed = fed();
  assert.equal(headline(feed, START), "Starting analysis...");
  feed.apply({ seq: 1, attempt: 1, time: at(0), ...STARTED });
  assert.equal(headline(feed, START + 400), "Starting analysis...");
  assert.equal(headline(feed, START + 12_700), "Processing... 12s");
  assert.equal(headline(feed, START + 44_999), "Processing... 44s");
  assert.equal(headline(feed, START + 45_000), "Still analyzing... 45s (long transcript)");
  feed.apply({ seq: 2, type: "job.retrying", time: at(50), delayMs: 20_000, error: { message: "rate limit" } });
  assert.equal(headline(feed, START + 55_000), "Trying again in 15s...");
  feed.apply({ seq: 3, type: "job.queued", time: at(70) });
  assert.equal(headline(feed, START + 70_000), "Picking up where it stopped...");
  feed.apply({ seq: 4, type: "job.cancel_requested", time: at(71) });
  assert.equal(headline(feed, START + 71_000), "Cancelling...");
  feed.apply({ seq: 5, type: "job.cancelled", time: at(72) });
  assert.equal(headline(feed, START + 72_000), "Cancelled.");
});

test("a failure is told with its advice", () => {
  assert.deepEqual(failure({ message: "No key.", advice: "Set it." }), { message: "No key.", advice: "Set it." });
  assert.equal(failure(null).message, "Nothing more is known.");
});

test("a text that the handler cannot take is edited, and what another hour or key may mend is tried again", () => {
  assert.ok(textIsAtFault({ code: "handler_error", message: "too short", advice: "Paste more." }));
  assert.ok(!textIsAtFault({ code: "provider_error", message: "No key.", advice: "Set it." }));
  assert.ok(!textIsAtFault({ code: "handler_error", message: "ZeroDivisionError" }));
  assert.ok(!textIsAtFault(null));
});

test("what cannot be imported is refused before it is sent", () => {
  const megabyte = 1 << 20;

  assert.equal(refusal({ transcript: "Hello.", prompt: "" }), "");
  for (const blank of ["", "   ", " \n\t\u00a0\ufeff"]) assert.match(refusal({ transcript: blank }), /^There is no text/);
  assert.equal(refusal({ transcript: "x".repeat(megabyte - 200) }), "");
  assert.match(refusal({ transcript: "x".repeat(megabyte) }), /too long to be sent: 1\.1 MB, where 1 MB is the most/);
  assert.match(refusal({ transcript: "é".repeat(megabyte * 0.7) }), /1\.5 MB/);
});

test("durations are short", () => {
  assert.deepEqual([undefined, 12, 951, 12_345].map(duration), ["", "12 ms", "1.0 s", "12.3 s"]);
});

test("the mood of a phase leans to its strongest emotion, and the curve goes through each phase", () => {
  const emotions = [{ name: "Angry", score: -0.9 }, { name: "Happy", score: 0.6 }];

  assert.ok(mood({ emotions }) < -0.2);
  assert.ok(mood({ emotions: emotions.toReversed() }) > mood({ emotions }));
  assert.equal(mood({ emotions: [] }), 0);
  assert.equal(path([[0, 5], [10, 1]]), "M0 5 C5 5 5 1 10 1");
});

/** A server whose answers are given one by one, and a client for it. */
async function serving(...answers) {
  const asked = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const piece of request) body += piece;
    asked.push({ method: request.method, url: request.url, headers: request.headers, body });
    await answers.shift()(request, response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new JobClient(`http://127.0.0.1:${server.address().port}/jobs`);
  return { client, asked, close: () => (server.closeAllConnections(), server.close()) };
}

const json = (status, body) => (_, response) => {
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
};
const cut = (request) => request.socket.destroy();
const stream =
  (...pieces) =>
  async (_, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    for (const piece of pieces) {
      response.write(piece);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    response.end();
  };
const frame = (event) => `id: ${event.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
const watching = () => ({ changed: () => {}, connected: () => {}, signal: new AbortController().signal });

test("a submit whose answer is lost is sent again under the same key", async () => {
  const { client, asked, close } = await serving(cut, json(503, { detail: "starting" }), json(202, { id: "job_1" }));

  const job = await client.submit("t", { a: 1 }, "key-1");
  close();

  assert.equal(job.id, "job_1");
  assert.deepEqual(asked.map(({ headers }) => headers["idempotency-key"]), ["key-1", "key-1", "key-1"]);
  assert.deepEqual(JSON.parse(asked[2].body), { type: "t", payload: { a: 1 } });
});

test("a submit that is refused is not sent again", async () => {
  const { client, asked, close } = await serving(json(422, { detail: "the payload does not fit", code: "validation" }));

  await assert.rejects(client.submit("t", {}, "key-1"), { message: "the payload does not fit", status: 422 });
  close();
  assert.equal(asked.length, 1);
});

test("a stream that is cut is resumed behind the last event, whatever pieces it came in", async () => {
  const first = frame({ type: "job.started", seq: 1, attempt: 1 }) + frame({ seq: 2, ...delta(0, "Grüße ") });
  const second = frame({ seq: 2, ...delta(0, "Grüße ") }) + ": ping\n\n" + frame({ seq: 3, ...delta(6, "😀") });
  const bytes = Buffer.from(second + frame({ type: "job.completed", seq: 4 }));
  const { client, asked, close } = await serving(
    json(200, { steps: [PLANNED] }),
    stream("retry: 2000\n\n", first, "id: 3\nevent: job.outp"),
    cut,
    stream(bytes.subarray(0, 50), bytes.subarray(50, 131), bytes.subarray(131, 200), bytes.subarray(200)),
  );
  const feed = new JobFeed("job_1");

  await client.follow(feed, watching());
  close();

  assert.deepEqual(asked.map(({ url }) => url.split("?")[1]), [undefined, "after=0", "after=2", "after=2"]);
  assert.deepEqual(feed.planned, ["Checking"]);
  assert.deepEqual([feed.seqs, feed.text(), feed.status], [[1, 2, 3, 4], "Grüße 😀", "completed"]);
});

test("a log that went back is read again from its start", async () => {
  const began = frame({ type: "job.started", seq: 1, attempt: 1 });
  const { client, asked, close } = await serving(
    json(200, { steps: [...INHERITED, PLANNED] }),
    stream(began + frame({ seq: 2, ...delta(0, "lost") })),
    stream('event: job.reset\ndata: {"type":"job.reset","seq":1}\n\n', frame({ type: "job.snapshot", seq: 1, job: {} })),
    json(200, { steps: INHERITED.slice(0, 1) }),
    stream(began + frame({ seq: 2, ...delta(0, "kept") }) + frame({ type: "job.completed", seq: 3 })),
  );
  const feed = new JobFeed("job_1");

  await client.follow(feed, watching());
  close();

  assert.deepEqual(asked.map(({ url }) => url.split("?")[1]), [undefined, "after=0", "after=2", undefined, "after=0"]);
  assert.deepEqual([feed.seqs, feed.text(), listed(feed)], [[1, 2, 3], "kept", ["Reading completed"]]);
});

test("a job that the server does not know ends the following with a problem", async () => {
  const { client, close } = await serving(json(404, { detail: "no job", code: "job_not_found" }));

  await assert.rejects(client.follow(new JobFeed("job_1"), watching()), { status: 404, code: "job_not_found" });
  close();
});

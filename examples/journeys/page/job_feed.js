// What is known of one job, folded from its record and its events. No DOM and no network: events in, state out.
//
// The record tells what the log may not: a job made by a retry begins with the finished steps of the one before.
// Every event has a number; one that was seen already is passed over, so a stream may be resumed anywhere and events may
// come twice. Output is put in its place by offset, and a reset takes text back that a later slice writes again.

const ENDED = new Set(["completed", "failed", "cancelled"]);

export class JobFeed {
  constructor(id) {
    this.id = id;
    this.clear();
  }

  clear() {
    this.known = false;
    this.planned = [];
    this.seq = 0;
    this.seqs = [];
    this.status = "queued";
    this.attempt = 0;
    this.startedAt = null;
    this.progress = null;
    this.message = null;
    this.error = null;
    this.waitsUntil = null;
    this.cancelling = false;
    this.logs = [];
    this.steps = new Map();
    this.channels = new Map();
  }

  get ended() {
    return ENDED.has(this.status);
  }

  /** The text of a channel so far. */
  text(channel = "text") {
    return this.channels.get(channel)?.text ?? "";
  }

  /** Steps in the order in which they began; those that are only planned come last. */
  get allSteps() {
    const begun = [...this.steps.values()].sort((one, other) => one.index - other.index);
    const names = new Set(begun.map((step) => step.name));
    const ahead = this.ended ? [] : this.planned.filter((name) => !names.has(name));
    return [...begun, ...ahead.map((name) => ({ name, status: "pending" }))];
  }

  /** Take the finished and the coming steps from the job itself; how the others stand is for the log to say. */
  know(job) {
    this.known = true;
    const steps = job.steps ?? [];
    for (const step of steps) if (step.status === "completed") setStep(this, step);
    this.planned = steps.filter((step) => step.status !== "completed").map((step) => step.name);
  }

  /** Fold one event in. Answers "seen", "applied", or "restart": read the log again from the start. */
  apply(event) {
    if (event.type === "job.reset") {
      this.clear();
      return "restart";
    }
    if (event.type === "job.snapshot") {
      this.know(event.job);
      return "seen";
    }
    if (!(event.seq > this.seq)) return "seen";
    this.seq = event.seq;
    this.seqs.push(event.seq);
    FOLDS[event.type]?.(this, event);
    return "applied";
  }
}

const FOLDS = {
  "job.created": (feed) => moveTo(feed, "queued"),
  "job.queued": (feed) => moveTo(feed, "queued"),
  "job.started": (feed, event) => {
    moveTo(feed, "processing");
    if (event.attempt !== feed.attempt) feed.progress = null;
    feed.attempt = event.attempt;
    feed.startedAt ??= event.time;
  },
  "job.waiting": (feed, event) => moveTo(feed, "waiting", event.until),
  "job.retrying": (feed, event) => {
    moveTo(feed, "retrying", new Date(Date.parse(event.time) + event.delayMs).toISOString());
    feed.error = event.error;
  },
  "job.progress": (feed, event) => {
    feed.progress = event.progress ?? feed.progress;
    feed.message = event.message ?? feed.message;
  },
  "job.step": setStep,
  "job.log": (feed, event) => feed.logs.push(event.message),
  "job.output.delta": (feed, event) => write(feed, event.channel, event.offset, event.text),
  "job.output.reset": (feed, event) => write(feed, event.channel, event.offset, ""),
  "job.cancel_requested": (feed) => (feed.cancelling = true),
  "job.completed": (feed) => moveTo(feed, "completed"),
  "job.failed": (feed, event) => {
    moveTo(feed, "failed");
    feed.error = event.error;
  },
  "job.cancelled": (feed) => moveTo(feed, "cancelled"),
};

/** A step that ran when the job left its worker runs no more; it begins again, or not at all. */
function moveTo(feed, status, until = null) {
  feed.status = status;
  feed.waitsUntil = until;
  for (const [index, step] of feed.steps) {
    if (step.status === "running") feed.steps.set(index, { ...step, status: feed.ended ? "failed" : "pending" });
  }
}

/** A step that begins anew takes the place of its earlier try; one that is finished stays so. */
function setStep(feed, step) {
  if (step.status !== "completed" && feed.steps.get(step.index)?.status === "completed") return;
  for (const [index, other] of feed.steps) {
    if (other.name === step.name && other.status !== "completed") feed.steps.delete(index);
  }
  feed.steps.set(step.index, step);
}

/** Text from `offset` on becomes `text`. Offsets count characters, which a string of UTF-16 units may not. */
function write(feed, channel, offset, text) {
  const before = feed.channels.get(channel) ?? { text: "", length: 0 };
  const kept = offset < before.length ? [...before.text].slice(0, offset).join("") : before.text;
  const length = Math.min(offset, before.length);
  feed.channels.set(channel, { text: kept + text, length: length + [...text].length });
}

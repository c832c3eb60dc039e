// What the page says about a job, in words. No DOM, so that it can be tested anywhere.

const LONG = 45;
const MOST_BYTES = 1 << 20; // of a request, by the server's rule
const ENVELOPE = 100; // bytes of a request around its payload, and some to spare

/** The line above the steps: what is going on, and for how long. */
export function headline(feed, now) {
  if (feed.cancelling && !feed.ended) return "Cancelling...";
  switch (feed.status) {
    case "queued":
      return feed.startedAt ? "Picking up where it stopped..." : "Starting analysis...";
    case "retrying":
      return `Trying again in ${secondsUntil(feed.waitsUntil, now)}s...`;
    case "waiting":
      return "Waiting...";
    case "completed":
      return "Your journey is ready.";
    case "failed":
      return "The analysis failed.";
    case "cancelled":
      return "Cancelled.";
  }
  const seconds = Math.max(0, Math.floor((now - Date.parse(feed.startedAt)) / 1000));
  if (seconds < 1) return "Starting analysis...";
  return seconds < LONG ? `Processing... ${seconds}s` : `Still analyzing... ${seconds}s (long transcript)`;
}

/** How long a step took, as people say it. */
export function duration(milliseconds) {
  if (milliseconds == null) return "";
  return milliseconds < 950 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** What went wrong and what to do, from a job's last error. */
export function failure(error) {
  return { message: error?.message ?? "Nothing more is known.", advice: error?.advice ?? "" };
}

/** True if a retry would fail again, for it is the text that the handler cannot take: it says so with advice. */
export function textIsAtFault(error) {
  return error?.code === "handler_error" && Boolean(error.advice);
}

/** Why this cannot be imported, or nothing if it can. */
export function refusal(payload) {
  if (!payload.transcript.trim()) return "There is no text to import. Paste the words of an interview, or use the sample.";
  const bytes = new TextEncoder().encode(JSON.stringify(payload)).length + ENVELOPE;
  if (bytes <= MOST_BYTES) return "";
  const megabytes = (Math.ceil((bytes / MOST_BYTES) * 10) / 10).toFixed(1);
  return `The text is too long to be sent: ${megabytes} MB, where 1 MB is the most. Import it in parts, one interview at a time.`;
}

function secondsUntil(time, now) {
  return Math.max(0, Math.ceil((Date.parse(time) - now) / 1000)) || 0;
}

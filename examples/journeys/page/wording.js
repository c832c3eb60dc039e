// What the page says about a job, in words. No DOM, so that it can be tested anywhere.

const LONG = 45;

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

function secondsUntil(time, now) {
  return Math.max(0, Math.ceil((Date.parse(time) - now) / 1000)) || 0;
}

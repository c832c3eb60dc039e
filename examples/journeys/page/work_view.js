// The job at work: one line, a bar, the steps, the text as it streams.

import { el } from "./dom.js";
import { JobFeed } from "./job_feed.js";
import { duration, failure, headline, textIsAtFault } from "./wording.js";

const at = (id) => document.getElementById(id);
const SIGNS = { completed: "✓", failed: "✕" };

export function showWork(feed) {
  document.title = feed.ended ? `${headline(feed, Date.now())} – Journeys` : "Journeys";
  at("headline").textContent = headline(feed, Date.now());
  at("work").dataset.status = feed.status;
  at("facts").textContent = [feed.known && feed.status, feed.attempt > 1 && `attempt ${feed.attempt}`, feed.id].filter(Boolean).join(" · ");
  showProgress(feed);
  showSteps(feed.allSteps);
  showText(feed.text());
  showFailure(feed);
  at("logs").replaceChildren(...feed.logs.map((line) => el("li", {}, line)));
  at("cancel").hidden = feed.ended;
  const editable = feed.status === "failed" && textIsAtFault(feed.error);
  at("edit").hidden = !editable;
  at("retry").hidden = editable || !["failed", "cancelled"].includes(feed.status);
  at("another").hidden = !feed.ended;
}

/** Of a job that is not there nothing is shown but that. */
export function showUnknown() {
  showWork(new JobFeed(null));
  at("work").dataset.status = "unknown";
  at("headline").textContent = "This server does not know the job.";
  at("line").textContent = "It was deleted, or the server was started with another store.";
  at("another").hidden = false;
  at("cancel").hidden = true;
  at("progress").hidden = true;
}

function showProgress(feed) {
  const bar = at("progress");
  bar.hidden = feed.ended;
  if (feed.progress == null) bar.removeAttribute("value");
  else bar.value = feed.progress;
}

function showSteps(steps) {
  const list = at("steps");
  while (list.children.length > steps.length) list.lastChild.remove();
  steps.forEach((step, n) => {
    const item = list.children[n] ?? list.appendChild(newStep());
    const [sign, name, time, said] = item.children;
    item.className = step.status;
    sign.textContent = SIGNS[step.status] ?? "";
    name.textContent = step.name;
    time.textContent = duration(step.durationMs);
    said.textContent = step.status;
  });
}

function newStep() {
  return el(
    "li",
    {},
    el("span", { className: "sign", ariaHidden: "true" }),
    el("span", { className: "name" }),
    el("span", { className: "time" }),
    el("span", { className: "unseen" }),
  );
}

/** Follows the end of the text unless the reader has scrolled up. */
function showText(text) {
  const box = at("text");
  if (box.textContent === text) return;
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  box.textContent = text;
  if (atEnd) box.scrollTop = box.scrollHeight;
}

function showFailure(feed) {
  const { message, advice } = failure(feed.error);
  at("failure").hidden = !["failed", "retrying"].includes(feed.status);
  at("failure-message").textContent = message;
  at("failure-advice").textContent = advice;
}

// The page: a form, the job at work, the journey. Which job is shown stands in the address, so a reload finds it again.

import { JobClient, Problem, fetchFile } from "./job_client.js";
import { JobFeed } from "./job_feed.js";
import { journeyMap } from "./journey_map.js";
import { showUnknown, showWork } from "./work_view.js";
import { refusal } from "./wording.js";

const TYPE = "transcript_to_journey";
const SAMPLE = "transcripts/electricity.txt";
const PENDING = "journeys.pending";

const at = (id) => document.getElementById(id);
const client = new JobClient("jobs");
let feed = new JobFeed(null);
let following = new AbortController();

/** For tests, and for the curious in the console. */
window.journeyPage = {
  get jobId() {
    return feed.id;
  },
  get status() {
    return feed.status;
  },
  get seqs() {
    return [...feed.seqs];
  },
  get text() {
    return feed.text();
  },
};

start();

function start() {
  at("sample").addEventListener("click", useSample);
  at("transcript").addEventListener("input", transcriptChanged);
  at("compose").addEventListener("submit", (event) => (event.preventDefault(), importTranscript()));
  at("cancel").addEventListener("click", cancel);
  at("retry").addEventListener("click", retry);
  at("edit").addEventListener("click", edit);
  at("another").addEventListener("click", () => (location.hash = ""));
  window.addEventListener("hashchange", showFromAddress);
  setInterval(() => feed.id && showWork(feed), 500);
  showModel();
  showFromAddress();
}

function showFromAddress() {
  const id = location.hash.slice(1);
  following.abort();
  if (id) return open(id);
  feed = new JobFeed(null);
  show("compose");
  const pending = JSON.parse(sessionStorage.getItem(PENDING));
  return pending && submit(pending);
}

function show(...ids) {
  for (const id of ["compose", "work", "result"]) at(id).hidden = !ids.includes(id);
}

async function showModel() {
  const model = await fetchFile("model").then((response) => response.json());
  badge(at("model"), model);
}

function badge(element, { model, offline }) {
  element.textContent = offline ? `Offline model · ${model}` : model;
  element.title = offline ? "Plain rules on the text, no vendor. Set OUTLAST_MODEL or a vendor's key to use a real one." : "";
  element.classList.toggle("offline", offline);
  element.hidden = false;
}

async function useSample() {
  at("transcript").value = await fetchFile(SAMPLE).then((response) => response.text());
  transcriptChanged();
  at("import").focus();
}

function transcriptChanged() {
  at("refused").textContent = "";
  const words = at("transcript").value.match(/\S+/g)?.length ?? 0;
  at("words").textContent = `${words.toLocaleString("en")} ${words === 1 ? "word" : "words"}`;
}

function importTranscript() {
  const payload = { transcript: at("transcript").value, prompt: at("prompt").value };
  const refused = refusal(payload);
  if (!refused) return submit({ key: newKey(), payload });
  at("refused").textContent = refused;
  at("transcript").focus();
}

function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Kept until it is answered: a reload in between sends it again, under the same key. */
async function submit(pending) {
  at("refused").textContent = "";
  at("import").disabled = true;
  try {
    sessionStorage.setItem(PENDING, JSON.stringify(pending));
    const job = await client.submit(TYPE, pending.payload, pending.key, { connected: showRefusal });
    location.hash = job.id;
  } catch (error) {
    at("refused").textContent = error.message;
  } finally {
    sessionStorage.removeItem(PENDING);
    at("import").disabled = false;
  }
}

async function open(id) {
  following = new AbortController();
  const { signal } = following;
  feed = new JobFeed(id);
  show("work");
  showWork(feed);
  try {
    await client.follow(feed, { changed: () => showWork(feed), connected: showLine, signal });
    if (!signal.aborted) await showEnd(id);
  } catch (error) {
    if (!signal.aborted) showTrouble(error);
  }
}

function showLine(connected) {
  at("line").textContent = connected ? "" : "Connection lost. The job goes on; reconnecting...";
}

function showRefusal(connected) {
  at("refused").textContent = connected ? "" : "The server does not answer; trying again...";
}

function showTrouble(error) {
  feed = new JobFeed(null);
  if (error instanceof Problem && error.status === 404) return showUnknown();
  at("headline").textContent = "Something is wrong with this page.";
  at("line").textContent = error.message;
  at("another").hidden = false;
  at("cancel").hidden = true;
}

async function showEnd(id) {
  showWork(feed);
  if (feed.status !== "failed") announce(at("headline").textContent); // a failure is an alert, which is read out itself
  if (feed.status !== "completed") return;
  const { result } = await client.get(id);
  at("title").textContent = result.title;
  at("persona").textContent = result.persona;
  badge(at("made-by"), result);
  at("map").replaceChildren(journeyMap(result));
  show("work", "result");
  window.scrollTo({ top: 0 });
}

/** Said to those who do not see the page, and gone again, lest they find it there twice. */
function announce(text) {
  at("announce").textContent = text;
  setTimeout(() => (at("announce").textContent = ""), 2000);
}

async function cancel() {
  at("cancel").disabled = true;
  await client.cancel(feed.id).catch((error) => (at("line").textContent = error.message));
  at("cancel").disabled = false;
}

async function retry() {
  at("retry").disabled = true;
  try {
    location.hash = (await client.retry(feed.id)).id;
  } catch (error) {
    at("line").textContent = error.message;
  } finally {
    at("retry").disabled = false;
  }
}

/** Back to the form, with the text of the job that failed on it. */
async function edit() {
  at("edit").disabled = true;
  try {
    const { payload } = await client.getWithPayload(feed.id);
    at("transcript").value = payload.transcript;
    at("prompt").value = payload.prompt ?? "";
    transcriptChanged();
    location.hash = "";
    await new Promise((shown) => addEventListener("hashchange", shown, { once: true }));
    at("transcript").focus();
  } catch (error) {
    at("line").textContent = error.message;
  } finally {
    at("edit").disabled = false;
  }
}

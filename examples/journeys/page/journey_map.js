// A journey drawn as a map: a column for each phase, a row for each kind of finding, and the emotions as one curve.

import { el, svg } from "./dom.js";

const ROWS = [
  ["actions", "Actions"],
  ["thoughts", "Thoughts"],
  ["emotions", "Emotions"],
  ["painPoints", "Pain points"],
  ["opportunities", "Opportunities"],
  ["quotes", "Quotes"],
];
const HEIGHT = 100; // of the curve's own coordinates; the page stretches them
const MARGIN = 18;

export function journeyMap(journey) {
  const table = el("table", { className: "map" }, header(journey.phases), body(journey.phases));
  table.style.setProperty("--phases", journey.phases.length);
  return table;
}

function header(phases) {
  const cells = phases.map((phase, n) =>
    el("th", { scope: "col" }, el("span", { className: "number" }, String(n + 1)), phase.name),
  );
  return el("thead", {}, el("tr", {}, el("td"), cells));
}

function body(phases) {
  return el(
    "tbody",
    {},
    ROWS.map(([field, title]) =>
      el(
        "tr",
        { className: `row-${field}` },
        el("th", { scope: "row" }, title),
        field === "emotions" ? curveCell(phases) : phases.map((phase) => cell(phase[field], field, title)),
      ),
    ),
  );
}

function cell(items, field, title) {
  const shown = items.map((item) => el("li", {}, field === "quotes" ? el("q", {}, item) : item));
  const content = items.length ? el("ul", {}, shown) : el("span", { className: "none" }, "–");
  const place = el("td", {}, content);
  place.dataset.row = title; // for narrow screens, which have no room for a column of titles
  return place;
}

function curveCell(phases) {
  const points = phases.map((phase, n) => ({ x: (n + 0.5) / phases.length, y: height(mood(phase)), phase }));
  const place = el("td", { colSpan: phases.length, className: "curve" }, el("div", {}, curve(points), points.map(label)));
  place.dataset.row = "Emotions";
  return place;
}

/** The mood of a phase: its emotions, the first of which weighs most. */
export function mood(phase) {
  const weights = phase.emotions.map((_, n) => 1 / (n + 1));
  const sum = weights.reduce((one, other) => one + other, 0);
  return sum ? phase.emotions.reduce((total, emotion, n) => total + emotion.score * weights[n], 0) / sum : 0;
}

function height(score) {
  return MARGIN + ((1 - score) / 2) * (HEIGHT - 2 * MARGIN);
}

function curve(points) {
  const line = path(points.map(({ x, y }) => [x * 1000, y]));
  const area = `${line} V${HEIGHT} H${points[0].x * 1000} Z`;
  return svg(
    "svg",
    { viewBox: `0 0 1000 ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("line", { x1: 0, x2: 1000, y1: HEIGHT / 2, y2: HEIGHT / 2, class: "zero" }),
    svg("path", { d: area, class: "area" }),
    svg("path", { d: line, class: "line" }),
  );
}

/** A smooth line that never swings beyond its points: level where they turn. */
export function path(points) {
  const parts = points.slice(1).map(([x, y], n) => {
    const [x0, y0] = points[n];
    const middle = (x0 + x) / 2;
    return `C${middle} ${y0} ${middle} ${y} ${x} ${y}`;
  });
  return `M${points[0].join(" ")} ${parts.join(" ")}`;
}

function label({ x, y, phase }) {
  const spoken = phase.emotions.map(({ name, score }) => `${name} ${signed(score)}`);
  const emotions = phase.emotions.map(({ name, score }) =>
    el("span", { className: score < 0 ? "emotion low" : score > 0 ? "emotion high" : "emotion" }, `${name} `, el("b", {}, signed(score))),
  );
  const place = el("div", { className: y > HEIGHT / 2 ? "point below" : "point above", title: spoken.join(", ") });
  place.append(el("i", { className: mood(phase) < 0 ? "low" : "high" }), el("div", {}, emotions));
  place.style.left = `${x * 100}%`;
  place.style.top = `${(y / HEIGHT) * 100}%`;
  return place;
}

function signed(score) {
  return `${score > 0 ? "+" : score < 0 ? "−" : ""}${Math.abs(score).toFixed(1)}`;
}

// The long tail: plays of all tracks, the most played first, and where the shown ones lie.

import { by, count, svg } from "./dom.js";
import { nameOf } from "./track.js";

const [WIDTH, HEIGHT] = [360, 220];
const [LEFT, RIGHT, TOP, BOTTOM] = [44, 10, 12, 34];

/** At how many percent of the tracks, most played first, so many plays lie. */
export function percentOf(plays, quantiles) {
  if (plays >= quantiles[0]) return 0;
  const next = quantiles.findIndex((value) => value <= plays);
  if (next < 0) return quantiles.length - 1;
  // Of tracks that share a number of plays, the middle.
  let last = next;
  while (last + 1 < quantiles.length && quantiles[last + 1] === plays) last += 1;
  if (quantiles[next] === plays) return (next + last) / 2;
  const [above, below] = [quantiles[next - 1], quantiles[next]];
  return next - (level(plays) - level(below)) / (level(above) - level(below));
}

/**
 * Draw it.
 *
 * quantiles: plays at 0 % … 100 % of the tracks. asked, results: tracks that are marked.
 */
export function drawTail(quantiles, asked = [], results = []) {
  const top = Math.ceil(level(Math.max(quantiles[0], 9)));
  const x = (percent) => LEFT + (percent / 100) * (WIDTH - LEFT - RIGHT);
  const y = (plays) => HEIGHT - BOTTOM - (level(plays) / top) * (HEIGHT - TOP - BOTTOM);
  const points = quantiles.map(
    (plays, percent) => `${x(percent).toFixed(1)},${y(plays).toFixed(1)}`,
  );
  const floor = HEIGHT - BOTTOM;
  const story = describe(quantiles, asked, results);
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": story, class: "tail" },
    ...ticks(top).map((plays) =>
      svg(
        "g",
        { class: "tick" },
        svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(plays), y2: y(plays) }),
        words(LEFT - 6, y(plays) + 4, short(plays), "end"),
      ),
    ),
    svg("polygon", {
      class: "area",
      points: `${x(0)},${floor} ${points.join(" ")} ${x(100)},${floor}`,
    }),
    svg("polyline", { class: "curve", points: points.join(" ") }),
    ...[0, 25, 50, 75, 100].map((percent) =>
      words(
        x(percent),
        floor + 15,
        `${percent} %`,
        percent === 100 ? "end" : percent ? "middle" : "start",
      ),
    ),
    words((x(0) + x(100)) / 2, floor + 30, "of the tracks, the most played first", "middle"),
    ...results.map((track) => dot(track, x(percentOf(track.plays, quantiles)), y(track.plays))),
    ...asked.map((track) => diamond(track, x(percentOf(track.plays, quantiles)), y(track.plays))),
  );
  by("tail").replaceChildren(picture);
  by("tail-text").textContent = story;
  by("tail-key").hidden = !results.length;
  by("tail-key").querySelector(".asked").hidden = !asked.length;
}

/** Let one track of the list stand out; null: none. */
export function pointOut(id) {
  for (const mark of by("tail").querySelectorAll("[data-id]")) {
    mark.classList.toggle("pointed", mark.dataset.id === id);
  }
}

/** What the picture shows, in words. */
export function describe(quantiles, asked, results) {
  const says = [
    `The long tail: the most played track has ${count(quantiles[0], "play")}, ` +
      `the one in the middle ${count(quantiles[50])}, the least played ${count(quantiles[100])}.`,
  ];
  const place = (track) => Math.round(percentOf(track.plays, quantiles));
  if (asked.length === 1) says.push(`${asked[0].title} lies at ${place(asked[0])} %.`);
  if (results.length) {
    const places = results.map(place).sort((a, b) => a - b);
    const tail = results.filter((track) => track.plays < quantiles[50]).length;
    says.push(
      results.length === 1
        ? `The recommended track lies at ${places[0]} %.`
        : `The ${results.length} recommended tracks lie from ${places[0]} % to ${places.at(-1)} %; ` +
            `${tail === results.length ? "all" : tail || "none"} of them ${tail === 1 ? "is" : "are"} in ` +
            "the less played half.",
    );
  }
  return says.join(" ");
}

/** No plays have a place, too. */
const level = (plays) => Math.log10(1 + plays);

function ticks(top) {
  const all = Array.from({ length: top + 1 }, (_, power) => (power ? 10 ** power : 0));
  return all.filter((_, power) => power % Math.ceil(top / 4) === 0);
}

const short = (plays) => new Intl.NumberFormat("en", { notation: "compact" }).format(plays);

function words(x, y, text, anchor) {
  const label = svg("text", { x, y, "text-anchor": anchor });
  label.textContent = text;
  return label;
}

function mark(name, track, attributes) {
  const title = svg("title");
  title.textContent = `${nameOf(track)}: ${count(track.plays, "play")}`;
  return svg(name, { "data-id": track.track_id, ...attributes }, title);
}

/** New tracks are filled, known ones are rings. */
const dot = (track, cx, cy) =>
  mark("circle", track, { cx, cy, r: 4.5, class: track.by === "plays" ? "known" : "new" });

const diamond = (track, x, y) =>
  mark("path", track, { class: "asked", d: `M${x} ${y - 8}l8 8l-8 8l-8-8z` });

// Why a track is recommended: bars that add up to its similarity.

import { count, h, signed } from "./dom.js";

const NAMED = 6; // attributes of a modality that have a bar of their own

/** What adds to a track's similarity: rows of {label, value, part}; a `part` is of what is above. */
export function rowsOf(why) {
  const rows = [];
  for (const { modality, value, base, attributes } of why.modalities) {
    rows.push({ label: modality, value });
    const named = Object.entries(attributes);
    named.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
    for (const [label, share] of named.slice(0, NAMED)) {
      rows.push({ label: label.replaceAll("_", " "), value: share, part: true });
    }
    const rest = named.slice(NAMED);
    if (rest.length) {
      const sum = rest.reduce((all, [, share]) => all + share, 0);
      rows.push({ label: count(rest.length, "more attribute"), value: sum, part: true });
    }
    if (base !== null) rows.push({ label: "as the average track", value: base, part: true });
  }
  for (const [name, value] of Object.entries(why.others)) {
    rows.push({ label: other(name, why.listeners), value });
  }
  return rows;
}

/** A table of bars. `similarity`: what the list says, which the rows add up to. */
export function picture(why, similarity) {
  const rows = rowsOf(why);
  if (!rows.length) {
    return h(
      "p",
      { class: "note" },
      "A known track: it was factorised, and the listening log alone puts it here.",
    );
  }
  const sum = rows.filter((row) => !row.part).reduce((all, row) => all + row.value, 0);
  const low = Math.min(0, ...rows.map((row) => row.value));
  const high = Math.max(sum, 0, ...rows.map((row) => row.value));
  const scale = 100 / (high - low || 1);
  const line = ({ label, value, part, total }) => {
    const bar = h("span", { class: value < 0 ? "bar less" : "bar" });
    bar.style.left = `${(Math.min(value, 0) - low) * scale}%`;
    bar.style.width = `${Math.abs(value) * scale}%`;
    const zero = h("span", { class: "zero" });
    zero.style.left = `${-low * scale}%`;
    return h(
      "tr",
      { class: total ? "total" : part ? "part" : "whole" },
      h("th", { scope: "row" }, label),
      h("td", { class: "bars" }, h("span", { class: "track", "aria-hidden": "true" }, zero, bar)),
      h("td", { class: "number" }, total ? value.toFixed(3) : signed(value)),
    );
  };
  const table = h(
    "table",
    { class: "why" },
    h("caption", {}, captionOf(why)),
    h(
      "thead",
      { class: "unseen" },
      h(
        "tr",
        {},
        ["What", "Bar", "Adds"].map((text) => h("th", { scope: "col" }, text)),
      ),
    ),
    h("tbody", {}, rows.map(line)),
    h("tfoot", {}, line({ label: "together: similarity", value: sum, total: true })),
  );
  if (Math.abs(sum - similarity) < 0.0015) return table;
  const note = `The data have changed since the list was made: there it was ${similarity.toFixed(3)}.`;
  return h("div", {}, table, h("p", { class: "note" }, note));
}

function captionOf(why) {
  return why.by === "both"
    ? `Its content, and its plays by ${count(why.listeners, "listener")}`
    : "Its content; no plays of it are known";
}

function other(name, listeners) {
  if (name === "plays") return `plays by ${count(listeners, "listener")}`;
  return { artist: "its artist’s other tracks", new: "that it is new" }[name] ?? name;
}

// What a track is called, wherever it is shown.

import { h } from "./dom.js";

const KINDS = {
  plays: ["known", "Factorised: its place comes from the listening log."],
  content: ["new", "Never factorised: its place comes from its content alone."],
  both: ["new", "Never factorised: its place comes from its content, moved by its plays."],
};

/** Whether a track is new or known, as a small label. */
export function badge(source) {
  const [word, meaning] = KINDS[source];
  return h("span", { class: `badge ${word}`, title: meaning }, word);
}

/** An artist who isn't their track's title, too, as where artists stand for tracks. */
export const artistOf = ({ title, artist }) =>
  artist !== title && h("span", { class: "artist" }, artist);

/** A track in one line of text. */
export const nameOf = ({ title, artist }) => (artist === title ? title : `${title} – ${artist}`);

// The visitor's list: kept in the tab's own storage until it is closed, and nowhere else.

import { announce, by, count, h } from "./dom.js";
import { artistOf, badge } from "./track.js";
import { keyOf, play } from "./player.js";
import { asCsv, asM3u, save } from "./files.js";

let tracks = [];
let name = "coldstart-list"; // in the storage: each run has a list of its own
let told = () => {};

/** Whether the list has this track. */
export const isKept = (id) => tracks.some((track) => track.track_id === id);

/** Ids of the list's tracks. */
export const keptIds = () => tracks.map((track) => track.track_id);

/**
 * Open the list of a run.
 *
 * sound: whether tracks can be played. change: is called whenever the list is another one.
 * more: what asks for tracks like the list's.
 */
export function setUpList(run, { sound, change, more }) {
  name = `coldstart-list ${run}`;
  tracks = stored();
  told = () => {
    draw(sound);
    change();
  };
  by("list-csv").onclick = () => save("coldstart.csv", "text/csv", asCsv(tracks));
  by("list-m3u").onclick = () => save("coldstart.m3u8", "audio/mpegurl", asM3u(tracks, sound));
  by("list-more").onclick = () => more(keptIds());
  by("list-clear").onclick = () => {
    update(() => (tracks = []));
    announce("Your list is empty");
    by("search").focus();
  };
  told();
}

/** Put a track at the list's end, or take it out. */
export function keepOrNot(track) {
  const { track_id, title, artist, plays, by: source } = track;
  const had = isKept(track_id);
  update(() => {
    if (had) tracks = tracks.filter((one) => one.track_id !== track_id);
    else tracks.push({ track_id, title, artist, plays, by: source });
  });
  announce(
    had
      ? `${title} is no longer in your list`
      : `${title} is in your list, ${count(tracks.length, "track")}`,
  );
}

function update(does) {
  does();
  try {
    sessionStorage.setItem(name, JSON.stringify(tracks));
  } catch {
    by("list-where").textContent =
      "This browser stores nothing for this page: the list is gone when it is reloaded.";
  }
  told();
}

function stored() {
  try {
    const found = JSON.parse(sessionStorage.getItem(name) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

function move(index, step) {
  const [track] = tracks.slice(index, index + 1);
  update(() => {
    tracks.splice(index, 1);
    tracks.splice(index + step, 0, track);
  });
  announce(`${track.title}: place ${index + step + 1} of ${tracks.length}`);
  const row = by("list").children[index + step];
  const same = row.querySelector(step < 0 ? ".up" : ".down");
  (same.disabled ? row.querySelector(step < 0 ? ".down" : ".up") : same).focus();
}

function remove(index) {
  const { title } = tracks[index];
  update(() => tracks.splice(index, 1));
  announce(`${title} is no longer in your list`);
  const next = by("list").children[Math.min(index, tracks.length - 1)];
  (next?.querySelector(".remove") ?? by("search")).focus();
}

function draw(sound) {
  const rows = tracks.map((track, index) => {
    const button = (text, says, does, more = {}) =>
      h(
        "button",
        { type: "button", onclick: does, "aria-label": `${says}: ${track.title}`, ...more },
        text,
      );
    return h(
      "li",
      { class: "kept" },
      h("div", { class: "names" }, h("b", {}, track.title), artistOf(track), badge(track.by)),
      h(
        "div",
        { class: "actions" },
        sound && button("Play", "Play", () => play(track), { "data-plays": keyOf(track) }),
        button("↑", "Move up", () => move(index, -1), { class: "up", disabled: index === 0 }),
        button("↓", "Move down", () => move(index, 1), {
          class: "down",
          disabled: index === tracks.length - 1,
        }),
        button("×", "Remove", () => remove(index), { class: "remove" }),
      ),
    );
  });
  by("list").replaceChildren(...rows);
  by("list-count").textContent = tracks.length ? ` (${tracks.length})` : "";
  by("list-empty").hidden = tracks.length > 0;
  by("list-tools").hidden = tracks.length === 0;
}

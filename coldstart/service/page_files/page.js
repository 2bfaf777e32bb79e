// The listening page: what is asked, the answer, and how they hang together.

import { address, json, post, response } from "./ask.js";
import { announce, by, complain, count, h } from "./dom.js";
import { isKept, keepOrNot, setUpList } from "./list.js";
import { keyOf, keyOfFile, play, playFile, setUpPlayer } from "./player.js";
import { markKept, markPlaying, showResults } from "./results.js";
import { setUpSearch } from "./search.js";
import { go, KINDS, options, read } from "./state.js";
import { drawTail, pointOut } from "./tail.js";
import { artistOf, badge, nameOf } from "./track.js";

const NAMED = 12; // tracks of a question of which details are fetched

let model = null;
let running = new AbortController();

/** Ask a new question: it becomes the page's address, and its answer is shown. */
function ask(question, focus = true) {
  go({ ...read(), file: null, ...question });
  show(focus);
}

/** Show the answer to the question in the page's address. */
async function show(focus = false) {
  const asked = read();
  running.abort();
  running = new AbortController();
  const { signal } = running;
  fillIn(asked);
  complain(null);
  by("intro").hidden = asked.kind !== null;
  document.body.classList.toggle("answers", asked.kind !== null);
  for (const id of ["asked", "filters"]) by(id).hidden = asked.kind === null;
  if (asked.kind === null) return clear();
  by("answer").setAttribute("aria-busy", "true");
  try {
    const about = showAsked(asked, await tracksOf(asked, signal));
    if (focus) goToAnswer();
    const answer = await answerTo(asked, {}, signal);
    if (!signal.aborted) showAnswer(asked, about, answer);
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    clear();
    complain(error);
  } finally {
    if (!signal.aborted) by("answer").removeAttribute("aria-busy");
  }
}

/** Where there is little room, the fields to ask with would hide the answer. */
function goToAnswer() {
  by("asked-title").focus();
  if (matchMedia("(max-width: 40rem)").matches) by("answer").scrollIntoView();
}

function clear() {
  by("results").replaceChildren();
  by("summary").hidden = true;
  document.title = "coldstart";
  drawTail(model.quantiles);
}

/** What the service answers. `more`: options beside the question's own. */
async function answerTo(asked, more, signal) {
  const told = { ...options(asked), ...more };
  const url = address("recommend");
  if (asked.kind === "tracks") return post(url, { like: asked.ids, ...told }, { signal });
  if (asked.kind === "liked") return post(url, { liked: asked.ids, ...told }, { signal });
  if (asked.kind === "user") {
    const path = address("users", asked.user, "recommendations");
    return json(`${path}?${new URLSearchParams(told)}`, { signal });
  }
  if (!asked.file)
    throw new Error(`“${asked.name}” is no longer here: choose or drop the file again.`);
  const form = new FormData();
  form.append("query", JSON.stringify(told));
  form.append("audio", asked.file);
  return (await response(url, { method: "POST", body: form, signal })).json();
}

/** Why one track is recommended: the same question, of this track alone. */
async function explain(asked, track) {
  const where = `track_id = '${track.track_id.replaceAll("'", "''")}'`;
  const more = { k: 1, candidates: "all", where, why: true };
  const alone = { ...asked, per_artist: null, new_share: null };
  const { tracks } = await answerTo(alone, more, running.signal);
  return tracks[0].why;
}

/** Details of the tracks of a question; of many, the first ones. Unknown ones are left out. */
async function tracksOf(asked, signal) {
  const details = async (id) => {
    try {
      return await json(address("tracks", id), { signal });
    } catch (error) {
      if (error.status === 404) return null; // the answer says so, if it is wrong
      throw error;
    }
  };
  const tracks = await Promise.all((asked.ids ?? []).slice(0, NAMED).map(details));
  return tracks.filter(Boolean);
}

function showAsked(asked, tracks) {
  const one = tracks.length === 1 && asked.ids.length === 1 ? tracks[0] : null;
  const kinds = {
    tracks: "Like",
    liked: "For somebody who likes",
    user: "For the listener",
    file: "Like the sound file",
  };
  by("asked-kind").textContent = kinds[asked.kind];
  by("asked-title").textContent =
    asked.user ??
    asked.name ??
    one?.title ??
    (asked.ids.length === 1 ? asked.ids[0] : count(asked.ids.length, "track"));
  const genres = one?.columns.genres;
  const facts = one
    ? [
        artistOf(one),
        badge(one.by),
        h("span", {}, count(one.plays, "play")),
        Array.isArray(genres) &&
          genres.length > 0 &&
          h("span", {}, genres.join(", ").replaceAll("_", " ")),
        one.columns.release_date && h("span", {}, one.columns.release_date),
      ]
    : tracks.map((track) => h("span", {}, nameOf(track)));
  if (asked.ids?.length > NAMED)
    facts.push(h("span", {}, `and ${count(asked.ids.length - NAMED)} more`));
  by("asked-facts").replaceChildren(...facts.filter(Boolean));
  const buttons = [];
  const add = (text, does, more = {}) =>
    buttons.push(
      h(
        "button",
        {
          type: "button",
          onclick: does,
          "aria-label": `${text}: ${by("asked-title").textContent}`,
          ...more,
        },
        text,
      ),
    );
  if (one?.can_be_heard) add("Play", () => play(one), { "data-plays": keyOf(one) });
  if (one) add("Keep", () => keepOrNot(one), { "data-keeps": one.track_id });
  if (asked.file) add("Play", () => playFile(asked.file), { "data-plays": keyOfFile(asked.file) });
  by("asked-actions").replaceChildren(...buttons);
  document.title = `${by("asked-kind").textContent} ${by("asked-title").textContent} – coldstart`;
  markPlaying();
  markKept(isKept);
  return tracks;
}

function showAnswer(asked, about, { tracks, candidates, version }) {
  showResults(tracks, {
    user: asked.kind === "user" || asked.kind === "liked",
    sound: model.plays_sound,
    explain: (track) => explain(asked, track),
    kept: isKept,
    keep: keepOrNot,
    like: (track) => ask({ kind: "tracks", ids: [track.track_id] }),
  });
  const kind = asked.candidates === "all" ? "" : `${KINDS[asked.candidates]} `;
  const summary = tracks.length
    ? `The best ${count(tracks.length)} of ${count(candidates, `${kind}track`)}.`
    : "There is nothing left to recommend.";
  by("summary").textContent = summary;
  by("summary").hidden = false;
  announce(
    `${summary} The first: ${tracks
      .map((track) => track.title)
      .slice(0, 3)
      .join(", ")}`,
  );
  drawTail(model.quantiles, about, tracks);
  aboutRun(version);
}

function fillIn(asked) {
  const { elements } = by("filters");
  elements.candidates.value = asked.candidates;
  elements.k.value = asked.k;
  elements.per_artist.value = asked.per_artist ?? "";
  elements.new_share.value = asked.new_share === null ? "" : Math.round(100 * asked.new_share);
  elements.where.value = asked.where;
}

function setUpFilters() {
  const form = by("filters");
  const filter = () => {
    const { candidates, k, per_artist, new_share, where } = form.elements;
    if (!form.reportValidity()) return;
    const filters = {
      candidates: candidates.value,
      k: Number(k.value) || undefined,
      per_artist: Number(per_artist.value) || null,
      new_share: new_share.value === "" ? null : Number(new_share.value) / 100,
      where: where.value.trim(),
    };
    go({ ...read(), ...filters });
    show();
  };
  form.addEventListener("change", filter);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    filter();
  });
  const { where } = form.elements;
  const column = ([name, type]) => {
    const add = () => {
      const plain = /^[A-Za-z_]\w*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
      where.value = where.value.trim() ? `${where.value.trim()} and ${plain} ` : `${plain} `;
      where.focus();
    };
    const kind = h(
      "span",
      {},
      type === "String" ? "text" : type === "Boolean" ? "true or false" : "number",
    );
    return h("li", {}, h("button", { type: "button", onclick: add }, name, " ", kind));
  };
  by("columns").replaceChildren(...Object.entries(model.columns).map(column));
}

function setUpFiles() {
  const take = (file) => file && ask({ kind: "file", file, name: file.name, ids: undefined });
  by("file").addEventListener("change", (event) => {
    take(event.target.files[0]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  const holds = (event) => event.dataTransfer?.types.includes("Files");
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      if (!holds(event)) return;
      event.preventDefault();
      document.body.classList.add("dragging");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dragging");
    if (!holds(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
}

function aboutRun(version) {
  const fresh = model.tracks - model.known;
  by("about").textContent =
    `Run ${model.run}, version ${version}: ${count(model.tracks, "track")}, ` +
    `${count(fresh)} of them new; ${count(model.listeners, "listener")}. ` +
    `It reads ${model.modalities.join(", ")}.`;
}

async function begin() {
  setUpPlayer(markPlaying);
  try {
    model = await json(address("model"));
  } catch (error) {
    return complain(error);
  }
  aboutRun(model.version);
  setUpFilters();
  setUpFiles();
  setUpSearch((track) => ask({ kind: "tracks", ids: [track.track_id] }));
  setUpList(model.run, {
    sound: model.plays_sound,
    change: () => markKept(isKept),
    more: (ids) => ask({ kind: model.listeners ? "liked" : "tracks", ids }),
  });
  if (!model.hears)
    by("drop-note").textContent =
      `This run reads ${model.modalities.join(", ")}; it can’t hear sound files.`;
  by("listener").addEventListener("submit", (event) => {
    event.preventDefault();
    const user = by("user").value.trim();
    if (user) ask({ kind: "user", user });
  });
  for (const name of ["pointerover", "focusin"]) {
    by("results").addEventListener(name, (event) => {
      pointOut(event.target.closest(".result")?.dataset.id ?? null);
    });
  }
  by("results").addEventListener("pointerleave", () => pointOut(null));
  window.addEventListener("popstate", () => show());
  show();
}

begin();

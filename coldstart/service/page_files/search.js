// The search field: a combobox, as ARIA's authoring practices describe it.

import { address, json } from "./ask.js";
import { announce, by, complain, count, h } from "./dom.js";
import { artistOf, badge } from "./track.js";

const PAUSE = 160; // milliseconds without a key before the service is asked

/** Let the field find tracks; `choose` is given the one that was chosen. */
export function setUpSearch(choose) {
  const field = by("search");
  const list = by("found");
  let tracks = [];
  let active = -1;
  let answered = ""; // the words that the list answers
  let timer;
  let running = new AbortController();

  const close = () => {
    clearTimeout(timer);
    running.abort();
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    activate(-1);
  };

  const activate = (index) => {
    active = index;
    [...list.children].forEach((option, i) => option.setAttribute("aria-selected", i === index));
    if (index < 0) return field.removeAttribute("aria-activedescendant");
    field.setAttribute("aria-activedescendant", `found-${index}`);
    list.children[index].scrollIntoView({ block: "nearest" });
  };

  const take = (index) => {
    const track = tracks[index];
    close();
    field.value = "";
    choose(track);
  };

  const show = (found) => {
    tracks = found;
    const options = tracks.map((track, index) =>
      h(
        "li",
        {
          id: `found-${index}`,
          role: "option",
          "aria-selected": "false",
          onmousedown: (event) => event.preventDefault(), // the field keeps the focus
          onclick: () => take(index),
        },
        h("span", { class: "names" }, h("b", {}, track.title), artistOf(track)),
        badge(track.by),
        h("span", { class: "number" }, count(track.plays, "play")),
      ),
    );
    const none = h(
      "li",
      { class: "none", role: "option", "aria-disabled": "true" },
      "No track has these words.",
    );
    list.replaceChildren(...(options.length ? options : [none]));
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
    activate(-1);
    announce(
      tracks.length
        ? `${count(tracks.length, "track")} found; arrow keys choose`
        : "No track found",
    );
  };

  const ask = async () => {
    running.abort();
    running = new AbortController();
    const { signal } = running;
    const words = field.value;
    const url = `${address("tracks")}?${new URLSearchParams({ q: words, limit: 12 })}`;
    try {
      const answer = await json(url, { signal });
      if (signal.aborted) return;
      complain(null);
      answered = words;
      show(answer.tracks);
    } catch (error) {
      if (error.name !== "AbortError") complain(error);
    }
  };

  field.addEventListener("input", () => {
    clearTimeout(timer);
    if (!field.value.trim()) close();
    else timer = setTimeout(ask, PAUSE);
  });

  field.addEventListener("keydown", async (event) => {
    const open = !list.hidden;
    const last = tracks.length - 1;
    if (event.key === "Escape" && open) close();
    else if (event.key === "ArrowDown") {
      if (open) activate(active < last ? active + 1 : -1);
      else if (field.value.trim()) await ask();
      else return;
    } else if (event.key === "ArrowUp" && open) activate(active < 0 ? last : active - 1);
    else if (event.key === "Enter") {
      event.preventDefault();
      if (!field.value.trim()) return;
      clearTimeout(timer);
      if (list.hidden || answered !== field.value) await ask();
      if (tracks.length && !list.hidden) take(Math.max(active, 0));
      return;
    } else return;
    event.preventDefault();
  });

  field.addEventListener("blur", close);
}

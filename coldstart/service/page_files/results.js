// The list of what is recommended.

import { announce, by, complain, count, h } from "./dom.js";
import { artistOf, badge, nameOf } from "./track.js";
import { keyOf, play, runs } from "./player.js";
import { picture } from "./why.js";

/**
 * Show a list.
 *
 * tracks: of the answer. user: whether a listener asked, whose scores are no cosines.
 * sound: whether the service plays tracks. explain: track → its explanation.
 * kept: track id → whether it is in the visitor's list. keep, like: what these buttons do.
 */
export function showResults(tracks, { user, sound, explain, kept, keep, like }) {
  const most = user ? Math.max(...tracks.map((track) => track.similarity), 0) || 1 : 1;
  const rows = tracks.map((track) => {
    const label = nameOf(track);
    const bar = h("span", { class: "bar" });
    bar.style.width = `${Math.max(0, Math.min(1, track.similarity / most)) * 100}%`;
    const reasons = h("div", { class: "reasons", id: `why-${track.rank}`, hidden: true });
    const button = (text, does, more = {}) =>
      h(
        "button",
        { type: "button", onclick: does, "aria-label": `${text}: ${label}`, ...more },
        text,
      );
    return h(
      "li",
      { class: "result", "data-id": track.track_id },
      h("span", { class: "rank", "aria-hidden": "true" }, String(track.rank)),
      h(
        "div",
        { class: "names" },
        h("h3", {}, track.title),
        h(
          "p",
          { class: "facts" },
          artistOf(track),
          badge(track.by),
          h("span", {}, count(track.plays, "play")),
        ),
      ),
      h(
        "div",
        { class: "similarity" },
        h("span", { class: "unseen" }, user ? "score " : "similarity "),
        h("span", { class: "number" }, track.similarity.toFixed(3)),
        h("span", { class: "track", "aria-hidden": "true" }, bar),
      ),
      h(
        "div",
        { class: "actions" },
        sound && button("Play", () => play(track), { "data-plays": keyOf(track) }),
        button("Why", (event) => toggleWhy(event.target, reasons, track, explain), {
          "aria-expanded": "false",
          "aria-controls": reasons.id,
        }),
        button("Keep", () => keep(track), { "data-keeps": track.track_id }),
        button("More like it", () => like(track)),
      ),
      reasons,
    );
  });
  by("results").replaceChildren(...rows);
  markPlaying();
  markKept(kept);
}

/** Let the buttons say what plays. */
export function markPlaying() {
  for (const button of document.querySelectorAll("[data-plays]")) {
    const on = runs(button.dataset.plays);
    const label = button.getAttribute("aria-label").replace(/^(Play|Pause)/, on ? "Pause" : "Play");
    button.textContent = on ? "Pause" : "Play";
    button.setAttribute("aria-label", label);
    button.closest(".result, .kept, .asked")?.classList.toggle("playing", on);
  }
}

/** Let the buttons say what is in the visitor's list. */
export function markKept(kept) {
  for (const button of document.querySelectorAll("[data-keeps]")) {
    button.textContent = kept(button.dataset.keeps) ? "Kept" : "Keep";
    button.setAttribute("aria-pressed", kept(button.dataset.keeps));
  }
}

async function toggleWhy(button, reasons, track, explain) {
  const open = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", !open);
  reasons.hidden = open;
  if (open || reasons.dataset.state) return;
  reasons.dataset.state = "asked";
  reasons.setAttribute("aria-busy", "true");
  reasons.replaceChildren(h("p", { class: "note" }, "Working it out …"));
  try {
    reasons.replaceChildren(picture(await explain(track), track.similarity));
    announce(`Why ${track.title}: shown`);
  } catch (error) {
    reasons.dataset.state = "";
    reasons.hidden = true;
    button.setAttribute("aria-expanded", "false");
    if (error.name !== "AbortError") complain(error);
  } finally {
    reasons.removeAttribute("aria-busy");
  }
}

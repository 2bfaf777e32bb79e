// One player for the whole page: tracks of the dataset, and the sound file that was asked about.

import { address, needsToken, response } from "./ask.js";
import { announce, by, complain } from "./dom.js";
import { nameOf } from "./track.js";

let playing = null; // key of what the player holds
let own = null; // an address in this page's memory, given back when something else is played
let marked = () => {};

/** Whether this is in the player, and runs. */
export const runs = (key) => key === playing && !by("audio").paused;

/** Let `change` know whenever something begins or ends to play. */
export function setUpPlayer(change) {
  marked = change;
  const audio = by("audio");
  for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, () => marked());
  audio.addEventListener("error", async () => {
    if (!audio.getAttribute("src")) return;
    complain(new Error(await reasonOf(audio)));
    stop();
  });
  by("player-close").addEventListener("click", stop);
}

/** Play a track of the dataset, or pause it if it runs. */
export async function play(track) {
  await toggle(`track ${track.track_id}`, nameOf(track), () => source(track));
}

/** Play a file of the listener's. */
export async function playFile(file) {
  await toggle(`file ${file.name}`, file.name, async () => (own = URL.createObjectURL(file)));
}

export const keyOf = (track) => `track ${track.track_id}`;
export const keyOfFile = (file) => `file ${file.name}`;

async function toggle(key, title, sourceOf) {
  const audio = by("audio");
  if (key === playing) return audio.paused ? audio.play() : audio.pause();
  stop();
  playing = key;
  by("player-title").textContent = title;
  by("player").hidden = false;
  document.body.classList.add("plays");
  try {
    const address = await sourceOf();
    if (key !== playing) return; // something else was chosen meanwhile
    audio.src = address;
    await audio.play();
    announce(`Playing ${title}`);
  } catch (error) {
    // A player's own errors come as its event `error`; a browser may refuse to start by itself.
    if (!(error instanceof DOMException)) {
      stop();
      complain(error);
    }
  }
}

/** Where the player finds a track. It can send no token: then the sound is fetched for it. */
async function source(track) {
  const url = address("tracks", track.track_id, "audio");
  if (!needsToken()) return url;
  const sound = await (await response(url)).blob();
  return (own = URL.createObjectURL(sound));
}

function stop() {
  const audio = by("audio");
  audio.pause();
  audio.removeAttribute("src");
  audio.load();
  if (own) URL.revokeObjectURL(own);
  [own, playing] = [null, null];
  by("player").hidden = true;
  document.body.classList.remove("plays");
  marked();
}

/** Why a player failed, in the service's words if it was the service. */
async function reasonOf(audio) {
  const title = by("player-title").textContent;
  if (!audio.src.startsWith("blob:")) {
    try {
      await response(audio.src, { headers: { range: "bytes=0-0" } });
    } catch (error) {
      return error.message;
    }
  }
  return `This browser can’t play ${title}.`;
}

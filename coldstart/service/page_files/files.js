// The list as files for other programs.

import { address } from "./ask.js";
import { h } from "./dom.js";

const COLUMNS = ["track_id", "title", "artist", "plays", "by"];

/** A table with a header, as spreadsheets and `coldstart` read it. */
export function asCsv(tracks) {
  const rows = tracks.map((track) => COLUMNS.map((name) => cell(track[name])).join(","));
  return [COLUMNS.join(","), ...rows, ""].join("\r\n");
}

/** A playlist; of tracks that the service doesn't play, a comment names the id. */
export function asM3u(tracks, sound) {
  const lines = tracks.flatMap((track) => [
    `#EXTINF:-1,${line(track.artist)} - ${line(track.title)}`,
    `# track_id: ${line(track.track_id)}`,
    ...(sound ? [address("tracks", track.track_id, "audio")] : []),
  ]);
  return ["#EXTM3U", "#PLAYLIST:coldstart", ...lines, ""].join("\n");
}

/** Let the browser save a text as a file. */
export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A cell of a CSV, with quotation marks where they are needed. */
function cell(value) {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) || text !== text.trim() ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A text on one line. */
const line = (text) => String(text).replace(/[\r\n]+/g, " ");

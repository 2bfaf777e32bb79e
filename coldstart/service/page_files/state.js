// What is asked, as it stands in the page's address: links can be shared, and Back works.

export const DEFAULTS = { candidates: "cold", k: 10, per_artist: null, new_share: null, where: "" };

/** What kinds of tracks are called: the service's word → ours. */
export const KINDS = { cold: "new", warm: "known", all: "all" };

/** Sound files of this visit: an address can't hold one, but Back leads to it while it is here. */
const files = new Map();

/**
 * The question in the page's address.
 *
 * kind: `tracks` (like them), `liked` (for who likes them), `user`, `file`, or null.
 */
export function read() {
  const query = new URLSearchParams(location.search);
  const candidates = Object.keys(KINDS).find((key) => KINDS[key] === query.get("tracks"));
  const filters = {
    candidates: candidates ?? DEFAULTS.candidates,
    k: whole(query.get("k"), 1000) ?? DEFAULTS.k,
    per_artist: whole(query.get("per_artist")),
    new_share: share(query.get("new_share")),
    where: query.get("where") ?? "",
  };
  for (const [key, kind] of [
    ["track", "tracks"],
    ["liked", "liked"],
  ]) {
    const ids = query.getAll(key).filter(Boolean);
    if (ids.length) return { kind, ids, ...filters };
  }
  if (query.get("user")) return { kind: "user", user: query.get("user"), ...filters };
  if (query.get("file")) {
    const file = files.get(query.get("file")) ?? null;
    return { kind: "file", file, name: query.get("file"), ...filters };
  }
  return { kind: null, ...filters };
}

/** The address of a question. */
export function addressOf(asked) {
  const query = new URLSearchParams();
  if (asked.kind === "tracks") for (const id of asked.ids) query.append("track", id);
  if (asked.kind === "liked") for (const id of asked.ids) query.append("liked", id);
  if (asked.kind === "user") query.set("user", asked.user);
  if (asked.kind === "file") query.set("file", asked.name);
  if (asked.candidates !== DEFAULTS.candidates) query.set("tracks", KINDS[asked.candidates]);
  for (const key of ["k", "per_artist", "new_share", "where"]) {
    const value = asked[key] ?? DEFAULTS[key];
    if (value !== DEFAULTS[key]) query.set(key, value);
  }
  return query.size ? `?${query}` : location.pathname;
}

/** Go to a question: a step that Back takes back, if it is another one than the present one. */
export function go(asked) {
  if (asked.kind === "file") files.set(asked.name, asked.file);
  const to = new URL(addressOf(asked), location.href);
  if (to.href !== location.href) history.pushState(null, "", to);
}

/** The question as the service wants it, without what is asked about. */
export function options(asked) {
  const { k, candidates, per_artist, new_share, where } = asked;
  return {
    ...{ k, candidates },
    ...(per_artist && { per_artist }),
    ...(new_share !== null && { new_share }),
    ...(where && { where }),
  };
}

function whole(text, most = Infinity) {
  const number = Number(text);
  return text && Number.isInteger(number) && number >= 1 ? Math.min(number, most) : null;
}

function share(text) {
  const number = Number(text);
  return text && number >= 0 && number <= 1 ? number : null;
}

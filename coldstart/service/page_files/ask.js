// Questions to the service. A token, if it wants one, is kept in this page's memory alone.

import { by } from "./dom.js";

const ROOT = new URL("../", import.meta.url);

let token = null;
let asking = null;

/** The address of one of the service's paths, also behind a proxy that adds a prefix. */
export const address = (...parts) => new URL(parts.map(encodeURIComponent).join("/"), ROOT).href;

/** Whether requests need a token, so that no player can make them by itself. */
export const needsToken = () => token !== null;

/** What the service said was wrong, in its words. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/**
 * The response to a request; a Problem if it is an error. A service that wants a token gets it from
 * the form that asks for it.
 */
export async function response(url, options = {}) {
  const sent = token;
  const headers = { ...options.headers, ...(sent && { authorization: `Bearer ${sent}` }) };
  let answer;
  try {
    answer = await fetch(url, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The service doesn’t answer. Is it still running?");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) {
    if (token === sent) await askForToken(sent !== null);
    return response(url, options);
  }
  throw new Problem(answer.status, await detailOf(answer));
}

/** An answer's JSON. */
export const json = async (url, options) => (await response(url, options)).json();

/** The answer to a question that is sent as JSON. */
export const post = (url, content, options = {}) =>
  json(url, {
    ...options,
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(content),
  });

async function detailOf(answer) {
  try {
    return (await answer.json()).detail ?? answer.statusText;
  } catch {
    return `The service answered ${answer.status} ${answer.statusText}.`;
  }
}

/** Show the form for the token, and wait until it is filled in; several requests share one. */
function askForToken(refused) {
  asking ??= new Promise((resolve, reject) => {
    const dialog = by("token");
    const field = by("token-field");
    by("token-refused").hidden = !refused;
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      token = field.value.trim();
      field.value = "";
      dialog.onclose = null;
      dialog.close();
      resolve();
    };
    dialog.onclose = () =>
      reject(new Problem(401, "This service needs a token; reload to give it."));
    dialog.showModal();
  }).finally(() => (asking = null));
  return asking;
}

// Elements, made without markup: text from the catalogue never becomes HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. Properties that begin with `on` are listeners; `class` and names with a hyphen are
 * attributes; all else is a property. Children are nodes or texts; false and null are left out.
 */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class" || key === "for" || key === "role" || key.includes("-")) {
      element.setAttribute(key, value);
    } else element[key] = value;
  }
  const none = [null, undefined, false];
  element.append(...children.flat(Infinity).filter((child) => !none.includes(child)));
  return element;
}

/** An element of a picture. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** The one element of this id. */
export const by = (id) => document.getElementById(id);

const whole = new Intl.NumberFormat("en");

/** 12345 → 12,345 */
export const count = (number, noun = "") =>
  whole.format(number) + (noun && ` ${noun}${number === 1 ? "" : "s"}`);

/** 0.1234 → +0.123, and a true minus sign. */
export const signed = (number) => (number < 0 ? "−" : "+") + Math.abs(number).toFixed(3);

let clearing;

/** Say something in the live region, which screen readers read aloud in their next pause. */
export function announce(text) {
  const region = by("announcement");
  region.textContent = "";
  clearTimeout(clearing);
  clearing = setTimeout(() => (region.textContent = text), 50);
}

/** Show and say what went wrong, or hide the last such message. */
export function complain(error) {
  const message = by("message");
  message.textContent = error ? error.message : "";
  message.hidden = !error;
  if (error) announce(error.message);
}

// Small helpers for elements and numbers.

/** An element. properties: attributes; those that begin with "on" are listeners. children: elements or texts. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined));
  return element;
}

export const byId = id => document.getElementById(id);
const thousands = new Intl.NumberFormat("en");
export const count = number => thousands.format(number);
export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
export const score = value => (value === null || value === undefined ? "unknown" : value.toFixed(3));
export const named = text => (text ? text.replaceAll("_", " ") : "unknown");

let gone = 0;

/** One line at the foot of the page, for a while; read out by screen readers. */
export function say(line, { wrong = false } = {}) {
  const place = byId("message");
  place.textContent = line;
  place.classList.toggle("wrong", wrong);
  place.hidden = false;
  clearTimeout(gone);
  gone = setTimeout(() => (place.hidden = true), wrong ? 10_000 : 4000);
}

export const sayError = error => {
  if (error.name !== "AbortError") say(error.message, { wrong: true });
};

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied");
  } catch {
    say(text);  // the browser does not allow it; then at least it can be read
  }
}

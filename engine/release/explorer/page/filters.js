// The panel of filters: what there is in the release, and what of it is looked at.
import { count, counted, h, named } from "./dom.js";
import { CHOICES, RANGES, hasFilters } from "./state.js";

const TITLES = {
  stage: "Stage", origin: "Origin", split: "Split", iou: "Predicted IoU", stability: "Stability", size: "Relative size",
};
const HINTS = { size: "√(mask area / picture area)" };
const WAIT_MS = 250;

/** facets: of the server, or null until they are there. changed: is called when `state` was changed. */
export function renderFilters(place, state, facets, changed) {
  const clear = h("button", {
    type: "button", class: "quiet", disabled: !hasFilters(state),
    onclick: () => {
      for (const name of CHOICES) state.choices[name] = [];
      for (const name of RANGES) state.ranges[name] = null;
      changed();
    },
  }, "Clear");
  const parts = [h("div", { class: "filters-head" }, h("h2", {}, "Filters"), clear)];
  const refresh = () => (clear.disabled = !hasFilters(state));
  for (const name of CHOICES) parts.push(choice(name, state, facets, () => (refresh(), changed())));
  for (const name of RANGES) parts.push(range(name, state, facets, () => (refresh(), changed())));
  place.replaceChildren(...parts);
}

function choice(name, state, facets, changed) {
  const there = Object.entries(facets?.choices[name] ?? {});
  for (const value of state.choices[name]) if (!there.some(([one]) => one === value)) there.push([value, 0]);
  const boxes = there.map(([value, masks]) => h("label", { class: "choice" },
    h("input", {
      type: "checkbox", value, checked: state.choices[name].includes(value),
      onchange: event => {
        const others = state.choices[name].filter(one => one !== value);
        state.choices[name] = event.target.checked ? [...others, value] : others;
        changed();
      },
    }),
    h("span", {}, named(value)),
    h("span", { class: "amount" }, facets ? count(masks) : ""),
  ));
  return h("fieldset", { "data-filter": name }, h("legend", {}, TITLES[name]),
    boxes.length ? boxes : h("p", { class: "faint" }, facets ? "none" : "counting …"));
}

function range(name, state, facets, changed) {
  const [least, most] = ends(state.ranges[name]);
  const told = h("output", { class: "amount" });
  const low = slider(`${TITLES[name]}, at least`, least), high = slider(`${TITLES[name]}, at most`, most);
  const bars = histogram(facets?.ranges[name]);
  let waiting = 0;
  const show = () => {
    told.textContent = `${(+low.value).toFixed(2)} – ${(+high.value).toFixed(2)}`;
    bars.querySelectorAll("rect").forEach((bar, place, all) => {
      const at = (place + 0.5) / all.length;
      bar.classList.toggle("out", at < +low.value || at > +high.value);
    });
  };
  const moved = event => {
    if (+low.value > +high.value) event.target.value = event.target === low ? high.value : low.value;
    show();
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      state.ranges[name] = text(+low.value, +high.value);
      changed();
    }, WAIT_MS);
  };
  low.addEventListener("input", moved);
  high.addEventListener("input", moved);
  show();
  const unknown = facets?.ranges[name].unknown;
  return h("fieldset", { "data-filter": name },
    h("legend", { title: HINTS[name] }, TITLES[name]), told,
    h("div", { class: "range" }, bars, low, high),
    unknown ? h("p", { class: "faint" }, `${counted(unknown, "mask")} without one`) : null);
}

const slider = (label, value) =>
  h("input", { type: "range", min: 0, max: 1, step: 0.01, value, "aria-label": label });

function ends(range) {
  const [least, most] = (range ?? "-").split("-");
  return [least === "" ? 0 : +least, most === "" || most === undefined ? 1 : +most];
}

/** As the server takes it: an end that leaves nothing out is not said, since a score may lie beyond it. */
function text(least, most) {
  if (least <= 0 && most >= 1) return null;
  return `${least <= 0 ? "" : +least.toFixed(2)}-${most >= 1 ? "" : +most.toFixed(2)}`;
}

function histogram(found) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 28");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const bins = found?.bins ?? [], highest = Math.max(1, ...bins);
  bins.forEach((masks, place) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const height = masks ? Math.max(1, 28 * Math.sqrt(masks / highest)) : 0;
    const wide = 100 / bins.length;
    const sides = { x: place * wide + 0.2, y: 28 - height, width: wide - 0.4, height };
    for (const [name, value] of Object.entries(sides)) bar.setAttribute(name, value);
    svg.append(bar);
  });
  return svg;
}

/** The filters in words, for where the panel is not seen. */
export function filtersInWords(state) {
  const parts = CHOICES.filter(name => state.choices[name].length)
    .map(name => `${TITLES[name].toLowerCase()} ${state.choices[name].map(named).join(" or ")}`);
  for (const name of RANGES) if (state.ranges[name]) parts.push(`${TITLES[name].toLowerCase()} ${state.ranges[name].replace("-", "–")}`);
  return parts.join(", ");
}


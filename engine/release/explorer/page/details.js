// The record of a mask, and the list of all masks of a picture.
import { ask } from "./api.js";
import { colourOf, css } from "./colours.js";
import { copy, count, h, named, score } from "./dom.js";

/** What is known of a mask. context: {release, picture, lineage, command} */
export function maskRecord(mask, context) {
  const { picture } = context, share = (100 * mask.area) / (picture.width * picture.height);
  const rows = [
    ["Predicted IoU", score(mask.predicted_iou)],
    ["Stability", score(mask.stability_score)],
    ["Stage", `${named(mask.stage)}, round ${mask.round}`],
    ["Origin", named(mask.origin)],
    ["By", mask.annotator || "unknown"],
    ["Area", `${count(mask.area)} px, ${share < 0.1 ? share.toFixed(3) : share.toFixed(1)} % of the picture`],
    ["Box", numbers(mask.bbox_xyxy)],
    ["Prompt", promptOf(mask)],
    ["Model", code(mask.model_id)],
    ["Generator settings", code(mask.generator_config)],
    ["Seen by the model", numbers(mask.crop_box_xyxy)],
    ["Label", mask.label || null],
    ["In the workspace", code(mask.content_id)],
    ["Damaged", mask.broken ?? null],
  ];
  return h("div", {},
    h("dl", {}, rows.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]).flat()),
    lineage(mask, context));
}

function lineage(mask, { release, lineage: known, command }) {
  if (!known) {
    const line = `sam-engine explain WORKSPACE ${mask.id}`;
    return h("p", { class: "faint lineage-none" }, "Its whole chain, from its workspace: ",
      h("button", { type: "button", class: "quiet code", title: "Copy", onclick: () => copy(line) }, line));
  }
  const place = h("div", { class: "lineage", "aria-live": "polite" });
  const button = h("button", {
    type: "button", class: "wide",
    onclick: async () => {
      button.disabled = true;
      place.textContent = "Reading the workspace …";
      try {
        place.replaceChildren(...chain(await ask(`/api/${release}/masks/${mask.content_id}/lineage`)));
        button.remove();
        place.scrollIntoView({ block: "nearest" });
      } catch (error) {
        place.textContent = error.message;
        button.disabled = false;
      }
    },
  }, "Where it came from");
  return h("div", {}, button, place);
}

/** From the picture to the model, and from that to the models before it. */
function chain({ mask, image, events, models }) {
  const cost = mask.clicks || mask.seconds ? [`${mask.clicks} clicks, ${mask.seconds.toFixed(1)} s`] : [];
  const did = events.length ? [`${events.map(event => `${event.kind} at ${event.at_s.toFixed(1)} s`).join(", ")}`] : [];
  return [h("ol", { class: "chain" },
    h("li", {}, h("b", {}, "Picture "), image.source || image.path, h("small", {}, `${image.width}×${image.height} px, ${image.split}`)),
    h("li", {}, h("b", {}, "Mask "), `in ${named(mask.table)}, round ${mask.round}`, [...cost, ...did].map(line => h("small", {}, line))),
    models.map(model => h("li", {}, h("b", {}, "Model "), model.name, " ", code(model.id), trained(model).map(line => h("small", {}, line)))))];
}

function trained(model) {
  if (!model.stage) return [model.notes || "a start model"];
  const { versions = {}, selection } = model.trained_on;
  const tables = Object.entries(versions).map(([table, version]) => `${named(table)} version ${version}`).join(", ");
  return [`retrained after ${named(model.stage)} round ${model.round}, seed ${model.seed}`, `on ${tables || "nothing that is known"}${selection ? ` (${selection})` : ""}`];
}

function promptOf(mask) {
  const points = mask.points ?? [], on = points.filter(point => point.label === 1).length, parts = [];
  if (on) parts.push(on === 1 ? "1 point on it" : `${on} points on it`);
  if (points.length > on) parts.push(points.length - on === 1 ? "1 point off it" : `${points.length - on} points off it`);
  if (mask.prompt_box_xyxy?.length) parts.push(`box ${numbers(mask.prompt_box_xyxy)}`);
  if (mask.mended) parts.push("the mask that was there before");
  return parts.join(", ") || "none";
}

const numbers = sides => (sides?.length ? sides.map(side => Math.round(side)).join(", ") : null);
const code = text => (text ? h("code", {}, text) : null);

/** The masks of a picture as a list to choose from; the lowest score first, then those without one. */
export function maskList(masks, { by, context, choose, hover }) {
  const value = mask => mask.predicted_iou ?? 2;
  const ordered = [...masks].sort((a, b) => value(a) - value(b) || a.area - b.area);
  const list = h("ul", { class: "masks", role: "listbox", "aria-label": "Masks of the picture", tabindex: 0 }, ordered.map(mask => {
    const dot = h("span", { class: "dot" });
    dot.style.setProperty("--dot", css(colourOf(mask, by, context)));
    return h("li", {
      role: "option", id: `mask-${mask.id}`, "aria-selected": "false",
      onclick: () => choose(mask), onpointerenter: () => hover(mask), onpointerleave: () => hover(null),
    }, dot, h("span", {}, `#${mask.id}`), h("span", { class: "amount" }, score(mask.predicted_iou)), h("span", { class: "amount" }, count(mask.area)));
  }));
  list.addEventListener("keydown", event => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !ordered.length) return;
    event.preventDefault();
    event.stopPropagation();
    const at = ordered.findIndex(mask => `mask-${mask.id}` === list.getAttribute("aria-activedescendant"));
    choose(ordered[Math.min(ordered.length - 1, Math.max(0, at + step))]);
  });
  return list;
}

/** Shows which mask of a list is chosen, or that none is. */
export function selectInList(list, mask) {
  const before = list.querySelector("[aria-selected=true]"), now = mask && list.querySelector(`#mask-${mask.id}`);
  before?.setAttribute("aria-selected", "false");
  if (!now) return list.removeAttribute("aria-activedescendant");
  now.setAttribute("aria-selected", "true");
  list.setAttribute("aria-activedescendant", now.id);
  now.scrollIntoView({ block: "nearest" });
}

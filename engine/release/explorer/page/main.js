// The page: what the address says is shown, and what is done here comes into the address.
import { ask } from "./api.js";
import { byId, counted, h, sayError } from "./dom.js";
import { renderFilters } from "./filters.js";
import { showHelp } from "./help.js";
import { Marks } from "./marks.js";
import { Overview } from "./overview.js";
import { readState, writeState } from "./state.js";
import { Viewer } from "./viewer.js";

const context = {
  state: readState(location.search),
  releases: [],
  facets: null,
  names: { stage: [], origin: [] },
  release: () => context.releases[+context.state.side] ?? context.releases[0],
  link: changes => writeState({ ...context.state, ...changes }),
  open(picture, mask = null) {
    Object.assign(context.state, { picture, mask });
    context.changed("push");
  },
  close() {
    const { picture } = context.state;
    Object.assign(context.state, { picture: null, mask: null });
    context.changed("push").then(() => overview.focus(picture));
  },
  /** how: "push" for a step that the browser goes back over, "replace", or "address" where all is shown already. */
  async changed(how = "replace") {
    history[how === "push" ? "pushState" : "replaceState"](null, "", writeState(context.state));
    if (how !== "address") await show();
  },
  marksChanged() {
    overview.showMarks();
    viewer.showMarks();
  },
};
context.marks = new Marks(context);
const overview = new Overview(byId("overview"), context);
const viewer = new Viewer(byId("viewer"), context);

async function show() {
  const { state } = context, open = state.picture !== null;
  byId("overview").hidden = open;
  byId("filters").hidden = open;
  document.title = `${open ? `#${state.picture} · ` : ""}${context.release().name}`;
  try {
    if (open) {
      await viewer.show();
    } else {
      viewer.hide();
      await overview.show();
      viewer.learn(context.release().key, overview.query(), overview.listed);
    }
  } catch (error) {
    sayError(error);
  }
}

function filters() {
  renderFilters(byId("filters"), context.state, context.facets, () => {
    context.state.page = "1";
    context.changed();
  });
}

async function showSide() {
  const { releases, state } = context, release = context.release();
  byId("title").textContent = release.name;
  byId("summary").textContent = [counted(release.images, "picture"), counted(release.masks, "mask"), release.blurred.length ? "faces blurred" : "nothing blurred",
    release.withheld ? "withheld" : ""].filter(Boolean).join(" · ");
  byId("sides").replaceChildren(...(releases.length < 2 ? [] : releases.map((one, side) => h("button", {
    type: "button", "aria-pressed": String(one === release), title: `List the pictures of ${one.name}`,
    onclick: () => {
      Object.assign(state, { side: String(side), picture: null, mask: null, page: "1" });
      context.changed("push").then(showSide);
    },
  }, one.name))));
  byId("title").hidden = releases.length > 1;
  context.marks.use();
  context.facets = null;
  filters();
  try {
    context.facets = await ask(`/api/${release.key}/facets`);
    for (const name of ["stage", "origin"]) context.names[name] = Object.keys(context.facets.choices[name]).sort();
    filters();
  } catch (error) {
    sayError(error);
  }
}

/** To a picture, else to a mask, of this number. */
async function go(text) {
  const number = text.trim().replace(/^#/, ""), { key, name } = context.release();
  if (!/^\d+$/.test(number)) return sayError(new Error(`${text.trim() || "Nothing"} is no number of a picture or mask`));
  try {
    const { picture, mask } = await ask(`/api/${key}/find?number=${number}`);
    if (!picture) return sayError(new Error(`${name} has no picture and no mask ${number}`));
    byId("number").value = "";
    document.activeElement.blur();
    context.open(picture, mask);
  } catch (error) {
    sayError(error);
  }
}

const KEYS_OF_VIEWER = {
  ArrowLeft: () => viewer.step(-1), ArrowRight: () => viewer.step(1),
  n: () => viewer.cycle(1), N: () => viewer.cycle(-1),
  z: () => viewer.zoomToSelected(), "+": () => viewer.zoom(1.5), "=": () => viewer.zoom(1.5), "-": () => viewer.zoom(1 / 1.5), 0: () => viewer.fit(),
  x: () => viewer.toggleMark(),
  m: () => {
    context.state.masks = context.state.masks === "on" ? "off" : "on";
    context.changed("address").then(() => viewer.repaint());
  },
  Escape: () => viewer.unselect() || context.close(),
};
const KEYS_OF_GRID = { PageDown: () => overview.turn(+context.state.page + 1), PageUp: () => overview.turn(+context.state.page - 1) };
const KEYS = { "?": showHelp, "/": () => byId("number").focus() };

function onKey(event) {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const types = target.matches("input:not([type=checkbox]):not([type=range]), select, textarea");
  if (types && key === "Escape") return target.blur();
  if (types || (target.matches("input[type=range]") && key.startsWith("Arrow"))) return;
  const keys = { ...KEYS, ...(viewer.isOpen ? KEYS_OF_VIEWER : KEYS_OF_GRID) };
  const act = keys[key] ?? keys[key.toLowerCase()];
  if (!act || event.defaultPrevented) return;
  event.preventDefault();
  act();
}

async function start() {
  document.addEventListener("keydown", onKey);
  byId("help-button").addEventListener("click", showHelp);
  byId("home").addEventListener("click", event => {
    event.preventDefault();
    context.state = readState("");
    context.changed("push").then(filters);
  });
  byId("go").addEventListener("submit", event => {
    event.preventDefault();
    go(byId("number").value);
  });
  window.addEventListener("popstate", async () => {
    const { side } = context.state;
    context.state = readState(location.search);
    if (side === context.state.side) filters();
    else showSide();
    show();
  });
  try {
    Object.assign(context, await ask("/api/releases"));
  } catch (error) {
    return sayError(error);
  }
  if (!context.releases[+context.state.side]) context.state.side = "0";
  await Promise.all([show(), showSide()]);
}

start();

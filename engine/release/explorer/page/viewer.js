// One picture, or the same picture of two releases side by side, with what is known of its masks.
import { ask } from "./api.js";
import { colourOf, givePlaces } from "./colours.js";
import { maskList, maskRecord, selectInList } from "./details.js";
import { count, counted, h, say } from "./dom.js";
import { filtersInWords } from "./filters.js";
import { Loaded } from "./loaded.js";
import { Pane } from "./pane.js";
import { PER_PAGE } from "./overview.js";
import { Sequence } from "./sequence.js";
import { filterQuery } from "./state.js";

const COLOURS = { mask: "each mask", iou: "predicted IoU", stability: "stability", stage: "stage", origin: "origin", difference: "difference" };
const PAINTED_ALPHA = 0.55;
const TELL_MS = 60;

export class Viewer {
  #loaded = new Loaded();
  #sequence = new Sequence();
  #panes = [];
  #shown = [];  // by pane: what `Loaded` gives, or null where the release has no such picture
  #stack = [];  // masks at the place that was pointed at or clicked last
  #place = null;
  #turn = 0;
  #moving = false;
  #pointed = null;
  #telling = 0;
  #active = 0;

  /** context: {state, releases, release(), marks, names, link(changes), changed(how), close()} of the page. */
  constructor(element, context) {
    Object.assign(this, { element, context });
    this.bar = h("div", { class: "bar" });
    this.panes = h("div", { class: "panes" });
    this.panel = h("aside", { class: "panel", "aria-label": "Masks" });
    this.under = h("div", { class: "under-pointer" });
    this.record = h("div", { class: "record" });
    this.list = h("div", { class: "list" });
    this.panel.append(this.under, this.record, this.list);
    element.append(this.bar, h("div", { class: "columns" }, this.panes, this.panel));
  }

  get isOpen() {
    return !this.element.hidden;
  }

  /** What the grid has listed need not be asked again. */
  learn(release, query, listed) {
    this.#sequence.use(release, query);
    this.#sequence.learn(listed);
  }

  /** The picture that the state names. Rejects where it cannot be read. */
  async show() {
    const { state } = this.context, turn = ++this.#turn;
    this.element.hidden = false;
    this.#startPanes();
    const sequence = filterQuery(state);
    sequence.set("sort", state.sort);
    sequence.set("limit", PER_PAGE);
    this.#sequence.use(this.context.release().key, sequence);
    const placed = this.#sequence.placeOf(state.picture);
    placed.catch(() => {});
    const loaded = await this.#load(state.picture);
    if (turn !== this.#turn) return;
    this.#shown = loaded;
    this.#stack = [];
    const opened = this.#panes.map((pane, side) => this.#showIn(pane, side));
    const painted = this.repaint();
    this.#choose(this.#maskOfState(), { quiet: true });
    this.#renderBar();
    await Promise.all([...opened, painted]);
    if (turn !== this.#turn) return;
    this.element.dataset.shown = state.picture;  // picture and masks can be seen now; the list takes its time
    this.#renderList();
    this.#place = await placed;
    if (turn !== this.#turn) return;
    if (this.#place !== null) {
      state.page = String(Math.floor(this.#place / PER_PAGE) + 1);
      this.context.changed("address");
    }
    this.#renderBar();
    this.#fetchAhead(turn);
  }

  hide() {
    this.#turn++;
    this.element.hidden = true;
  }

  /** Colours, and which masks are seen, from the state. */
  async repaint() {
    const { state } = this.context, turn = this.#turn;
    this.element.classList.toggle("without-masks", state.masks !== "on");
    await Promise.all(this.#panes.map(async (pane, side) => {
      pane.opacity = state.opacity;
      const loaded = this.#shown[side];
      if (!loaded) return;
      pane.setShown(orderOf(loaded.picture.masks));
      const bitmap = await this.#painted(this.#shown, side);
      if (turn === this.#turn) pane.setBitmap(bitmap);
    }));
  }

  /** The painted masks of a pane. both: what all panes show. scale: of the picture, by default as it is seen whole. */
  async #painted(both, side, scale = this.#panes[side].scaleFor(both[side].picture)) {
    const { url, picture, painted } = both[side], by = this.#by(), context = colourContext(this.context, both, side);
    const order = orderOf(picture.masks), colours = order.map(place => colourOf(picture.masks[place], by, context));
    const key = `${scale} ${colours.join(" ")}`;
    if (painted.key !== key) {
      painted.key = key;
      painted.answer = this.#loaded.painter.ask("paint", { url, order, scale, alpha: PAINTED_ALPHA, colours });
    }
    return (await painted.answer).bitmap;
  }

  /** Paint the masks of a pane as large as the picture is. */
  async #enlarge(side) {
    const turn = this.#turn, bitmap = await this.#painted(this.#shown, side, 1);
    if (turn === this.#turn) this.#panes[side].setBitmap(bitmap);
  }

  /** The picture so many places on. */
  async step(by) {
    if (this.#place === null) return say("This picture does not pass the filters; there is none beside it");
    const next = await this.#sequence.at(this.#place + by);
    if (!next) return say(by < 0 ? "This is the first picture" : "This is the last picture");
    this.#place += by;
    Object.assign(this.context.state, { picture: next.image_id, mask: next.mask });
    this.context.changed("replace");
  }

  /** The next mask of those at the place that was pointed at last; from the smallest to the largest. */
  cycle(by) {
    const stack = this.#stack, at = stack.findIndex(mask => mask.id === this.selected?.id);
    if (!stack.length) return say("Point at a mask first");
    this.#choose(stack[at < 0 ? (by > 0 ? 0 : stack.length - 1) : (at + by + stack.length) % stack.length]);
  }

  get selected() {
    return this.#panes[this.#active]?.selected ?? null;
  }

  /** Take the selection away; false where there was none. */
  unselect() {
    const was = this.selected !== null;
    this.#choose(null);
    return was;
  }

  zoom(factor) {
    this.#panes[this.#active].zoom(factor);
  }

  fit() {
    this.#panes[this.#active].fit();
  }

  zoomToSelected() {
    if (this.selected) this.#panes[this.#active].zoomTo(this.selected);
    else say("Choose a mask first");
  }

  toggleMark() {
    const picture = this.#shown[0]?.picture;
    if (picture) this.context.marks.set(picture, !this.context.marks.has(picture));
  }

  showMarks() {
    if (this.isOpen && this.#shown[0]) this.#renderBar();
  }

  #startPanes() {
    if (this.#panes.length) return;
    const { releases } = this.context;
    this.#panes = releases.map(release => new Pane(release.name));
    this.panes.append(...this.#panes.map(pane => pane.element));
    this.#panes.forEach((pane, at) => {
      pane.start();
      pane.onhover = (hovered, under) => this.#hovered(at, hovered, under);
      pane.onselect = mask => {
        this.#active = at;
        this.#choose(mask);
      };
      pane.onmove = () => this.#moveOthers(at);
      pane.onenlarged = () => this.#enlarge(at);
    });
  }

  /** The pane's release: the first pane shows the one whose pictures are listed. */
  #releaseOf(side) {
    const { releases, state } = this.context;
    return releases[(side + +state.side) % releases.length];
  }

  /** What the panes show of a picture of the first one's release; null where the other has no such picture. */
  async #load(id) {
    const query = filterQuery(this.context.state).toString(), [release, other] = this.#panes.map((_, side) => this.#releaseOf(side));
    const first = await this.#loaded.get(release.key, id, query);
    givePlaces(first.picture.masks);
    if (!other) return [first];
    const { picture } = await ask(`/api/${other.key}/find?content=${first.picture.content_id}`);
    if (!picture) return [first, null];
    const second = await this.#loaded.get(other.key, picture, query);
    givePlaces(second.picture.masks, first.picture.masks);
    return [first, second];
  }

  async #showIn(pane, side) {
    const loaded = this.#shown[side], release = this.#releaseOf(side);
    pane.element.classList.toggle("missing", !loaded);
    const passing = loaded?.picture.masks.filter(mask => mask.shown).length, all = loaded?.picture.masks.length;
    const some = passing === all ? counted(all ?? 0, "mask") : `${count(passing)} of ${counted(all, "mask")}`;
    pane.caption.textContent = loaded ? `${release.name}: #${loaded.picture.image_id}, ${some}${this.#onlyHere(side)}` : `${release.name} does not have this picture`;
    pane.caption.hidden = this.context.releases.length < 2;
    if (loaded) await pane.show(loaded, loaded.jpeg);
  }

  /** How many masks the other release lacks; they are orange, others grey. */
  #onlyHere(side) {
    const other = this.#shown[1 - side]?.picture.masks;
    if (!other) return "";
    const there = new Set(other.map(mask => mask.content_id));
    return `, ${count(this.#shown[side].picture.masks.filter(mask => mask.shown && !there.has(mask.content_id)).length)} only here`;
  }

  #maskOfState() {
    const { mask } = this.context.state;
    return this.#shown[0]?.picture.masks.find(one => one.id === mask) ?? null;
  }

  #by() {
    const { state, releases } = this.context;
    return state.colour ?? (releases.length > 1 ? "difference" : "mask");
  }

  #colourContext(side) {
    return colourContext(this.context, this.#shown, side);
  }

  #hovered(side, hovered, under) {
    if (hovered) this.#active = side;
    if (under.length && !this.selected) this.#stack = under;
    if (this.lastHovered === hovered && this.lastUnder === under.length) return;
    [this.lastHovered, this.lastUnder] = [hovered, under.length];
    this.#panes.forEach((pane, at) => {
      if (at !== side) pane.hover(hovered ? this.#same(at, hovered) : null);
    });
    this.#pointed = { hovered, under, side, turn: this.#turn };
    this.#telling ||= setTimeout(() => this.#tellPointed(), TELL_MS);
  }

  /** The panel follows the pointer after a moment: the outline, which is at it at once, is what has to be smooth. */
  #tellPointed() {
    this.#telling = 0;
    const { hovered, under, side, turn } = this.#pointed;
    if (turn !== this.#turn) return;
    this.#renderUnder(!under.length && this.selected ? this.#stack : under, side);
    if (!this.selected && hovered) this.#renderRecord(hovered, side);
  }

  /** The same mask in another pane, by the workspace's id. */
  #same(side, mask) {
    return this.#shown[side]?.picture.masks.find(one => one.content_id === mask.content_id && one.shown) ?? null;
  }

  #choose(mask, { quiet = false, fromList = false } = {}) {
    const side = this.#active;
    if (mask) {
      const [x0, y0, x1, y1] = mask.bbox_xyxy;
      if (!this.#stack.some(one => one.id === mask.id)) this.#stack = [mask];
      if (fromList) this.#panes[side].hover(null);
      this.record.dataset.box = [x0, y0, x1, y1].join(" ");
    }
    this.#panes.forEach((pane, at) => pane.picture && pane.select(!mask ? null : at === side ? mask : this.#same(at, mask)));
    this.#renderUnder(mask ? this.#stackAt(mask, side) : [], side);
    this.#renderRecord(mask, side);
    this.context.state.mask = mask?.id ?? null;
    if (quiet) return;
    this.#renderList(side);
    this.context.changed("address");
  }

  /** What lies where a mask was clicked; for one of the list, what lies in its middle. */
  #stackAt(mask, side) {
    const under = this.#panes[side].masksUnderPointer();
    if (under.some(one => one.id === mask.id)) this.#stack = under;
    return this.#stack;
  }

  #renderUnder(under, side) {
    const context = this.#colourContext(side), selected = this.selected;
    if (!under.length) {
      this.under.replaceChildren(h("p", { class: "faint" }, selected ? "Nothing else is here" : "Point at a mask; click for the one below it, or press N"));
      return;
    }
    const chips = under.slice(0, 12).map(mask => {
      const chip = h("button", {
        type: "button", class: "chip dotted", "aria-pressed": String(mask.id === selected?.id), title: `${count(mask.area)} px`,
        onclick: () => this.#choose(mask),
      }, `#${mask.id}`);
      chip.style.setProperty("--dot", `rgb(${colourOf(mask, this.#by(), context).join(" ")})`);
      return chip;
    });
    this.under.replaceChildren(h("p", {}, under.length === 1 ? "One mask here" : `${under.length} masks here, the smallest first`),
      h("div", { class: "chips" }, chips, under.length > 12 ? h("span", { class: "faint" }, `and ${under.length - 12} more`) : null));
  }

  #renderRecord(mask, side) {
    if (!mask) {
      this.record.replaceChildren();
      return;
    }
    const release = this.#releaseOf(side), { lineage, command, releases } = this.context;
    const other = releases.length > 1 ? this.#releaseOf(1 - side).name : null;
    const there = this.#shown[1 - side]?.picture.masks.find(one => one.content_id === mask.content_id);
    const beside = other && h("p", { class: "faint" }, there ? `Also in ${other}${there.shown ? "" : ", where the filters leave it out"}` : `Not in ${other}`);
    this.record.replaceChildren(h("h2", {}, `Mask #${mask.id}`, mask.id === this.selected?.id ? null : h("span", { class: "faint" }, " under the cursor")),
      beside ?? "", maskRecord(mask, { release: release.key, picture: this.#shown[side].picture, lineage, command }));
  }

  #renderList(side = this.#active) {
    const loaded = this.#shown[side];
    if (!loaded) return this.list.replaceChildren();
    const key = `${side} ${loaded.url} ${this.#by()}`;
    if (this.list.dataset.of !== key) {
      this.list.dataset.of = key;
      const masks = loaded.picture.masks.filter(mask => mask.shown);
      const list = maskList(masks, {
        by: this.#by(), context: this.#colourContext(side), choose: mask => {
          this.#active = side;
          this.#choose(mask, { fromList: true });
        }, hover: mask => this.#panes[side].hover(mask),
      });
      this.list.replaceChildren(h("h2", {}, counted(masks.length, "mask"), h("span", { class: "faint" }, " number, predicted IoU, pixels")), list);
    }
    selectInList(this.list.querySelector("ul"), this.selected);
  }

  #renderBar() {
    const { state, releases, marks } = this.context, picture = this.#shown[0]?.picture, place = this.#place;
    if (!picture) return;
    const focused = this.bar.contains(document.activeElement) ? document.activeElement.id : "";
    const words = filtersInWords(state);
    const colours = Object.entries(COLOURS).filter(([by]) => by !== "difference" || releases.length > 1);
    const button = (id, label, title, act, more = {}) => h("button", { type: "button", id, title, "aria-label": title, onclick: act, ...more }, label);
    this.bar.replaceChildren(
      button("back", "← All pictures", "All pictures (Esc)", () => this.context.close()),
      button("before", "‹", "Picture before (←)", () => this.step(-1), { disabled: place === null || place === 0 }),
      button("after", "›", "Next picture (→)", () => this.step(1), { disabled: place === null || place >= this.#sequence.total - 1 }),
      h("p", { class: "found" }, h("b", {}, `#${picture.image_id}`),
        h("span", { class: "faint" }, place === null ? "" : `${count(place + 1)} of ${count(this.#sequence.total)}`),
        h("span", { class: "faint source", title: `${picture.source} · ${picture.width}×${picture.height} px · ${picture.split}` }, picture.source),
        words ? h("span", { class: "filtered", title: words }, "filtered") : null),
      h("label", {}, "Colour ", h("select", {
        id: "colour",
        onchange: event => {
          state.colour = event.target.value;
          this.context.changed("address");
          this.repaint();
          this.#choose(this.selected);
        },
      }, colours.map(([value, name]) => h("option", { value, selected: value === this.#by() }, name)))),
      h("label", { class: "opacity", title: "How much the masks cover (M takes them away)" }, "Masks ", h("input", {
        type: "range", id: "opacity", min: 0, max: 1, step: 0.05, value: state.opacity,
        oninput: event => {
          state.opacity = event.target.value;
          for (const pane of this.#panes) pane.opacity = state.opacity;
        },
        onchange: () => this.context.changed("address"),
      })),
      h("div", { class: "zooms", role: "group", "aria-label": "Zoom" },
        button("zoom-out", "−", "Smaller (-)", () => this.zoom(1 / 1.5)), button("zoom-in", "+", "Larger (+)", () => this.zoom(1.5)), button("fit", "Fit", "Whole picture (0)", () => this.fit())),
      h("label", { class: "switch", title: "Mark, to copy its number or send it to annotators (X)" }, h("input", {
        type: "checkbox", id: "mark", checked: marks.has(picture), onchange: () => this.toggleMark(),
      }), " Mark"),
    );
    if (focused) document.getElementById(focused)?.focus();
  }

  /** The pictures beside this one, painted, so that they are there when they are wanted. */
  async #fetchAhead(turn) {
    if (this.#place === null) return;
    for (const by of [1, -1]) {
      try {
        const beside = await this.#sequence.at(this.#place + by);
        if (turn !== this.#turn) return;
        if (!beside) continue;
        const both = await this.#load(beside.image_id);
        if (turn !== this.#turn) return;
        await Promise.all(both.map((loaded, side) => loaded && this.#painted(both, side)));
      } catch {
        // it is asked again, and its error told, when it is wanted
      }
    }
  }

  #moveOthers(from) {
    if (this.#moving) return;
    this.#moving = true;
    this.#panes.forEach((pane, at) => {
      if (at !== from && pane.picture) pane.follow(this.#panes[from]);
    });
    this.#moving = false;
  }
}

/** Places of the masks that are seen, the largest first: the smallest is painted last. */
function orderOf(masks) {
  return masks.map((_, place) => place).filter(place => masks[place].shown).sort((a, b) => masks[b].area - masks[a].area);
}

function colourContext({ names }, both, side) {
  const other = both[1 - side]?.picture.masks;
  return { names, others: other ? new Set(other.map(mask => mask.content_id)) : null };
}

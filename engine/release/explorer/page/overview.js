// The grid of pictures, a page at a time.
import { ask, thumbnailUrl } from "./api.js";
import { colourOf, css, givePlaces, ofScore } from "./colours.js";
import { count, counted, h, say, sayError, score } from "./dom.js";
import { Painter } from "./painter.js";
import { pictureUrl } from "./api.js";
import { filterQuery } from "./state.js";

export const PER_PAGE = 48;
const SORTS = {
  number: "Number", iou: "Lowest predicted IoU", stability: "Lowest stability", most: "Most masks", fewest: "Fewest masks",
  small: "Smallest mask", large: "Largest mask",
};
const SCORED = { iou: "IoU", stability: "stability", small: "size", large: "size" };
const DIM = 0.35;  // masks beside the one whose score is told

export class Overview {
  listed = { total: 0, offset: 0, pictures: [] };
  #painter = null;
  #seen;
  #asking = new AbortController();

  /** context: {state, release(), marks, open(id, mask), changed(), names} of the page. */
  constructor(place, context) {
    this.context = context;
    this.tiles = h("ol", { class: "tiles", "aria-label": "Pictures" });
    this.tiles.addEventListener("keydown", event => this.#walk(event));
    this.bar = h("div", { class: "bar" });
    this.pager = h("nav", { class: "pager", "aria-label": "Pages" });
    place.append(this.bar, this.tiles, this.pager);
    this.#seen = new IntersectionObserver(entries => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting) {
          this.#seen.unobserve(target);
          this.#paint(target);
        }
      }
    }, { rootMargin: "200px" });
  }

  /** Ask for the page that the state names, and show it. */
  async show() {
    const { state } = this.context, query = this.query();
    this.#asking.abort();
    const asking = this.#asking = new AbortController();
    query.set("offset", (Math.max(1, +state.page || 1) - 1) * PER_PAGE);
    this.tiles.setAttribute("aria-busy", "true");
    try {
      const path = `/api/${this.context.release().key}/pictures?${query}`;
      this.listed = await ask(path, { signal: asking.signal });
      if (!this.listed.pictures.length && this.listed.total) {
        state.page = String(this.#pages());
        return this.show();
      }
      this.#render();
    } catch (error) {
      sayError(error);
    } finally {
      if (asking === this.#asking) this.tiles.removeAttribute("aria-busy");  // else a later question is open
    }
  }

  /** What is asked of the server for a page. */
  query() {
    const query = filterQuery(this.context.state);
    query.set("sort", this.context.state.sort);
    query.set("limit", PER_PAGE);
    return query;
  }

  #pages() {
    return Math.max(1, Math.ceil(this.listed.total / PER_PAGE));
  }

  #render() {
    const { state, changed } = this.context, { total, masks, pictures } = this.listed;
    this.bar.replaceChildren(
      h("p", { class: "found", role: "status" }, `${counted(total, "picture")}, ${counted(masks, "mask")}`),
      h("label", {}, "Sort by ", h("select", {
        id: "sort",
        onchange: event => {
          Object.assign(state, { sort: event.target.value, page: "1" });
          changed();
        },
      }, Object.entries(SORTS).map(([value, name]) => h("option", { value, selected: value === state.sort }, name)))),
      h("label", { class: "switch" }, h("input", {
        type: "checkbox", id: "overlays", checked: state.masks === "on",
        onchange: event => {
          state.masks = event.target.checked ? "on" : "off";
          changed();
        },
      }), " Masks"),
    );
    this.tiles.replaceChildren(...pictures.map(picture => this.#tile(picture)));
    if (!pictures.length) {
      this.tiles.append(h("li", { class: "empty" },
        this.context.release().images ? "No picture has masks that pass these filters." : "This release has no pictures."));
    }
    for (const tile of this.tiles.querySelectorAll("[data-id]")) this.#seen.observe(tile);
    this.#renderPager();
  }

  #tile(picture) {
    const { image_id: id } = picture, { marks, state } = this.context;
    const some = picture.matching === picture.masks ? counted(picture.masks, "mask") : `${count(picture.matching)} of ${counted(picture.masks, "mask")}`;
    const told = SCORED[state.sort] ? `, ${SCORED[state.sort]} ${score(picture.score)}` : "";
    const link = h("a", {
      class: "tile", href: this.context.link({ picture: id, mask: picture.mask }), "aria-label": `Picture ${id}, ${some}${told}`,
      onclick: event => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;  // into a tab of its own
        event.preventDefault();
        this.context.open(id, picture.mask);
      },
    },
    h("img", {
      src: thumbnailUrl(this.context.release().key, id), alt: "", loading: "lazy", width: picture.width, height: picture.height,
      onerror: event => event.target.replaceWith(h("span", { class: "lost" }, "cannot be shown")),
    }),
    h("canvas", { "aria-hidden": "true" }));
    const mark = h("input", {
      type: "checkbox", class: "mark", checked: marks.has(picture), "aria-label": `Mark picture ${id}`, title: "Mark (X)",
      onchange: event => marks.set(picture, event.target.checked),
    });
    const chip = SCORED[state.sort] ? h("span", { class: "chip", title: SCORED[state.sort] }, score(picture.score)) : null;
    if (chip && picture.score !== null && (state.sort === "iou" || state.sort === "stability")) {
      chip.style.setProperty("--dot", css(ofScore(picture.score)));
      chip.classList.add("dotted");
    }
    return h("li", { "data-id": id }, link, mark, h("div", { class: "under" }, h("span", {}, `#${id}`), h("span", { class: "faint" }, some), chip));
  }

  async #paint(tile) {
    const { state, release } = this.context, canvas = tile.querySelector("canvas");
    const picture = this.listed.pictures.find(one => one.image_id === tile.dataset.id);
    if (state.masks !== "on" || !picture) return;
    this.#painter ??= new Painter();
    const url = pictureUrl(release().key, picture.image_id, filterQuery(state).toString());
    const sharp = Math.min(2, window.devicePixelRatio);
    const scale = Math.min(1, (canvas.clientWidth * sharp) / picture.width, (canvas.clientHeight * sharp) / picture.height);
    try {
      const { picture: loaded } = await this.#painter.ask("load", { url });
      if (!tile.isConnected) return;
      givePlaces(loaded.masks);
      const order = loaded.masks.map((_, place) => place).filter(place => loaded.masks[place].shown)
        .sort((a, b) => loaded.masks[b].area - loaded.masks[a].area);
      const worst = order.find(place => loaded.masks[place].id === picture.mask);
      if (worst !== undefined) order.push(...order.splice(order.indexOf(worst), 1));  // nothing lies above it
      const by = state.colour ?? "mask";
      const { bitmap } = await this.#painter.ask("paint", {
        url, order, scale, alpha: 0.5, colours: order.map(place => colourOf(loaded.masks[place], by === "difference" ? "mask" : by, this.context)),
        dimmed: worst === undefined ? null : order.map(place => (place === worst ? 1 : DIM)),
      });
      [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      canvas.classList.add("painted");
    } catch (error) {
      if (tile.isConnected) tile.querySelector(".under").append(h("span", { class: "wrong", title: error.message }, "masks cannot be read"));
    }
  }

  #renderPager() {
    const page = Math.min(this.#pages(), Math.max(1, +this.context.state.page || 1)), pages = this.#pages();
    const to = number => () => this.turn(number);
    const step = (label, number, text) =>
      h("button", { type: "button", "aria-label": label, title: label, disabled: number < 1 || number > pages || number === page, onclick: to(number) }, text);
    this.pager.hidden = pages < 2;
    this.pager.replaceChildren(
      step("First page", 1, "«"), step("Page before (Page up)", page - 1, "‹"),
      h("label", {}, "Page ", h("input", {
        type: "number", min: 1, max: pages, value: page,
        onchange: event => this.turn(Math.min(pages, Math.max(1, +event.target.value || 1))),
      }), ` of ${count(pages)}`),
      step("Next page (Page down)", page + 1, "›"), step("Last page", pages, "»"),
    );
  }

  /** To a page, if there is such a one. */
  turn(number) {
    if (number < 1 || number > this.#pages()) return say(number < 1 ? "This is the first page" : "This is the last page");
    this.context.state.page = String(number);
    this.context.changed();
    this.tiles.parentElement.scrollTo(0, 0);
  }

  /** Arrows go from tile to tile, x marks one. */
  #walk(event) {
    const links = [...this.tiles.querySelectorAll(".tile")], at = links.findIndex(link => link.closest("li").contains(event.target));
    const across = links.findIndex((link, place) => place && link.offsetTop !== links[0].offsetTop && link.getBoundingClientRect().top > links[0].getBoundingClientRect().top);
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across > 0 ? across : links.length, ArrowUp: across > 0 ? -across : -links.length, Home: -at, End: links.length - 1 - at };
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in steps) {
      event.preventDefault();
      links[Math.min(links.length - 1, Math.max(0, at + steps[event.key]))].focus();
    } else if (event.key === "x" || event.key === "X") {
      links[at].closest("li").querySelector(".mark").click();
    }
  }

  /** Where the keyboard is, after a picture was closed. */
  focus(id) {
    (this.tiles.querySelector(`[data-id="${id}"] .tile`) ?? this.tiles.querySelector(".tile"))?.focus();
  }

  /** Boxes follow marks that were set elsewhere. */
  showMarks() {
    for (const tile of this.tiles.querySelectorAll("[data-id]")) {
      const picture = this.listed.pictures.find(one => one.image_id === tile.dataset.id);
      tile.querySelector(".mark").checked = this.context.marks.has(picture);
    }
  }
}

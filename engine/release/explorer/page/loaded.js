// Pictures with their masks, kept and fetched ahead.
import { jpegUrl, pictureUrl } from "./api.js";
import { Painter } from "./painter.js";

const KEPT = 10;

export class Loaded {
  painter = new Painter();
  #kept = new Map();

  /** {url, picture, runs, jpeg, painted}: `jpeg` is the address of the file, fetched and decoded already. */
  get(release, id, query) {
    const url = pictureUrl(release, id, query);
    let found = this.#kept.get(url);
    this.#kept.delete(url);
    found ??= this.#fetch(release, id, url);
    this.#kept.set(url, found);
    while (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value);
    found.catch(() => this.#kept.delete(url));
    return found;
  }

  async #fetch(release, id, url) {
    const image = new Image();
    image.src = jpegUrl(release, id);
    const [{ picture, runs }] = await Promise.all([this.painter.ask("load", { url }), image.decode().catch(() => {})]);
    return { url, picture, runs, image, jpeg: image.src, painted: {} };
  }
}

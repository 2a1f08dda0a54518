// The pictures that pass the filters, in their order, as far as they are known: what comes before and after one.
import { ask } from "./api.js";

export class Sequence {
  #key = "";
  #places = new Map();  // by place
  total = 0;

  /** release: its key. query: filters, sort and limit. */
  use(release, query) {
    const key = `${release}?${query}`;
    if (key === this.#key) return;
    this.#key = key;
    this.#places.clear();
    this.total = 0;
  }

  /** An answer of the server. */
  learn({ total, offset, pictures }) {
    this.total = total;
    pictures.forEach((picture, at) => this.#places.set(offset + at, picture));
  }

  /** Where a picture is, or null where it does not pass the filters. */
  async placeOf(id) {
    for (const [place, picture] of this.#places) if (picture.image_id === id) return place;
    const answer = await this.#ask(`&around=${id}`);
    return answer.place;
  }

  /** The picture at a place, or null beyond both ends. */
  async at(place) {
    if (place < 0 || place >= this.total) return null;
    if (!this.#places.has(place)) {
      const limit = +new URLSearchParams(this.#key.slice(this.#key.indexOf("?"))).get("limit");
      await this.#ask(`&offset=${Math.floor(place / limit) * limit}`);
    }
    return this.#places.get(place) ?? null;
  }

  async #ask(more) {
    const key = this.#key, [release, query] = [key.slice(0, key.indexOf("?")), key.slice(key.indexOf("?") + 1)];
    const answer = await ask(`/api/${release}/pictures?${query}${more}`);
    if (key === this.#key) this.learn(answer);
    return answer;
  }
}

// Pictures that were marked: to copy their numbers, or to send them back to annotators.
import { ask } from "./api.js";
import { byId, copy, counted, h, say, sayError } from "./dom.js";

const SHOWN = 8;

export class Marks {
  #marked = new Map();

  /** context: {release(), sends, command, marksChanged()} of the page. */
  constructor(context) {
    this.context = context;
  }

  /** Those of another release are another list; both outlive a reload. */
  use() {
    const kept = JSON.parse(sessionStorage.getItem(this.#key()) ?? "[]");
    this.#marked = new Map(kept.map(id => [id, true]));
    this.#render();
  }

  has = picture => this.#marked.has(picture.image_id);

  set(picture, marked) {
    if (marked) this.#marked.set(picture.image_id, true);
    else this.#marked.delete(picture.image_id);
    this.#changed();
  }

  #key() {
    return `marked ${this.context.release().key}`;
  }

  #changed() {
    sessionStorage.setItem(this.#key(), JSON.stringify([...this.#marked.keys()]));
    this.#render();
    this.context.marksChanged();
  }

  #render() {
    const ids = [...this.#marked.keys()], place = byId("marked"), { sends, command } = this.context;
    place.hidden = !ids.length;
    const clear = () => {
      this.#marked.clear();
      this.#changed();
    };
    const listed = ids.slice(0, SHOWN).map(id => `#${id}`).join(" ") + (ids.length > SHOWN ? ` and ${ids.length - SHOWN} more` : "");
    place.replaceChildren(
      h("p", {}, h("b", {}, `${counted(ids.length, "picture")} marked `), h("span", { class: "faint" }, listed)),
      h("button", { type: "button", class: "quiet", onclick: clear }, "Clear"),
      h("button", { type: "button", onclick: () => copy(ids.join(" ")) }, "Copy numbers"),
      h("button", { type: "button", class: "main", id: "send-button", onclick: () => (sends ? this.#confirm(ids) : explain(command)) }, "Send to annotators …"),
    );
  }

  #confirm(ids) {
    const dialog = byId("send");
    const send = h("button", {
      type: "button", class: "main",
      onclick: async () => {
        send.disabled = true;
        try {
          const { sent, waiting } = await ask(`/api/${this.context.release().key}/send`, { body: { pictures: ids } });
          dialog.close();
          say([sent || !waiting ? `${counted(sent, "picture")} sent` : "", waiting ? `${counted(waiting, "picture")} waiting already` : ""].filter(Boolean).join(", "));
          this.#marked.clear();
          this.#changed();
        } catch (error) {
          dialog.close();
          sayError(error);
        }
      },
    }, "Send");
    dialog.replaceChildren(
      h("h2", { id: "send-title" }, `Send ${counted(ids.length, "picture")} back to annotators?`),
      h("p", {}, ids.length === 1 ? "It comes" : "They come", " first in the next round of people, with the masks of the latest round that ", ids.length === 1 ? "it has" : "they have", " here."),
      h("p", {}, "Until then these masks leave the workspace's tables, and so the next release. This release stays as it is."),
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), send));
    dialog.showModal();
  }
}

function explain(command) {
  const dialog = byId("send");
  dialog.replaceChildren(
    h("h2", { id: "send-title" }, "This explorer only looks"),
    h("p", {}, "To send pictures back to annotators, start it with the workspace that the release was built of:"),
    h("p", {}, h("button", { type: "button", class: "quiet code", title: "Copy", onclick: () => copy(command) }, command)),
    h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close")));
  dialog.showModal();
}

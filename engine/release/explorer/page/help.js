// The dialog with the keys.
import { byId, h } from "./dom.js";

const KEYS = [
  ["Pictures", [
    ["← → ↑ ↓", "from picture to picture"], ["Enter", "open one"], ["X", "mark one"], ["Page up, Page down", "page before, next page"],
  ]],
  ["In a picture", [
    ["← →", "picture before, next picture"], ["Esc", "give up the choice of a mask; then back to all pictures"],
    ["N, Shift N", "next mask at this place, from small to large, and back; a click at the same place does it too"],
    ["Z", "zoom to the chosen mask"], ["+ − 0", "larger, smaller, whole picture"], ["M", "masks on and off"], ["X", "mark the picture"],
  ]],
  ["Everywhere", [["/", "go to a picture or mask by its number"], ["?", "this list"]]],
];

export function showHelp() {
  const dialog = byId("help");
  if (!dialog.childElementCount) {
    const close = h("button", { type: "button", onclick: () => dialog.close() }, "Close");
    dialog.append(h("h2", { id: "help-title" }, "Keys"),
      ...KEYS.map(([title, keys]) => h("section", {}, h("h3", {}, title), h("dl", {}, keys.map(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)]).flat()))),
      h("p", { class: "faint" }, "The address holds what is being looked at: a link to it shows the same."),
      h("div", { class: "buttons" }, close));
  }
  dialog.showModal();
}

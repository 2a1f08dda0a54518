// How masks and points look: each mask of another colour, points on the object green and beside it red, and a small picture
// as large as the window allows. The editor gives all regions of a label one colour, and shows pictures as they are.
(() => {
  "use strict";

  const LOOK_MS = 150;
  const GOLDEN_ANGLE = 137.508; // neighbours in the list get colours far apart
  const ON_OBJECT = "#2e9e44";
  const BESIDE = "#d3302f";

  const hues = new Map(); // degrees, by region
  const fitted = new WeakSet();

  function colour(region) {
    const canvas = region.layerRef?.canvas?._canvas;
    if (!canvas) return;
    if (!hues.has(region.id)) hues.set(region.id, Math.round((hues.size * GOLDEN_ANGLE) % 360));
    const wanted = `hue-rotate(${hues.get(region.id)}deg)`;
    if (canvas.style.filter !== wanted) canvas.style.filter = wanted;
  }

  function mark(point) {
    const wanted = point.negative ? BESIDE : ON_OBJECT;
    const shape = point.shapeRef;
    const canvas = shape?.getLayer?.()?.canvas?._canvas;
    if (!canvas) return;
    canvas.style.zIndex = "1"; // masks would hide it
    // A press would go to this canvas, which leaves the page where `editor.js` takes the point away, and get lost with it.
    canvas.style.pointerEvents = "none";
    if (shape.fill() === wanted) return;
    shape.fill(wanted);
    shape.stroke(wanted);
  }

  function fit(picture) {
    if (!picture.sizeToFit || fitted.has(picture) || !(picture.naturalWidth > 1 && picture.stageWidth > 1)) return;
    fitted.add(picture);
    picture.sizeToFit();
  }

  // The buttons beside a suggestion have a component where an address should be, and ask the server for a page of its name.
  function askForNoComponent() {
    const src = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, "src");
    Object.defineProperty(HTMLImageElement.prototype, "src", {
      ...src,
      set(address) {
        if (String(address) !== "[object Object]") src.set.call(this, address);
      },
    });
  }

  function look() {
    const annotation = window.Htx?.annotationStore?.selected;
    if (!annotation) return;
    for (const region of [...annotation.regions, ...annotation.suggestions.values()]) {
      if (region.type === "brushregion") colour(region);
      else if (region.type === "keypointregion") mark(region);
    }
    for (const picture of annotation.objects ?? []) fit(picture);
  }

  askForNoComponent();
  setInterval(look, LOOK_MS);
})();

// Masks that nobody works on share one canvas, and a canvas without anything on it is left out. The editor gives each mask two
// canvases as large as the window, and a browser without a graphics card takes tens of milliseconds a mask to put them on top
// of each other. A mask that is suggested, chosen, highlighted or drawn keeps its own, and all do from a change until the next
// look.
(() => {
  "use strict";

  const LOOK_MS = 150;

  const folds = new WeakMap(); // by stage
  const foldOf = new WeakMap(); // by layer

  const elementOf = (layer) => layer.canvas._canvas;

  class Fold {
    constructor() {
      this.canvas = document.createElement("canvas");
      this.canvas.style.cssText = "position:absolute;top:0;left:0;pointer-events:none;visibility:hidden";
      this.layers = []; // which are drawn here
    }

    undo() {
      this.canvas.style.visibility = "hidden";
      for (const layer of this.layers) elementOf(layer).style.visibility = "";
      this.layers = [];
    }

    take(layers) {
      if (layers.length < 2) return this.undo();
      const { width, height, style } = elementOf(layers[0]);
      const fits = this.canvas.width === width && this.canvas.height === height;
      if (!fits || !this.layers.length || this.layers.some((layer, number) => layer !== layers[number])) {
        this.undo();
        Object.assign(this.canvas, { width, height }); // nor is anything drawn on it any more
        Object.assign(this.canvas.style, { width: style.width, height: style.height });
      }
      const added = layers.slice(this.layers.length);
      for (const layer of added) this.draw(layer);
      this.layers = layers;
      this.canvas.style.visibility = "";
      const lowest = layers.reduce((one, other) => (other.index < one.index ? other : one));
      if (elementOf(lowest).previousSibling !== this.canvas) elementOf(lowest).before(this.canvas);
    }

    draw(layer) {
      const element = elementOf(layer);
      const context = this.canvas.getContext("2d");
      context.globalAlpha = Number(element.style.opacity || 1);
      context.filter = element.style.filter || "none";
      context.drawImage(element, 0, 0);
      element.style.visibility = "hidden";
      foldOf.set(layer, this);
    }
  }

  const isFolded = (layer) => foldOf.get(layer)?.layers.includes(layer);

  // The uppermost is left: the page takes notice of presses on canvases.
  function show(layer) {
    const isSeen = layer.index === layer.parent?.children.length - 1 || layer.findOne("Shape");
    elementOf(layer).style.visibility = isSeen ? "" : "hidden";
  }

  // It is no longer as it was when it was folded.
  function changed(layer) {
    if (isFolded(layer)) foldOf.get(layer).undo();
    show(layer);
  }

  function watch(layer) {
    if (foldOf.has(layer)) return;
    foldOf.set(layer, null);
    layer.on("draw visibleChange", () => changed(layer));
    const { remove } = layer;
    layer.remove = function () {
      changed(layer);
      return remove.call(this);
    };
  }

  function isAtRest(region, picture) {
    const { layerRef: layer } = region;
    if (region.hidden || layer?.parent !== picture.stageRef || !elementOf(layer).style.filter) return false; // its colour
    const inHand = region.inSelection || region.selected || region.highlighted || region.isDrawing;
    return !inHand && region !== picture.drawingRegion;
  }

  function look() {
    const annotation = window.Htx?.annotationStore?.selected;
    for (const picture of annotation?.objects ?? []) {
      const stage = picture.stageRef;
      if (!stage) continue;
      for (const layer of stage.children) {
        watch(layer);
        if (!isFolded(layer)) show(layer);
      }
      if (!folds.has(stage)) folds.set(stage, new Fold());
      const masks = annotation.regions.filter((region) => region.type === "brushregion" && isAtRest(region, picture));
      folds.get(stage).take(masks.map((region) => region.layerRef));
    }
  }

  setInterval(look, LOOK_MS);
})();

// One picture that can be zoomed, with its masks above it and the outline of the one under the cursor.
/* global OpenSeadragon */
import { contains, outline } from "./rle.js";
import { h } from "./dom.js";

const OUTLINES_KEPT = 50;
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

export class Pane {
  picture = null;
  #runs = [];
  #bySize = [];  // places of masks that are shown, the smallest first
  #outlines = new Map();
  #bitmap = null;
  #hovered = null;
  #selected = null;
  #frame = 0;
  #pointer = null;
  onhover = () => {};  // (mask or null, masks under the cursor)
  onselect = () => {};  // (mask or null)
  onmove = () => {};  // the picture was moved or zoomed here
  onenlarged = () => {};  // its masks are seen larger than they were painted

  constructor(label) {
    this.zoomed = h("div", { class: "zoomed", role: "img", "aria-label": label });
    this.masks = h("canvas", { class: "layer", "aria-hidden": "true" });
    this.marks = h("canvas", { class: "layer", "aria-hidden": "true" });
    this.caption = h("div", { class: "pane-caption" });
    this.element = h("section", { class: "pane", "aria-label": label }, this.zoomed, this.masks, this.marks, this.caption);
  }

  /** Once its element is in the page. */
  start() {
    this.viewer = OpenSeadragon({
      element: this.zoomed,
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: false,
      animationTime: STILL.matches ? 0 : 0.35,
      springStiffness: 9,
      immediateRender: true,
      blendTime: 0,
      maxZoomPixelRatio: 16,
      minZoomImageRatio: 0.7,
      visibilityRatio: 0.5,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true },
    });
    this.viewer.addHandler("canvas-key", event => (event.preventDefaultAction = true));  // keys are the page's own
    this.viewer.addHandler("update-viewport", () => this.#draw());
    this.viewer.addHandler("animation", () => this.onmove(this));
    this.viewer.addHandler("animation-finish", () => this.#checkSize());
    this.viewer.addHandler("resize", () => this.#draw());
    this.viewer.addHandler("open-failed", event => this.#fail(event.message));
    this.viewer.addHandler("canvas-click", event => {
      if (event.quick) this.#click(event.position);
    });
    this.zoomed.addEventListener("pointermove", event => this.#follow(event));
    this.zoomed.addEventListener("pointerleave", () => this.#follow(null));
    new ResizeObserver(() => this.#draw()).observe(this.element);
  }

  /** Another picture, as a whole. loaded: {picture, runs} of the worker. Resolves once it is seen. */
  show(loaded, jpeg) {
    const { picture, runs } = loaded;
    this.picture = picture;
    this.#runs = runs;
    this.#outlines.clear();
    this.#hovered = this.#selected = null;
    this.setBitmap(null);
    this.zoomed.dataset.size = `${picture.width}x${picture.height}`;
    this.zoomed.setAttribute("aria-label", `Picture ${picture.image_id}, ${picture.masks.length} masks`);
    this.viewer.open({ type: "image", url: jpeg, buildPyramid: false });
    return new Promise(resolve => this.viewer.addOnceHandler("open", resolve));
  }

  /** shown: places of masks that can be seen and pointed at. */
  setShown(shown) {
    const { masks } = this.picture;
    this.#bySize = [...shown].filter(place => this.#runs[place]).sort((a, b) => masks[a].area - masks[b].area);
  }

  /** Of all masks; null until it is painted. */
  setBitmap(bitmap) {
    this.#bitmap = bitmap;
    this.#draw();
  }

  /** At which scale the masks of a picture are to be painted for it to be seen as a whole. */
  scaleFor({ width, height }) {
    const { clientWidth, clientHeight } = this.element;
    return Math.min(1, Math.max(0.05, Math.min(clientWidth / width, clientHeight / height) * window.devicePixelRatio));
  }

  #checkSize() {
    if (!this.#bitmap || !this.picture) return;
    const painted = this.#bitmap.width / this.picture.width;
    if (painted < 0.999 && this.#placed().scale * window.devicePixelRatio > 1.25 * painted) this.onenlarged();
  }

  set opacity(value) {
    this.masks.style.opacity = value;
  }

  select(mask) {
    this.#selected = mask ? this.picture.masks.find(one => one.id === mask.id) ?? null : null;
    this.#drawMarks();
  }

  get selected() {
    return this.#selected;
  }

  hover(mask) {
    this.#hovered = mask;
    this.#drawMarks();
  }

  /** Masks at a pixel of the picture, the smallest first. */
  masksAt(x, y) {
    const { width, height, masks } = this.picture;
    if (!(x >= 0 && y >= 0 && x < width && y < height)) return [];
    const column = Math.floor(x), row = Math.floor(y);
    return this.#bySize.filter(place => {
      const [x0, y0, x1, y1] = masks[place].bbox_xyxy;
      return column >= x0 && column < x1 && row >= y0 && row < y1 && contains(this.#runs[place], height, column, row);
    }).map(place => masks[place]);
  }

  /** Those at the pointer, which need not have moved since it clicked. */
  masksUnderPointer() {
    return this.#pointer && this.picture ? this.masksAt(...this.#pixelAt(this.#pointer)) : [];
  }

  zoom(factor) {
    this.viewer.viewport.zoomBy(factor).applyConstraints();
  }

  fit() {
    this.viewer.viewport.goHome();
  }

  /** Show a mask large, with some of what is around it. */
  zoomTo(mask) {
    const [x0, y0, x1, y1] = mask.bbox_xyxy, { width } = this.picture;
    const margin = 0.25 * Math.max(x1 - x0, y1 - y0) + 8;
    const rectangle = [x0 - margin, y0 - margin, x1 - x0 + 2 * margin, y1 - y0 + 2 * margin].map(side => side / width);
    this.viewer.viewport.fitBounds(new OpenSeadragon.Rect(...rectangle));
  }

  /** Show the same part as another pane. */
  follow(other) {
    const bounds = other.viewer.viewport.getBounds(true);
    if (this.viewer.world.getItemCount()) this.viewer.viewport.fitBounds(bounds, true);
  }

  #follow(event) {
    this.#pointer = event && { x: event.clientX, y: event.clientY };
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#point());
  }

  /** At most once a frame, however often the pointer moves. */
  #point() {
    this.#frame = 0;
    if (!this.picture) return;
    const under = this.#pointer ? this.masksAt(...this.#pixelAt(this.#pointer)) : [];
    const hovered = under[0] ?? null;
    if (hovered !== this.#hovered) this.hover(hovered);
    this.onhover(hovered, under);
  }

  #pixelAt({ x, y }) {
    const box = this.element.getBoundingClientRect(), { scale, left, top } = this.#placed();
    return [(x - box.left - left) / scale, (y - box.top - top) / scale];
  }

  #click(position) {
    if (!this.picture) return;
    const { scale, left, top } = this.#placed();
    const under = this.masksAt((position.x - left) / scale, (position.y - top) / scale);
    const at = under.findIndex(mask => mask === this.#selected);
    this.onselect(under.length ? under[(at + 1) % under.length] : null);
  }

  /** Where the picture's corner is in the pane, and how large a pixel of it, in CSS pixels. */
  #placed() {
    const { viewport } = this.viewer, { width } = this.picture;
    const corner = viewport.pixelFromPoint(new OpenSeadragon.Point(0, 0), true);
    const right = viewport.pixelFromPoint(new OpenSeadragon.Point(1, 0), true);
    return { scale: (right.x - corner.x) / width, left: corner.x, top: corner.y };
  }

  #draw() {
    const context = this.#cleared(this.masks);
    if (context && this.#bitmap) {
      const { scale, left, top } = this.#placed(), { width, height } = this.picture;
      context.imageSmoothingEnabled = scale < 2;
      context.drawImage(this.#bitmap, left, top, width * scale, height * scale);
    }
    this.#drawMarks();
  }

  #drawMarks() {
    const context = this.#cleared(this.marks);
    if (!context || !(this.#hovered || this.#selected)) return;
    const { scale, left, top } = this.#placed();
    context.translate(left, top);
    context.scale(scale, scale);
    const thin = 1 / scale;
    if (this.#selected) this.#drawMask(context, this.#selected, thin, "#ffffff", "rgb(255 255 255 / 0.18)");
    if (this.#hovered && this.#hovered !== this.#selected) this.#drawMask(context, this.#hovered, thin, "#ffe066", null);
    if (this.#selected) drawPrompt(context, this.#selected, thin);
  }

  #drawMask(context, mask, thin, colour, fill) {
    const path = this.#outline(mask);
    if (!path) return;
    context.lineJoin = "round";
    context.strokeStyle = "rgb(0 0 0 / 0.75)";
    context.lineWidth = 4.5 * thin;
    context.stroke(path);
    if (fill) {
      context.fillStyle = fill;
      context.fill(path, "evenodd");
    }
    context.strokeStyle = colour;
    context.lineWidth = 2 * thin;
    context.stroke(path);
  }

  #outline(mask) {
    if (!this.#outlines.has(mask.id)) {
      const ends = this.#runs[this.picture.masks.indexOf(mask)];
      while (this.#outlines.size >= OUTLINES_KEPT) this.#outlines.delete(this.#outlines.keys().next().value);
      this.#outlines.set(mask.id, ends ? pathOf(outline(ends, this.picture.height)) : null);
    }
    return this.#outlines.get(mask.id);
  }

  /** A layer's context in CSS pixels, nothing on it; null before there is a picture to draw on. */
  #cleared(layer) {
    const { clientWidth: width, clientHeight: height } = this.element, sharp = window.devicePixelRatio;
    const [across, down] = [Math.round(width * sharp), Math.round(height * sharp)];
    if (layer.width !== across || layer.height !== down) [layer.width, layer.height] = [across, down];
    const context = layer.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, across, down);
    context.scale(sharp, sharp);
    return this.picture && this.viewer.world.getItemCount() ? context : null;
  }

  #fail(message) {
    this.caption.textContent = `This picture cannot be shown: ${message}`;
  }
}

function pathOf(rings) {
  const path = new Path2D();
  for (const ring of rings) {
    path.moveTo(ring[0], ring[1]);
    for (let at = 2; at < ring.length; at += 2) path.lineTo(ring[at], ring[at + 1]);
    path.closePath();
  }
  return path;
}

/** Points on the object are green with a plus, others red with a minus; the box is dashed. */
function drawPrompt(context, mask, thin) {
  const box = mask.prompt_box_xyxy;
  if (box?.length === 4) {
    context.setLineDash([6 * thin, 4 * thin]);
    context.lineWidth = 2 * thin;
    context.strokeStyle = "#7dd3fc";
    context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
    context.setLineDash([]);
  }
  for (const { x, y, label } of mask.points ?? []) {
    context.beginPath();
    context.arc(x, y, 6 * thin, 0, 2 * Math.PI);
    context.fillStyle = label === 1 ? "#16a34a" : "#dc2626";
    context.fill();
    context.lineWidth = 1.5 * thin;
    context.strokeStyle = "#ffffff";
    context.stroke();
    context.beginPath();
    context.moveTo(x - 3 * thin, y);
    context.lineTo(x + 3 * thin, y);
    if (label === 1) {
      context.moveTo(x, y - 3 * thin);
      context.lineTo(x, y + 3 * thin);
    }
    context.stroke();
  }
}

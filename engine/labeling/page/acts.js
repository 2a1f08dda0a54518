// When each mask was worked on. Label Studio keeps no times of regions, so they go along with what the page saves: in the
// `meta` of a region pairs of Unix seconds, each from the first press on the mask to the last act before another's turn.
(() => {
  "use strict";

  const LOOK_MS = 100;
  const SAVES = /\/api\/(tasks\/\d+\/(annotations|drafts)|annotations\/\d+(\/drafts)?|drafts\/\d+)\/?(\?|$)/;

  const acts = new Map(); // by task and region
  const strokes = new Map(); // how many the brush and the eraser have made, by region
  let annotation = null;
  let task, inHand, pressed, last, prompted;

  // Goes on where somebody sets the clock back; of an event when it came about, however busy the page is.
  const timeOf = (event) => (performance.timeOrigin + event.timeStamp) / 1000;
  const idOf = (region) => region.id.replace(/#.*/, ""); // as it is saved
  const keyOf = (id) => `${task} ${id}`;

  function begin() {
    inHand = ""; // the region that was worked on last
    pressed = last = 0; // the last press on the picture; the last thing that was done at all
    prompted = 0; // the first prompt of the object that the model is being asked for
  }

  function masks() {
    return [...(annotation?.regions ?? [])].filter((region) => region.type === "brushregion" && !region.isDrawing);
  }

  // As `editor.js` tells what is left of an earlier object: negative points alone wait for the one that they restrict.
  function isAsking() {
    const live = annotation.regions.filter((region) => region.dynamic && region.type !== "brushregion");
    const waiting = annotation.suggestions.size > 0 || window.Htx.awaitingSuggestions;
    return waiting || (live.length > 0 && live.every((region) => region.negative));
  }

  function hasSmartTool() {
    const managers = [...(annotation.objects ?? [])].flatMap((object) => object.getToolsManager?.() ?? []);
    return managers.some((manager) => manager.findSelectedTool()?.dynamic);
  }

  function note(region, first) {
    const key = keyOf(idOf(region));
    const own = acts.get(key) ?? (region.meta?.sa?.acts ?? []).map((pair) => [...pair]);
    if (inHand === region.id && own.length) own.at(-1)[1] = last;
    else own.push([first, last]);
    acts.set(key, own);
    inHand = region.id;
  }

  function look() {
    annotation = window.Htx?.annotationStore?.selected ?? null;
    if (window.Htx?.task?.id !== task) {
      task = window.Htx?.task?.id;
      begin();
    }
    for (const region of masks()) {
      const before = strokes.get(region.id);
      strokes.set(region.id, region.touches.length);
      if (!last) continue; // it was there when the page was opened
      if (before === undefined && !region.touches.length && prompted) {
        note(region, prompted); // a mask of the model was accepted
        prompted = 0;
      } else if (region.touches.length > (before ?? 0)) note(region, pressed);
    }
  }

  // What was done so far is looked at before the time of the last act changes.
  function happens(event) {
    look();
    last = timeOf(event);
  }

  begin();
  setInterval(look, LOOK_MS);

  window.addEventListener(
    "mousedown",
    (event) => {
      happens(event);
      if (!(event.target instanceof HTMLCanvasElement) || event.button !== 0 || !annotation) return;
      pressed = last;
      if (!hasSmartTool()) return;
      if (!prompted || !isAsking()) prompted = pressed;
      inHand = "";
    },
    true,
  );
  for (const kind of ["mouseup", "keydown"]) {
    window.addEventListener(kind, happens, true);
  }

  function withActs(body) {
    look();
    const saved = JSON.parse(body);
    for (const region of Array.isArray(saved.result) ? saved.result : []) {
      const own = region.type === "brushlabels" && acts.get(keyOf(region.id));
      if (own) region.meta = { ...region.meta, sa: { ...region.meta?.sa, acts: own } };
    }
    return JSON.stringify(saved);
  }

  const fetchBefore = window.fetch;
  window.fetch = (address, options, ...more) => {
    const saves = ["POST", "PATCH"].includes(options?.method) && SAVES.test(String(address?.url ?? address));
    if (saves && typeof options.body === "string") options = { ...options, body: withActs(options.body) };
    return fetchBefore(address, options, ...more);
  };
})();

// What has not changed is not drawn anew. Over a click the editor draws both canvases of each mask several times: whenever a
// canvas comes or goes, since its library then draws all of them, and whenever it renders a mask, since that hands the library
// new functions, which do nothing. That made a click slower with each mask that was there.
(() => {
  "use strict";

  const LOOK_MS = 150;
  const HIGHLIGHT = "highlight"; // the editor's name for what is seen only while a mask is highlighted

  const known = new WeakSet();

  // Where a stage draws its layers, and how large.
  const placeOf = (stage) => Object.values(stage.attrs).filter((value) => typeof value !== "object").join();

  function drawAllWhereItMoves(stage) {
    const draw = stage._requestDraw;
    let place = placeOf(stage);
    stage._requestDraw = function () {
      const before = place;
      place = placeOf(stage);
      if (place !== before) draw.call(this); // else a layer was added, which is drawn for itself, or went
    };
  }

  function takeEmptyFunctionsForEqual(prototype) {
    const { _setAttr } = prototype;
    prototype._setAttr = function (name, value) {
      const before = this.attrs[name];
      const isSame = this.attrs.name === HIGHLIGHT && typeof value === "function" && typeof before === "function";
      if (!isSame) return _setAttr.call(this, name, value);
      this.attrs[name] = value;
    };
  }

  function owner(object, name) {
    while (object && !Object.hasOwn(object, name)) object = Object.getPrototypeOf(object);
    return object;
  }

  function once(object, change) {
    if (!object || known.has(object)) return;
    known.add(object);
    change(object);
  }

  function look() {
    for (const picture of window.Htx?.annotationStore?.selected?.objects ?? []) {
      if (!picture.stageRef) continue;
      once(picture.stageRef, drawAllWhereItMoves);
      once(owner(picture.stageRef, "_setAttr"), takeEmptyFunctionsForEqual);
    }
  }

  setInterval(look, LOOK_MS);
})();

// What Label Studio's editor lacks for prompts, added to the page of a server that `sam-engine labeling server` started.
//
// A press of the mouse with a smart tool is meant for the model, whatever lies below it. By itself the editor selects the
// mask there instead, gives up the label after each prompt, and sends prompts of earlier objects along with new ones.
(() => {
  "use strict";

  const PROMPTS = new Set(["keypointregion", "rectangleregion"]);
  const NOTE = "sam-engine-note";
  const NOTE_MS = 8000;
  const LONGEST_PROBLEM = 4096; // bytes

  const SMART_TOOLS = ["KeyPointTool-dynamic", "RectangleTool-dynamic"];

  function managers(annotation) {
    return [...(annotation?.objects ?? [])].flatMap((object) => object.getToolsManager?.() ?? []);
  }

  function smartTool() {
    const annotation = window.Htx?.annotationStore?.selected;
    for (const manager of managers(annotation)) {
      const tool = manager.findSelectedTool();
      if (tool?.dynamic) return { annotation, tool };
    }
    return null;
  }

  // The point tool, from there the box tool, and back; false where there are none.
  function nextSmartTool() {
    for (const manager of managers(window.Htx?.annotationStore?.selected)) {
      const tools = SMART_TOOLS.map((name) => manager.allTools().find((tool) => tool.fullName === name)).filter(Boolean);
      if (!tools.length) continue;
      manager.selectTool(tools[(tools.indexOf(manager.findSelectedTool()) + 1) % tools.length], true);
      return true;
    }
    return false;
  }

  // Prompts that no suggestion stands for: of before a reload, or left when an accept was undone or no answer came.
  function leftOver(annotation) {
    const prompts = annotation.regions.filter((region) => PROMPTS.has(region.type));
    const live = prompts.filter((region) => region.dynamic);
    const waiting = annotation.suggestions.size > 0 || window.Htx.awaitingSuggestions;
    // Negative points alone have no mask: they wait for the object that they restrict.
    const inHand = waiting || live.every((region) => region.negative);
    return inHand ? prompts.filter((region) => !region.dynamic) : prompts;
  }

  // To ask about a prompt the editor writes down all regions and throws all but the prompts away, and to write a mask down
  // it draws it anew at full size: tens of milliseconds a mask. So only the prompts are written down.
  const quick = new WeakSet();
  let asking = false;

  function writtenDown(annotation, options) {
    const prompts = annotation.regions.filter((region) => PROMPTS.has(region.type));
    return prompts.flatMap((region) => region.results.map((result) => result.serialize(options))).filter(Boolean);
  }

  function quicken(annotation) {
    const events = window.Htx.$treenode?.environment?.events;
    if (events && !quick.has(events)) {
      const { invoke } = events;
      events.invoke = function (name, ...more) {
        const before = asking;
        asking ||= name === "regionFinishedDrawing";
        try {
          return invoke.call(this, name, ...more);
        } finally {
          asking = before;
        }
      };
      quick.add(events);
    }
    if (!quick.has(annotation)) {
      const { serializeAnnotation } = annotation;
      const value = (options) => (asking ? writtenDown(annotation, options) : serializeAnnotation(options));
      Object.defineProperty(annotation, "serializeAnnotation", { value, configurable: true }); // it cannot be assigned
      quick.add(annotation);
    }
  }

  function prepare({ annotation, tool }) {
    quicken(annotation);
    for (const region of leftOver(annotation)) {
      region.setDrawing(true); // else the model would be asked about what is left
      region.deleteRegion();
    }
    if (annotation.hasSelection) annotation.unselectAreas();
    const control = tool.control;
    if (!control.selectedLabels?.length) control.children?.[0]?.setSelected?.(true);
  }

  document.addEventListener(
    "mousedown",
    (event) => {
      if (!(event.target instanceof HTMLCanvasElement) || event.button !== 0) return;
      const found = smartTool();
      if (!found || found.annotation.isReadOnly()) return;
      prepare(found);
      // With Ctrl held down the editor draws over regions instead of selecting them.
      Object.defineProperty(event, "ctrlKey", { value: true });
    },
    true,
  );

  // Enter accepts what the model suggests; Ctrl and Enter submits, as ever. M goes through the smart tools, which Label
  // Studio's own handler does only the first time.
  window.addEventListener(
    "keydown",
    (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      if (event.target.closest?.("input, textarea, [contenteditable=true]")) return;
      const accept = document.querySelector("[data-testid=bottombar-accept-suggestions-button]");
      if (event.key === "Enter" && accept) {
        event.preventDefault(); // nor press a button that was used last
        accept.click();
      } else if (event.key === "m" && window.Htx?.autoAnnotation && nextSmartTool()) event.stopImmediatePropagation();
    },
    true,
  );

  // Label Studio saves a draft five seconds after a change. Who leaves the page before is asked, and saved meanwhile. A stroke
  // that begins stops it from saving what was done before, too.
  window.addEventListener("beforeunload", (event) => {
    const annotation = window.Htx?.annotationStore?.selected;
    if (annotation?.autosave?.paused) annotation.saveDraft();
    else annotation?.saveDraftImmediately?.();
    if (annotation?.isDraftSaving) event.preventDefault();
  });

  function tell(text) {
    document.getElementById(NOTE)?.remove();
    const note = document.createElement("div");
    note.id = NOTE;
    note.setAttribute("role", "alert");
    note.textContent = text;
    note.style.cssText =
      "position:fixed;top:60px;left:50%;transform:translateX(-50%);z-index:10000;padding:8px 16px;border-radius:4px;" +
      "background:#b3261e;color:#fff;max-width:80vw";
    document.body.append(note);
    setTimeout(() => note.remove(), NOTE_MS);
  }

  // A mask is long, what went wrong is short: a mask is not read twice while somebody waits for it.
  async function problemOf(response) {
    if (!response.ok) return `status ${response.status}`;
    if (Number(response.headers.get("Content-Length")) > LONGEST_PROBLEM) return "";
    const answer = await response.clone().json();
    return inWords(answer.errors?.[0] ?? answer.data?.error ?? "");
  }

  // Of a model backend that does not answer Label Studio says a line full of addresses, which helps no annotator.
  function inWords(problem) {
    const status = /^(\d{3}) (Client|Server) Error/.exec(problem)?.[1];
    if (status === "413") return "there are too many masks on this picture; submit it";
    if (status || /ConnectionPool|Connection aborted|timed out/.test(problem))
      return "it does not answer; tell whoever runs it: sam-engine labeling doctor says why";
    return problem;
  }

  const fetchBefore = window.fetch;
  window.fetch = async (...request) => {
    const address = String(request[0]?.url ?? request[0]);
    const asked = address.includes("/interactive-annotating");
    try {
      const response = await fetchBefore(...request);
      const problem = asked ? await problemOf(response) : "";
      if (problem) tell(`The model gave no mask: ${problem}`);
      return response;
    } catch (error) {
      if (asked) tell("The model gave no mask: Label Studio does not answer");
      throw error;
    }
  };
})();

// The colours of masks.

const STAGES = ["#4e9af1", "#f2a33a", "#3fbf8f", "#c678dd", "#e8687b", "#b8bf4a", "#5bc8d6", "#a58a6f"];
const WORST = [215, 48, 39], MIDDLE = [254, 224, 144], BEST = [69, 117, 180];  // told apart by the colour-blind too
const UNKNOWN = [150, 150, 150];
export const ONLY_HERE = [255, 168, 38], IN_BOTH = [120, 130, 145];
const GOLDEN_ANGLE = 137.508;  // hues that follow each other lie far apart
const LOWEST = 0.5;  // a score from which on down the colour stays

/** [red, green, blue] of a mask. by: mask, iou, stability, stage, origin or difference. */
export function colourOf(mask, by, context) {
  if (by === "iou") return ofScore(mask.predicted_iou);
  if (by === "stability") return ofScore(mask.stability_score);
  if (by === "stage" || by === "origin") return hex(STAGES[context.names[by].indexOf(mask[by]) % STAGES.length] ?? STAGES[0]);
  if (by === "difference") return context.others?.has(mask.content_id) ? IN_BOTH : ONLY_HERE;
  return fromHsl((mask.place * GOLDEN_ANGLE) % 360, 0.82, 0.5 + 0.08 * (mask.place % 3));
}

/** Gives each mask of a picture the `place` that its colour follows from; equal masks of another release have it too. */
export function givePlaces(masks, others = []) {
  const known = new Map(others.map(mask => [mask.content_id, mask.place]));
  masks.forEach((mask, at) => (mask.place = known.get(mask.content_id) ?? others.length + at));
}

export function ofScore(score) {
  if (score === null || score === undefined) return UNKNOWN;
  const share = Math.min(1, Math.max(0, (score - LOWEST) / (1 - LOWEST)));
  const [from, to, part] = share < 0.5 ? [WORST, MIDDLE, share * 2] : [MIDDLE, BEST, share * 2 - 1];
  return from.map((value, place) => Math.round(value + (to[place] - value) * part));
}

function fromHsl(hue, saturation, light) {
  const spread = saturation * Math.min(light, 1 - light);
  return [0, 8, 4].map(offset => {
    const place = (offset + hue / 30) % 12;
    return Math.round(255 * (light - spread * Math.max(-1, Math.min(place - 3, 9 - place, 1))));
  });
}

function hex(text) {
  return [1, 3, 5].map(at => parseInt(text.slice(at, at + 2), 16));
}

/** As ImageData wants it; alpha from 0 to 1. */
export function packed([red, green, blue], alpha) {
  return ((Math.round(alpha * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

export function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

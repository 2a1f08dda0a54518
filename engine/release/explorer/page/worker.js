// Off the page's thread: fetches pictures' masks, decodes and paints them.
import { packed } from "./colours.js";
import { colourIds, paintIds } from "./paint.js";
import { decodeCounts } from "./rle.js";

const MOST_PIXELS = 8e6;  // of what is painted
const KEPT = 8;
const decoded = new Map();  // by address: {height, width, ends}

const jobs = {
  /** A picture with its masks: {picture, runs}, runs[i] the ends of mask i's runs, null where its counts are broken. */
  async load({ url }) {
    const response = await fetch(url);
    const picture = await response.json();
    if (!response.ok) throw new Error(picture.error);
    const { height, width } = picture, pixels = height * width;
    const ends = picture.masks.map(mask => {
      try {
        return mask.counts === null ? null : decodeCounts(mask.counts, pixels);
      } catch (error) {
        mask.broken = error.message;
        return null;
      }
    });
    for (const mask of picture.masks) delete mask.counts;
    decoded.set(url, { height, width, ends });
    while (decoded.size > KEPT) decoded.delete(decoded.keys().next().value);
    return { picture, runs: ends };
  },

  /** An ImageBitmap. order: places of masks, the lowest first; colours: [r, g, b] of each; scale: of the picture. */
  async paint({ url, order, colours, scale, alpha, dimmed }) {
    if (!decoded.has(url)) await jobs.load({ url });
    const { height, width, ends } = decoded.get(url);
    const most = Math.min(scale, Math.sqrt(MOST_PIXELS / (width * height)));
    const [scaledWidth, scaledHeight] = [width, height].map(side => Math.max(1, Math.round(side * most)));
    const ids = paintIds(order.map(place => ends[place]), height, width, scaledHeight, scaledWidth);
    const fills = new Uint32Array(order.length + 1), borders = new Uint32Array(order.length + 1);
    colours.forEach((colour, place) => {
      const dim = dimmed ? dimmed[place] : 1;
      fills[place + 1] = packed(colour, alpha * dim);
      borders[place + 1] = packed(colour, dim);
    });
    const painted = colourIds(ids, scaledHeight, scaledWidth, fills, borders);
    const data = new ImageData(new Uint8ClampedArray(painted.buffer), scaledWidth, scaledHeight);
    return { bitmap: await createImageBitmap(data) };
  },
};

self.onmessage = async ({ data: { number, job, ...asked } }) => {
  try {
    const answer = await jobs[job](asked);
    self.postMessage({ number, answer }, answer.bitmap ? [answer.bitmap] : []);
  } catch (error) {
    self.postMessage({ number, error: error.message });
  }
};

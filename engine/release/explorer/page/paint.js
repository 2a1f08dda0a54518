// Painting the masks of a picture into one image, the smallest on top.
import { eachPiece } from "./rle.js";

/**
 * Which mask is seen where: a Uint16Array, column by column, of 0 (none) or 1 + the place of a mask in `masks`.
 * masks: decoded, or null where one is not to be seen; the first lies lowest. width, height: of the picture;
 * scaledWidth, scaledHeight: of what is painted.
 */
export function paintIds(masks, height, width, scaledHeight, scaledWidth) {
  const ids = new Uint16Array(scaledHeight * scaledWidth);
  const column = sampled(width, scaledWidth);
  const same = height === scaledHeight, scale = scaledHeight / height;
  masks.forEach((ends, place) => {
    if (!ends) return;
    eachPiece(ends, height, (x, from, to) => {
      if (column[x] < 0) return;
      const first = same ? from : Math.ceil(from * scale - 0.5), end = same ? to : Math.ceil(to * scale - 0.5);
      if (end > first) ids.fill(place + 1, column[x] * scaledHeight + first, column[x] * scaledHeight + end);
    });
  });
  return ids;
}

/** Which scaled column shows a column of the picture; -1 for those that none does. */
function sampled(width, scaledWidth) {
  const columns = new Int32Array(width).fill(-1);
  for (let x = 0; x < scaledWidth; x++) columns[Math.min(width - 1, Math.floor(((x + 0.5) * width) / scaledWidth))] = x;
  return columns;
}

/**
 * The colours of ids, row by row, as a Uint32Array for ImageData. fills, borders: a colour (0xAABBGGRR) for each id;
 * a border is where a neighbour has another id.
 */
export function colourIds(ids, height, width, fills, borders) {
  const colours = new Uint32Array(height * width), block = 64;
  for (let top = 0; top < height; top += block) {
    const foot = Math.min(height, top + block);
    for (let x = 0; x < width; x++) {
      const column = x * height, left = x ? column - height : column, right = x < width - 1 ? column + height : column;
      for (let y = top; y < foot; y++) {
        const id = ids[column + y];
        if (id === 0) continue;
        const inside = ids[left + y] === id && ids[right + y] === id
          && (y === 0 || ids[column + y - 1] === id) && (y === height - 1 || ids[column + y + 1] === id);
        colours[y * width + x] = inside ? fills[id] : borders[id];
      }
    }
  }
  return colours;
}

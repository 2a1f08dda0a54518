// COCO's compressed run-length encoding. A mask is read column by column; runs of background and mask alternate,
// background first. A decoded mask is a Uint32Array with the end of each run: `ends[0]` pixels of background, ...

/** The ends of all runs of compressed counts. Throws an Error where they do not fill a mask of so many pixels. */
export function decodeCounts(counts, pixels) {
  const ends = new Uint32Array(counts.length);
  let runs = 0, at = 0, end = 0, before = 0, last = 0;  // lengths of the run two places before, and one
  while (at < counts.length) {
    let value = 0, groups = 0, more = true;
    while (more) {
      const group = counts.charCodeAt(at++) - 48;
      if (!(group >= 0 && group < 64) || groups > 6) throw new Error(`broken counts at character ${at - 1}`);
      value += (group & 0x1f) * 2 ** (5 * groups++);
      more = (group & 0x20) !== 0;
      if (!more && group & 0x10) value -= 2 ** (5 * groups);
    }
    if (runs > 2) value += before;
    before = last;
    last = value;
    end += value;
    if (value < 0 || end > pixels) throw new Error(`run ${runs} does not fit into the picture`);
    ends[runs++] = end;
  }
  if (end !== pixels) throw new Error(`runs fill ${end} of ${pixels} pixels`);
  return ends.slice(0, runs);
}

/** Whether the pixel in column x, row y of a picture of this height is in a decoded mask. */
export function contains(ends, height, x, y) {
  const pixel = x * height + y;
  let low = 0, high = ends.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] > pixel) high = middle;
    else low = middle + 1;
  }
  return low % 2 === 1;
}

/** Calls each(column, first row, end row) for all pieces of a mask, none of them across two columns. */
export function eachPiece(ends, height, each) {
  for (let run = 1; run < ends.length; run += 2) {
    let start = ends[run - 1];
    const end = ends[run];
    while (start < end) {
      const column = Math.floor(start / height), foot = (column + 1) * height, stop = Math.min(end, foot);
      each(column, start - column * height, stop - column * height);
      start = stop;
    }
  }
}

/** The pixels of a mask, row by row, as a Uint8Array of 0 and 1. */
export function toPixels(ends, height, width) {
  const pixels = new Uint8Array(height * width);
  eachPiece(ends, height, (x, from, to) => {
    for (let y = from; y < to; y++) pixels[y * width + x] = 1;
  });
  return pixels;
}

/**
 * The border of a mask along the edges of its pixels: closed rings, each a flat array x, y, x, y, ... of its corners,
 * the mask on the right hand.
 */
export function outline(ends, height) {
  const next = new Map();  // from a corner to where its edges lead
  const stride = height + 1;
  const edge = (x0, y0, x1, y1) => {
    const from = x0 * stride + y0, to = x1 * stride + y1, there = next.get(from);
    if (there === undefined) next.set(from, to);
    else if (Array.isArray(there)) there.push(to);
    else next.set(from, [there, to]);
  };
  let column = -2, pieces = [], before = [];
  const closeColumn = () => {
    for (const [from, to] of pieces) {
      edge(column, from, column + 1, from);
      edge(column + 1, to, column, to);
    }
    sides(column, before, pieces, edge);
  };
  eachPiece(ends, height, (x, from, to) => {
    if (x !== column) {
      closeColumn();
      if (x !== column + 1) sides(column + 1, pieces, [], edge);
      before = x === column + 1 ? pieces : [];
      pieces = [];
      column = x;
    }
    const last = pieces[pieces.length - 1];
    if (last && last[1] === from) last[1] = to;
    else pieces.push([from, to]);
  });
  closeColumn();
  sides(column + 1, pieces, [], edge);
  return rings(next, stride);
}

/** Vertical edges at x between the pieces of the columns left and right of it: where one of them has the mask. */
function sides(x, left, right, edge) {
  const cuts = [];
  for (const [from, to] of left) cuts.push([from, 1], [to, -1]);
  for (const [from, to] of right) cuts.push([from, 2], [to, -2]);
  cuts.sort((a, b) => a[0] - b[0]);
  let inLeft = false, inRight = false, since = 0;
  for (const [y, what] of cuts) {
    if (inLeft !== inRight && y > since) {
      if (inRight) edge(x, y, x, since);
      else edge(x, since, x, y);
    }
    if (Math.abs(what) === 1) inLeft = what > 0;
    else inRight = what > 0;
    since = y;
  }
}

function rings(next, stride) {
  const found = [];
  while (next.size) {
    const start = next.keys().next().value;
    const ring = [];
    let at = start, dx = 0, dy = 0;
    do {
      const leads = next.get(at);
      const to = Array.isArray(leads) ? leads.pop() : leads;
      if (!Array.isArray(leads) || leads.length === 0) next.delete(at);
      const x0 = Math.floor(at / stride), y0 = at % stride, x1 = Math.floor(to / stride), y1 = to % stride;
      const sx = Math.sign(x1 - x0), sy = Math.sign(y1 - y0);
      if (sx !== dx || sy !== dy) ring.push(x0, y0);
      [dx, dy, at] = [sx, sy, to];
    } while (at !== start);
    found.push(ring);
  }
  return found;
}

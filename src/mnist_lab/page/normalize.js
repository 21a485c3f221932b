// From strokes to the 28x28 image that a network knows: what explore/normalize.py does, for a drawing in the browser.
// A digit of MNIST fits a box of 20x20 and has its centre of mass at index 14; the pen is 2.25 pixels wide.

export const SIDE = 28;
const BOX = 20, CENTRE = 14, PEN = 2.25;

// Strokes, each a list of points [x, y], y downwards, in any unit -> { image: Uint8Array(784), problem: null or words }.
// The points are scaled, not a drawing of them, so that the pen is as wide for a small digit as for a large one.
// A drawing of no more than `smallest` units is a dot.
export function fromStrokes(strokes, smallest = 0) {
  const lines = strokes.filter((stroke) => stroke.length);
  if (!lines.length) return { image: new Uint8Array(SIDE * SIDE), problem: "nothing is drawn there" };
  const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  for (const point of lines.flat()) {
    for (const axis of [0, 1]) {
      low[axis] = Math.min(low[axis], point[axis]);
      high[axis] = Math.max(high[axis], point[axis]);
    }
  }
  const extent = Math.max(high[0] - low[0], high[1] - low[1]);
  const scale = extent > smallest ? (BOX - PEN) / extent : 0;
  const place = (value, axis) => CENTRE + (value - (low[axis] + high[axis]) / 2) * scale;
  const segments = lines.flatMap((line) => {
    const points = line.map(([x, y]) => [place(x, 0), place(y, 1)]);
    return points.length > 1 ? points.slice(1).map((end, i) => [...points[i], ...end]) : [[...points[0], ...points[0]]];
  });
  const [x, y] = centreOfMass(pen(segments, 0, 0));
  const ink = pen(segments, CENTRE - x, CENTRE - y);
  return { image: Uint8Array.from(ink, (value) => Math.round(255 * value)), problem: scale ? null : "a dot" };
}

// The ink (784) in [0, 1] of a round pen along segments [x1, y1, x2, y2], moved by dx, dy.
function pen(segments, dx, dy) {
  const nearest = new Float64Array(SIDE * SIDE).fill(Infinity); // squared distances
  const reach = PEN / 2 + 0.5;
  for (const [x1, y1, x2, y2] of segments) {
    const left = x1 + dx, top = y1 + dy, along = x2 - x1, down = y2 - y1;
    const length = Math.max(along * along + down * down, 1e-12);
    // Only the pixels that the segment can ink: most of them are far from it.
    const [firstX, lastX] = within(left, left + along, reach), [firstY, lastY] = within(top, top + down, reach);
    for (let y = firstY; y <= lastY; y++) {
      for (let x = firstX; x <= lastX; x++) {
        const part = Math.min(1, Math.max(0, ((x - left) * along + (y - top) * down) / length));
        const fromX = x - left - part * along, fromY = y - top - part * down;
        const distance = fromX * fromX + fromY * fromY, i = y * SIDE + x;
        if (distance < nearest[i]) nearest[i] = distance;
      }
    }
  }
  return nearest.map((distance) => Math.min(1, Math.max(0, reach - Math.sqrt(distance))));
}

const within = (a, b, reach) => [
  Math.max(0, Math.floor(Math.min(a, b) - reach)),
  Math.min(SIDE - 1, Math.ceil(Math.max(a, b) + reach)),
];

function centreOfMass(ink) {
  let mass = 0, x = 0, y = 0;
  ink.forEach((value, i) => {
    mass += value;
    x += value * (i % SIDE);
    y += value * Math.floor(i / SIDE);
  });
  return [x / mass, y / mass];
}

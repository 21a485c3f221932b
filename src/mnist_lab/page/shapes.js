// The steps of a network, their shapes, and which value comes from which.

const size = (shape) => shape.reduce((a, b) => a * b, 1);

// Steps in stages: a stage begins with a layer that has weights.
export function stages(steps) {
  const found = [];
  steps.forEach((step, index) => {
    if (step.weights || !found.length) found.push([]);
    found.at(-1).push({ ...step, index });
  });
  return found;
}

// A shape as [tiles, height, width].
export const tiled = (shape) => (shape.length === 3 && shape[1] * shape[2] > 1 ? shape : [size(shape), 1, 1]);

// The pixels in which one value is shown.
export function zoomOf([, height, width]) {
  const longest = Math.max(height, width);
  return longest === 1 ? 14 : longest < 6 ? 7 : longest < 10 ? 5 : longest < 20 ? 3 : 2;
}

// What a value is called: its class, its unit, or its channel and place.
export function where(shape, index, classes) {
  if (classes) return classes[index];
  const [, height, width] = tiled(shape), area = height * width, inside = index % area;
  if (area === 1) return `unit ${index + 1}`;
  return `channel ${Math.floor(index / area) + 1}, row ${Math.floor(inside / width) + 1}, column ${(inside % width) + 1}`;
}

// How the numbers lie that a layer with weights takes: a convolution's patch, or the images that a dense layer sees.
export function inputTiles({ kind, weights }, before) {
  if (kind !== "dense") return weights.slice(1);
  const tiles = before ? tiled(before.shape) : [1, 28, 28];
  return size(tiles) === weights[1] ? tiles : weights[1] === 784 ? [1, 28, 28] : [weights[1], 1, 1];
}

// The way from value `index` of step `last` of a stage back to the sum that it comes from: that sum's index, and the
// steps on the way with their words. Null where a step joins what cannot be told apart.
export function wayBack(stage, last, index, values) {
  const way = [];
  for (let i = last; i > 0; i--) {
    const step = stage[i], before = values[stage[i - 1].index], value = values[step.index][index];
    let says, from = index;
    if (step.kind === "max pooling") {
      from = largest(step, stage[i - 1].shape, index, before);
      says = `the largest of ${step.window}×${step.window}`;
    } else if (step.kind === "ReLU") says = value > 0 ? "above zero, it stays" : `${before[index] < 0 ? "below" : "not above"} zero, it becomes 0`;
    else if (step.kind === "sigmoid") says = "squeezed between 0 and 1";
    else if (step.kind === "batch norm") says = "scaled and shifted";
    else return null;
    way.unshift({ kind: step.kind, says, value });
    index = from;
  }
  return { index, way };
}

// The index of the largest value in the window of a pooling.
function largest({ shape: [, rows, columns], window }, [, height, width], index, values) {
  const channel = Math.floor(index / (rows * columns)), inside = index % (rows * columns);
  const first = (channel * height + Math.floor(inside / columns) * window) * width + (inside % columns) * window;
  const all = Array.from({ length: window * window }, (_, k) => first + Math.floor(k / window) * width + (k % window));
  return all.reduce((best, at) => (values[at] > values[best] ? at : best));
}

// The pixels of the image that unit `index` of a convolution's sum can see: { rows: [first, last], columns }, or null.
export function receptiveField(all, number, index) {
  const [{ shape, kind }] = all[number];
  if (kind !== "convolution") return null;
  const place = index % (shape[1] * shape[2]), y = Math.floor(place / shape[2]), x = place % shape[2];
  let rows = [y, y], columns = [x, x];
  for (const { weights, stride, before, window } of [all[number][0], ...all.slice(0, number).flat().reverse()]) {
    const widened = ([first, last]) => {
      if (weights) return [first * stride - before, last * stride - before + weights[2] - 1];
      return window ? [first * window, (last + 1) * window - 1] : [first, last];
    };
    rows = widened(rows);
    columns = widened(columns);
  }
  const inside = ([first, last]) => [Math.max(0, first), Math.min(27, last)];
  return { rows: inside(rows), columns: inside(columns) };
}

// A network that is inside the page: our own layers, computed here. Beside remote.js, which asks a server; both give
// the same methods and results, which docs/explore.md lists.
import { backward, forward, softmax } from "forward";

const POINTS = 8; // on the way from a blank image, for integrated gradients
const WINDOW = 4, STRIDE = 2; // pixels that occlusion takes away at once, and from one window to the next

// `data` is what explore/page.py put into the file: info, operations, packed weights, known images, the test set's part.
export function open(data) {
  const packed = bytes(data.packed);
  const operations = data.operations.map((operation) => unpacked(operation, packed));
  const known = data.familiar && familiar(data.familiar);
  const shifted = operations.length === 1 && operations[0].op === "shifts";
  const own = shifted ? operations[0].inside : operations; // where it looked is asked of the image itself

  function run(image) {
    const tape = [];
    const input = { shape: [1, 28, 28], data: Float32Array.from(image, (value) => value / 255) };
    const logits = forward(operations, input, tape).data;
    const named = new Map(tape.map((step) => [step.operation.name, step]));
    return { logits, tape, steps: data.info.steps.map((step) => named.get(step.name)) };
  }

  function gradient(input, target) {
    const tape = [];
    forward(own, { shape: [1, 28, 28], data: input }, tape);
    return backward(own, tape, oneHot(target));
  }

  const logit = (input, target) => forward(own, { shape: [1, 28, 28], data: input }).data[target];

  return {
    info: data.info,

    // Of the methods the gradient comes at once: its forward pass is made already.
    async look(image, { target = null, methods = [] } = {}) {
      const { logits, steps, tape } = run(image), best = logits.indexOf(Math.max(...logits));
      const there = methods.includes("gradient") ? { gradient: backward(own, tape, oneHot(target ?? best)) } : {};
      const values = steps.map((step) => step.output.data);
      return { logits, probabilities: softmax(logits), strange: known ? known(image, best) : null, values, looked: there };
    },

    async unit(image, step, index) {
      const { operation, input, output } = run(image).steps[step];
      const { shape, weights, bias } = operation;
      const length = weights.length / shape[0];
      const row = operation.op === "dense" ? index : Math.floor(index / (output.shape[1] * output.shape[2]));
      const inputs = operation.op === "dense" ? input.data : patch(operation, input, output, index);
      return { inputs, weights: weights.slice(row * length, (row + 1) * length), bias: bias ? bias[row] : 0, sum: output.data[index] };
    },

    async weights(step) {
      return run(new Uint8Array(784)).steps[step].operation.weights;
    },

    // Three answers to where it looked, as explore/inside.py defines them. Gives up, with null, once `signal` is aborted.
    async looked(image, method, target, signal) {
      const input = Float32Array.from(image, (value) => value / 255);
      if (method === "gradient") return gradient(input, target);
      const found = new Float32Array(784);
      if (method === "integrated") {
        for (let i = 0; i < POINTS; i++) {
          const there = gradient(input.map((value) => (value * (i + 0.5)) / POINTS), target);
          there.forEach((value, k) => (found[k] += (value * input[k]) / POINTS));
          if (await interrupted(signal)) return null;
        }
        return found;
      }
      const covered = new Float32Array(784), whole = logit(input, target);
      for (let y = 0; y + WINDOW <= 28; y += STRIDE) {
        for (let x = 0; x + WINDOW <= 28; x += STRIDE) {
          const pixels = Array.from({ length: WINDOW * WINDOW }, (_, k) => (y + Math.floor(k / WINDOW)) * 28 + x + (k % WINDOW));
          for (const pixel of pixels) covered[pixel]++;
          if (pixels.every((pixel) => !input[pixel])) continue;
          const without = input.slice();
          for (const pixel of pixels) without[pixel] = 0;
          const fall = whole - logit(without, target);
          for (const pixel of pixels) found[pixel] += fall;
          if (await interrupted(signal)) return null;
        }
      }
      return found.map((value, i) => value / covered[i]);
    },

    testset: async () => withImages(data.testset),
  };
}

const oneHot = (target) => Float32Array.from({ length: 10 }, (_, i) => (i === target ? 1 : 0));

const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

// The test set's mistakes, each with its image, and the mean image of each class: `images` holds them in this order.
export function withImages({ images, mistakes, ...rest }) {
  const all = bytes(images), image = (i) => all.subarray(784 * i, 784 * (i + 1));
  const means = Array.from({ length: 10 }, (_, i) => image(mistakes.length + i));
  return { ...rest, means, mistakes: mistakes.map((mistake, i) => ({ ...mistake, image: image(i) })) };
}

// Let the page draw, at most every 10 ms; whether the work is no longer wanted.
let since = 0;
async function interrupted(signal) {
  if (performance.now() > since + 10) {
    const { port1, port2 } = new MessageChannel(); // a timer would wait for 4 ms at least
    await new Promise((resolve) => {
      port1.onmessage = resolve;
      port2.postMessage(null);
    });
    port1.close();
    since = performance.now();
  }
  return signal?.aborted;
}

// An operation with its weights as float32 instead of where they begin in `packed`.
function unpacked(operation, packed) {
  const floats = (begin, length) => new Float32Array(packed.buffer, packed.byteOffset + begin, length);
  if (operation.inside) return { ...operation, inside: operation.inside.map((inner) => unpacked(inner, packed)) };
  const { channels, shape, block } = operation;
  if (channels) return { ...operation, scale: floats(operation.scale, channels), shift: floats(operation.shift, channels) };
  if (!shape) return operation;
  const rows = shape[0], length = shape.slice(1).reduce((a, b) => a * b, 1), blocks = Math.ceil(length / block);
  const scales = floats(operation.scales, rows * blocks);
  const whole = new Int8Array(packed.buffer, packed.byteOffset + operation.weights, rows * length);
  const weights = new Float32Array(rows * length);
  for (let row = 0, w = 0; row < rows; row++) {
    for (let i = 0; i < length; i++, w++) weights[w] = whole[w] * scales[row * blocks + Math.floor(i / block)];
  }
  return { ...operation, weights, bias: operation.bias === undefined ? null : floats(operation.bias, rows) };
}

// What a unit of a convolution sees of its input, with zeros for the padding: (channels, height, width).
function patch({ shape: [, channels, height, width], stride, before }, input, output, index) {
  const size = input.shape[1], columns = output.shape[2], area = output.shape[1] * columns;
  const top = Math.floor((index % area) / columns) * stride - before, left = ((index % area) % columns) * stride - before;
  const seen = new Float32Array(channels * height * width);
  seen.forEach((_, i) => {
    const channel = Math.floor(i / (height * width)), y = top + (Math.floor(i / width) % height), x = left + (i % width);
    if (y >= 0 && y < size && x >= 0 && x < size) seen[i] = input.data[(channel * size + y) * size + x];
  });
  return seen;
}

// A function that says whether an image is unlike all known images of a label (explore/familiar.py).
function familiar({ images, labels, least }) {
  const shown = bytes(images), vectors = labels.map((_, i) => unitLength(Float32Array.from(shown.subarray(196 * i, 196 * (i + 1)))));
  return (image, label) => {
    const mine = unitLength(coarse(image));
    let nearest = 0;
    vectors.forEach((vector, i) => {
      if (labels[i] !== label) return;
      let cosine = 0;
      for (let k = 0; k < 196; k++) cosine += vector[k] * mine[k];
      nearest = Math.max(nearest, cosine);
    });
    return nearest < least;
  };
}

// Blurred to 14x14: the mean of 4x4 pixels, two apart, with a border of zeros.
function coarse(image) {
  return new Float32Array(196).map((_, i) => {
    const top = 2 * Math.floor(i / 14) - 1, left = 2 * (i % 14) - 1;
    let sum = 0;
    for (let y = Math.max(0, top); y < Math.min(28, top + 4); y++) {
      for (let x = Math.max(0, left); x < Math.min(28, left + 4); x++) sum += image[28 * y + x];
    }
    return sum / 16;
  });
}

function unitLength(vector) {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0)) || 1;
  return vector.map((value) => value / length);
}

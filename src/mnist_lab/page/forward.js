// The operations of our own networks, forward and back to the image. A tensor is { shape, data: Float32Array };
// shapes are [channels, height, width] or [features]. explore/program.py writes the list of operations.

// The output of `operations` for the tensor `input`. Each step's input and output are noted in `tape`, in their order.
export function forward(operations, input, tape = []) {
  let now = input;
  for (const operation of operations) {
    const step = { operation, input: now, inside: [] };
    now = step.output = KINDS[operation.op].forward(operation, now, step);
    tape.push(...step.inside, step);
  }
  return now;
}

// The gradient by the image, from the gradient by the output, back along the steps of one forward pass.
export function backward(operations, tape, gradient) {
  const at = new Map(tape.map((step) => [step.operation, step]));
  for (const operation of [...operations].reverse()) {
    gradient = KINDS[operation.op].backward(operation, gradient, at.get(operation), tape);
  }
  return gradient;
}

const tensor = (shape, data = new Float32Array(shape.reduce((a, b) => a * b, 1))) => ({ shape, data });
const each = (input, change) => tensor(input.shape, input.data.map(change));
const times = (gradient, slope) => gradient.map((value, i) => value * slope(i));

const KINDS = {
  flatten: {
    forward: (_, input) => tensor([input.data.length], input.data),
    backward: (_, gradient) => gradient,
  },
  normalize: {
    forward: ({ mean, std }, input) => each(input, (value) => (value - mean) / std),
    backward: ({ std }, gradient) => gradient.map((value) => value / std),
  },
  relu: {
    forward: (_, input) => each(input, (value) => (value > 0 ? value : 0)),
    backward: (_, gradient, { input }) => times(gradient, (i) => (input.data[i] > 0 ? 1 : 0)),
  },
  sigmoid: {
    forward: (_, input) => each(input, (value) => 1 / (1 + Math.exp(-value))),
    backward: (_, gradient, { output }) => times(gradient, (i) => output.data[i] * (1 - output.data[i])),
  },
  affine: {
    forward({ scale, shift, channels }, input) {
      const area = input.data.length / channels;
      return tensor(input.shape, input.data.map((value, i) => {
        const channel = Math.floor(i / area);
        return value * scale[channel] + shift[channel];
      }));
    },
    backward({ scale, channels }, gradient) {
      const area = gradient.length / channels;
      return times(gradient, (i) => scale[Math.floor(i / area)]);
    },
  },
  dense: {
    forward({ weights, bias, shape: [rows, columns] }, input) {
      const output = tensor([rows]);
      for (let row = 0; row < rows; row++) {
        output.data[row] = dot(weights, row * columns, input.data, 0, columns) + (bias ? bias[row] : 0);
      }
      return output;
    },
    backward({ weights, shape: [rows, columns] }, gradient) {
      const back = new Float32Array(columns);
      for (let row = 0; row < rows; row++) add(back, 0, gradient[row], weights, row * columns, columns);
      return back;
    },
  },
  // Patches of the input, one for each place, times the weights of each unit.
  convolution: {
    forward(operation, input) {
      const { weights, bias, shape: [units, , height] } = operation, seen = input.data;
      const side = Math.floor((input.shape[1] + operation.before + operation.after - height) / operation.stride) + 1;
      const places = side * side, length = weights.length / units, patches = new Float32Array(places * length);
      eachRow(operation, input.shape[1], side, (from, to, count) => {
        for (let k = 0; k < count; k++) patches[to + k] = seen[from + k];
      });
      const output = tensor([units, side, side]);
      for (let unit = 0, i = 0; unit < units; unit++) {
        const start = bias ? bias[unit] : 0;
        for (let place = 0; place < places; place++) {
          output.data[i++] = dot(weights, unit * length, patches, place * length, length) + start;
        }
      }
      return output;
    },
    backward(operation, gradient, { input, output }) {
      const { weights, shape: [units] } = operation, side = output.shape[1], places = side * side, length = weights.length / units;
      const patches = new Float32Array(places * length), back = new Float32Array(input.data.length);
      for (let place = 0; place < places; place++) {
        for (let unit = 0; unit < units; unit++) {
          add(patches, place * length, gradient[unit * places + place], weights, unit * length, length);
        }
      }
      eachRow(operation, input.shape[1], side, (from, to, count) => {
        for (let k = 0; k < count; k++) back[from + k] += patches[to + k];
      });
      return back;
    },
  },
  max_pool: {
    forward: ({ window }, input) => pool(input, window, (values) => values.reduce((a, b) => Math.max(a, b))),
    backward: ({ window }, gradient, { input, output }) =>
      unpool(input, window, gradient, (value, i) => (value === output.data[i] ? 1 : 0), true),
  },
  mean_pool: {
    forward: ({ window }, input) => pool(input, window, (values) => values.reduce((a, b) => a + b) / values.length),
    backward: ({ window }, gradient, { input }) => unpool(input, window, gradient, () => 1 / window ** 2),
  },
  mean: {
    forward({}, input) {
      const [channels, height, width] = input.shape, area = height * width, output = tensor([channels, 1, 1]);
      input.data.forEach((value, i) => (output.data[Math.floor(i / area)] += value / area));
      return output;
    },
    backward(_, gradient, { input }) {
      const area = input.data.length / gradient.length;
      return new Float32Array(input.data.length).map((_, i) => gradient[Math.floor(i / area)] / area);
    },
  },
  residual: {
    forward({ inside }, input, step) {
      const output = forward(inside, input, step.inside);
      return each(output, (value, i) => Math.max(0, value + input.data[i]));
    },
    backward({ inside }, gradient, { output }, tape) {
      const through = times(gradient, (i) => (output.data[i] > 0 ? 1 : 0));
      return backward(inside, tape, through).map((value, i) => value + through[i]);
    },
  },
  // The logarithm of the mean probability over copies of the image, each moved by up to `pixels`; the image itself is
  // the last of them, and the one whose steps are noted. Back goes the gradient of that one.
  shifts: {
    forward({ pixels, inside }, input, step) {
      const places = [];
      for (let down = -pixels; down <= pixels; down++) {
        for (let right = -pixels; right <= pixels; right++) places.push([down, right]);
      }
      const distance = ([down, right]) => (down || right ? 0 : 1);
      places.sort((a, b) => distance(a) - distance(b));
      const sums = new Float64Array(10);
      for (const place of places) {
        step.inside.length = 0;
        const logits = forward(inside, moved(input, ...place), step.inside);
        softmax(logits.data).forEach((value, i) => (sums[i] += value / places.length));
      }
      return tensor([10], Float32Array.from(sums, (value) => Math.log(value)));
    },
    backward: ({ inside }, gradient, _, tape) => backward(inside, tape, gradient),
  },
};

// The sum of the products of a from i on and b from k on. Four sums at once: each waits for its own last addition.
function dot(a, i, b, k, length) {
  let first = 0, second = 0, third = 0, fourth = 0;
  const end = i + length - 3;
  for (; i < end; i += 4, k += 4) {
    first += a[i] * b[k];
    second += a[i + 1] * b[k + 1];
    third += a[i + 2] * b[k + 2];
    fourth += a[i + 3] * b[k + 3];
  }
  for (; i < end + 3; i++, k++) first += a[i] * b[k];
  return first + second + (third + fourth);
}

// to[i...] += factor * from[k...]
function add(to, i, factor, from, k, length) {
  if (!factor) return; // most gradients behind a ReLU
  for (const end = i + length; i < end; i++, k++) to[i] += factor * from[k];
}

// The rows of all patches of a convolution's input: visit(where it begins there, where in the patches, how many). The
// patch of place p begins at p times its length; what lies in the padding is left out.
function eachRow({ shape: [, channels, height, width], stride, before }, size, side, visit) {
  const length = channels * height * width;
  for (let place = 0; place < side * side; place++) {
    const top = Math.floor(place / side) * stride - before, left = (place % side) * stride - before;
    const skipped = Math.max(0, -left), count = Math.min(width, size - left) - skipped;
    for (let channel = 0; channel < channels; channel++) {
      for (let y = Math.max(0, -top); y < Math.min(height, size - top); y++) {
        visit((channel * size + top + y) * size + left + skipped, place * length + (channel * height + y) * width + skipped, count);
      }
    }
  }
}

function pool(input, window, join) {
  const [channels, height, width] = input.shape, rows = Math.floor(height / window), columns = Math.floor(width / window);
  const output = tensor([channels, rows, columns]), values = new Float32Array(window * window);
  for (let i = 0; i < output.data.length; i++) {
    const first = corner(i, rows, columns, height, width, window);
    for (let k = 0; k < values.length; k++) values[k] = input.data[first + Math.floor(k / window) * width + (k % window)];
    output.data[i] = join(values);
  }
  return output;
}

// The gradient by the inputs of a pooling: to each goes share(value, output's index); `one` stops after the first.
function unpool(input, window, gradient, share, one = false) {
  const [, height, width] = input.shape, rows = Math.floor(height / window), columns = Math.floor(width / window);
  const back = new Float32Array(input.data.length);
  gradient.forEach((value, i) => {
    const first = corner(i, rows, columns, height, width, window);
    for (let k = 0; k < window * window; k++) {
      const at = first + Math.floor(k / window) * width + (k % window), part = share(input.data[at], i);
      back[at] += value * part;
      if (one && part) return;
    }
  });
  return back;
}

function corner(i, rows, columns, height, width, window) {
  const channel = Math.floor(i / (rows * columns)), y = Math.floor(i / columns) % rows, x = i % columns;
  return (channel * height + y * window) * width + x * window;
}

// The image moved up and left by `down` and `right`; the border is repeated.
function moved(input, down, right) {
  const [, height, width] = input.shape, inside = (value, size) => Math.min(size - 1, Math.max(0, value));
  const from = (i) => inside(Math.floor(i / width) + down, height) * width + inside((i % width) + right, width);
  return tensor(input.shape, input.data.map((_, i) => input.data[from(i)]));
}

export function softmax(logits) {
  const most = Math.max(...logits), powers = Array.from(logits, (logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

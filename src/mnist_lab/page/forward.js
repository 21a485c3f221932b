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
      const x = input.data, output = tensor([rows]);
      for (let row = 0, w = 0; row < rows; row++) {
        let sum = bias ? bias[row] : 0;
        for (let i = 0; i < columns; i++) sum += weights[w++] * x[i];
        output.data[row] = sum;
      }
      return output;
    },
    backward({ weights, shape: [rows, columns] }, gradient) {
      const back = new Float32Array(columns);
      for (let row = 0; row < rows; row++) {
        const g = gradient[row];
        if (g) for (let i = 0, w = row * columns; i < columns; i++) back[i] += g * weights[w++];
      }
      return back;
    },
  },
  convolution: {
    forward(operation, input) {
      const { weights, bias, shape: [outputs], stride, before, after } = operation;
      const out = Math.floor((input.shape[1] + before + after - operation.shape[2]) / stride) + 1;
      const output = tensor([outputs, out, out]), y = output.data, x = input.data;
      if (bias) for (let channel = 0; channel < outputs; channel++) y.fill(bias[channel], channel * out * out, (channel + 1) * out * out);
      taps(operation, input.shape[1], out, (w, from, to, count) => {
        const weight = weights[w];
        for (let i = 0; i < count; i++) y[to + i] += weight * x[from + i * stride];
      });
      return output;
    },
    backward(operation, gradient, { input, output }) {
      const { weights, stride } = operation, back = new Float32Array(input.data.length);
      taps(operation, input.shape[1], output.shape[1], (w, from, to, count) => {
        const weight = weights[w];
        for (let i = 0; i < count; i++) back[from + i * stride] += weight * gradient[to + i];
      });
      return back;
    },
  },
  max_pool: {
    forward: ({ window }, input) => pool(input, window, (values) => values.reduce((a, b) => Math.max(a, b))),
    backward: ({ window }, gradient, { input, output }) => unpool(input, window, gradient, (value, i) => (value === output.data[i] ? 1 : 0), true),
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
      for (let down = -pixels; down <= pixels; down++) for (let right = -pixels; right <= pixels; right++) places.push([down, right]);
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

// Every weight of a convolution with the rows of pixels that it joins: visit(weight's index, first input, first output,
// how many outputs in the row). Padding is what is left out.
function taps({ shape: [outputs, inputs, height, width], stride, before }, size, out, visit) {
  let w = 0;
  for (let channel = 0; channel < outputs; channel++) {
    for (let from = 0; from < inputs; from++) {
      for (let ky = 0; ky < height; ky++) {
        for (let kx = 0; kx < width; kx++, w++) {
          const first = Math.max(0, Math.ceil((before - kx) / stride));
          const end = Math.min(out, Math.floor((size - 1 + before - kx) / stride) + 1);
          for (let y = 0; y < out; y++) {
            const row = y * stride + ky - before;
            if (row < 0 || row >= size || end <= first) continue;
            visit(w, (from * size + row) * size + first * stride + kx - before, (channel * out + y) * out + first, end - first);
          }
        }
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
  const data = input.data.map((_, i) => input.data[inside(Math.floor(i / width) + down, height) * width + inside((i % width) + right, width)]);
  return tensor(input.shape, data);
}

export function softmax(logits) {
  const most = Math.max(...logits), powers = Array.from(logits, (logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

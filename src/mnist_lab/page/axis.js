// Numbers and axes: how values are written, round ticks, places on the screen, and finding points of a line.

import { short } from "dom";

// Formats of an axis: 1,234 or 0.25; and a share as a percentage.
export function number(value, step) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
  if (size && size < 1e-3) return value.toExponential(step === undefined ? 2 : 0).replace(/\.?0*e/, "e");
  const exact = Number.isInteger(value) ? String(value) : short(value);
  const text = step === undefined ? exact : value.toFixed(decimals(step));
  const [whole, ...rest] = text.split(".");
  return [whole.replace(/\B(?=(\d{3})+$)/g, ","), ...rest].join(".");
}
export const percents = (value, step) =>
  Number.isFinite(value) ? `${(100 * value).toFixed(step === undefined ? 2 : decimals(100 * step))} %` : "–";

const decimals = (step) => Math.max(0, Math.min(9, -Math.floor(Math.log10(step) + 1e-9)));

// At most about `most` round numbers from low to high, each with the distance to its neighbour.
export function ticks(low, high, most, log = false, least = 0) {
  if (log && low > 0 && high / low >= 8) {
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    for (const [every, digits] of [[1, [1, 2, 5]], [1, [1]], [2, [1]], [3, [1]], [6, [1]]]) {
      const found = [];
      for (let power = Math.ceil(first / every) * every; power <= last; power += every)
        for (const digit of digits) found.push({ value: Number(`${digit}e${power}`), step: 10 ** power });
      const inside = found.filter(({ value }) => value >= low * 0.999 && value <= high * 1.001);
      if (inside.length <= most && inside.length > 1) return inside;
    }
  }
  const rough = Math.max((high - low) / Math.max(most, 1), least, 1e-300);
  const power = 10 ** Math.floor(Math.log10(rough) + 1e-9);
  const step = power * ([1, 2, 5].find((digit) => digit * power >= rough * 0.999) ?? 10);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-6); i <= high / step + 1e-6 && found.length < 1000; i++) found.push({ value: i * step, step });
  return found;
}

// What 1 pixel is on an ordinary page: pages have larger letters on very wide screens.
export const unit = () => parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;

// From values to pixels; back() is the way back.
export function scale(log, low, high, from, to) {
  const there = log ? Math.log10 : (value) => value;
  const start = there(low), each = (to - from) / (there(high) - start || 1);
  const pixels = (value) => from + (there(value) - start) * each;
  pixels.back = (pixel) => (log ? 10 ** (start + (pixel - from) / each) : start + (pixel - from) / each);
  return pixels;
}

// Of the points from start to end, the indices of the lowest and the highest in each pixel column, and of both ends:
// about two points a column draw the same line, and no peak is lost.
export function thin(x, y, start, end, X) {
  const kept = [];
  let column = NaN, low = start, high = start;
  const keep = (i) => kept[kept.length - 1] === i || kept.push(i);
  const flush = () => {
    keep(Math.min(low, high));
    keep(Math.max(low, high));
  };
  keep(start);
  for (let i = start + 1; i < end - 1; i++) {
    const now = Math.floor(X(x[i]));
    if (now !== column) {
      if (column === column) flush();
      [column, low, high] = [now, i, i];
    } else if (y[i] < y[low]) low = i;
    else if (y[i] > y[high]) high = i;
  }
  if (column === column) flush();
  keep(end - 1);
  return kept;
}

// The index of the nearest value, in ascending values.
export function nearest(values, value) {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low > 0 && (low === values.length || value - values[low - 1] <= values[low] - value) ? low - 1 : low;
}

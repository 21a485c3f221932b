// What runs have recorded: from the server, as they train, or from this file. view/recording.py describes the records.

const LENGTHS = 8; // bytes: the lengths of a record's header and body

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

// Sixteen greys, two pixels a byte -> a byte a pixel.
function unpack(pixels) {
  const images = new Uint8Array(2 * pixels.length);
  for (let i = 0; i < pixels.length; i += 1) {
    images[2 * i] = (pixels[i] >> 4) * 17;
    images[2 * i + 1] = (pixels[i] & 15) * 17;
  }
  return images;
}

const digitsOf = (text) => Int8Array.from(text, (character) => character.charCodeAt(0) - 48);

// Where in an ascending array the values end that are at most `value`.
export function endOf(values, value) {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

// One run. `load(kind, step)` fetches the bytes of a record that was not sent.
export class Recording {
  constructor(load) {
    this.load = load;
    this.frames = []; // their headers, by step
    this.version = 0; // how often there was something new
    this.steps = [];
    this.table = { columns: [], rows: [] };
    this.text = ""; // of metrics.csv that is not a complete line yet
    this.bodies = new Map();
    this.curves = new Map(); // name -> {steps, values}, made when they are asked for
  }

  take({ frames, curves }, body) {
    if (frames) {
      if (!frames.new.length) this.loaded = null; // a run that begins anew in the same place may watch other digits
      for (const gone of this.frames.splice(frames.from)) this.bodies.delete(gone.step);
      this.frames.push(...frames.new);
      this.steps = this.frames.map((frame) => frame.step);
      const newest = this.frames.at(-1);
      if (newest && body?.length) this.keep(newest.step, Promise.resolve(body));
    }
    if (curves) {
      if (curves.from === 0) this.table = { columns: [], rows: [] };
      const lines = curves.text.split("\n").filter(Boolean);
      if (curves.from === 0) this.table.columns = lines.shift()?.split(",") ?? [];
      for (const line of lines) {
        const row = line.split(",").map((cell) => (cell === "" ? null : Number(cell)));
        if (Number.isSafeInteger(row[0])) this.table.rows.push(row);
      }
    }
    this.curves.clear();
    this.version += 1;
  }

  // Keep the digits of a frame, and of a few before it only; null where they are damaged or gone.
  keep(step, bytes) {
    this.bodies.set(step, bytes.then(inflate).then(unpack).catch(() => null));
    for (const old of [...this.bodies.keys()].slice(0, -20)) this.bodies.delete(old);
  }

  // The steps that can be shown.
  get stops() {
    return this.steps.length ? this.steps : this.table.rows.map((row) => row[0]);
  }

  // What is watched while training: val or test; null where nothing is.
  get part() {
    if (this.frames.some((frame) => frame.evaluated?.test_loss !== undefined)) return "test";
    const tested = this.curve("test_loss").steps.length > 1; // the test at the end leaves one point
    return tested ? "test" : this.curve("val_loss").steps.length ? "val" : null;
  }

  // A metric over the steps, of metrics.csv and of the frames.
  curve(name) {
    if (!this.curves.has(name)) this.curves.set(name, this.merged(name));
    return this.curves.get(name);
  }

  merged(name) {
    const points = new Map();
    const [part, kind] = name.split("_");
    for (const frame of this.frames) {
      if (part === "train" && frame.train[kind] !== undefined) points.set(frame.step, frame.train[kind] ?? NaN);
      if (frame.evaluated && name in frame.evaluated) points.set(frame.evaluated.step, frame.evaluated[name] ?? NaN);
    }
    const column = this.table.columns.indexOf(name);
    if (column > 0) {
      for (const row of this.table.rows) if (row[column] !== null && row[column] !== undefined) points.set(row[0], row[column]);
    }
    const steps = [...points.keys()].sort((a, b) => a - b);
    return { steps, values: steps.map((step) => points.get(step)) };
  }

  // The frame at `step`, or the last before it.
  frameAt(step) {
    return this.frames[endOf(this.steps, step) - 1];
  }

  // The digits of the batch of a frame: images, a byte a pixel, labels, predictions; null where they are not there.
  async batch(frame) {
    if (!this.bodies.has(frame.step)) this.keep(frame.step, this.load("frame", frame.step));
    const images = await this.bodies.get(frame.step);
    return images && { images, labels: digitsOf(frame.labels), predictions: digitsOf(frame.predictions) };
  }

  // The digits that are watched: images, labels, classes, part; null where none are.
  async watched() {
    if (!this.loaded) {
      this.loaded = this.load("digits").then(async (bytes) => {
        if (!bytes?.length) return null;
        const lengths = new DataView(bytes.buffer, bytes.byteOffset, LENGTHS);
        const end = LENGTHS + lengths.getUint32(0, true);
        const about = JSON.parse(new TextDecoder().decode(bytes.subarray(LENGTHS, end)));
        return { ...about, labels: digitsOf(about.labels), images: await inflate(bytes.subarray(end)) };
      }).catch(() => null);
    }
    return this.loaded;
  }

  // The predictions of the watched digits as they were at `frame`; -1 where there was none yet.
  predictionsAt(frame, count) {
    const predictions = new Int8Array(count).fill(-1);
    let missing = count;
    for (let i = endOf(this.steps, frame.step) - 1; i >= 0 && missing > 0; i -= 1) {
      const [start, made] = this.frames[i].watched;
      for (let j = 0; j < made.length; j += 1) {
        if (predictions[start + j] === -1) {
          predictions[start + j] = made.charCodeAt(j) - 48;
          missing -= 1;
        }
      }
    }
    return predictions;
  }
}

// The runs of the server that this page is from.
export class LiveSource {
  constructor() {
    this.live = true;
    this.runs = new Map(); // id -> what is known of it
    this.named = []; // those to show first
    this.recordings = new Map();
    this.listeners = new Set();
    this.ended = false; // whether the server is gone
    this.connect();
    // A page that somebody has left, but may come back to, looks at nothing.
    addEventListener("pagehide", () => { this.left = true; this.socket.close(); });
    addEventListener("pageshow", () => { if (this.left) this.connect(); this.left = false; });
  }

  connect() {
    this.socket = new WebSocket(`${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/live`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (event) => this.take(event.data);
    this.socket.onopen = () => {
      this.ended = false;
      this.recordings.clear();
      if (this.shown) this.show(this.shown);
    };
    this.socket.onclose = () => {
      if (this.left) return;
      this.ended = true;
      this.tell();
      setTimeout(() => this.connect(), 2000); // a run that is started later may serve the same address
    };
  }

  take(buffer) {
    const length = new DataView(buffer).getUint32(0, true);
    const said = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    if (said.runs) {
      if (said.named) {
        this.runs.clear();
        this.named = said.named;
      }
      for (const [id, about] of Object.entries(said.runs)) {
        if (about) this.runs.set(id, about);
        else this.runs.delete(id);
      }
    }
    if (said.run) {
      this.recording(said.run).take(said, new Uint8Array(buffer, 4 + length));
      requestAnimationFrame(() => this.send({ taken: true }));
    }
    this.tell();
  }

  recording(id) {
    if (!this.recordings.has(id)) {
      this.recordings.set(id, new Recording(async (kind, step) => {
        const answer = await fetch(`records/${kind}?${new URLSearchParams({ run: id, ...(step !== undefined && { step }) })}`);
        if (!answer.ok) throw new Error(`${kind} of step ${step} is not there`);
        return new Uint8Array(await answer.arrayBuffer());
      }));
    }
    return this.recordings.get(id);
  }

  // Ask for what these runs record.
  show(ids) {
    this.shown = ids;
    this.send({ show: ids });
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  tell() {
    for (const listener of this.listeners) listener();
  }
}

// The runs in this file.
export class FileSource {
  constructor({ runs, named, recorded }) {
    this.live = this.ended = false;
    this.runs = new Map(Object.entries(runs));
    this.named = named;
    this.listeners = new Set();
    this.recordings = new Map();
    for (const [id, { frames, curves, bodies, digits }] of Object.entries(recorded)) {
      const recording = new Recording(async (kind, step) => fromBase64(kind === "digits" ? digits : bodies[step]));
      recording.take({ frames: { from: 0, new: frames }, curves: { from: 0, text: curves } });
      this.recordings.set(id, recording);
    }
  }

  recording(id) {
    return this.recordings.get(id);
  }

  show() {}
}

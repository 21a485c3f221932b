// Where one draws: with a pen, a finger, the mouse or the keyboard. What is kept are the points, not the picture.
import { el } from "dom";
import { paintInk } from "paint";

export const SIZE = 280; // the units of the points; the canvas may be shown in any size
const PEN = 16, STEP = 14; // how wide a stroke is shown; how far an arrow key goes

// changed(strokes, up): called while one draws, and with up = true when the pen is lifted, undo and clear included.
export function pad(changed) {
  let strokes = [], undone = [], drawing = null, backdrop = null;
  const cursor = { x: SIZE / 2, y: SIZE / 2, down: false, seen: false };
  const canvas = el("canvas", {
    class: "x-pad", tabindex: 0, role: "application", "aria-describedby": "x-pad-keys",
    "aria-label": "Drawing area: arrow keys move the pen, space puts it down and lifts it",
  });
  const context = canvas.getContext("2d");
  const said = el("span", { class: "unseen", "aria-live": "polite" });

  function paint() {
    const pixels = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)) || SIZE;
    if (canvas.width !== pixels) canvas.width = canvas.height = pixels;
    const style = getComputedStyle(canvas);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, pixels, pixels);
    context.scale(pixels / SIZE, pixels / SIZE);
    if (backdrop) {
      const small = el("canvas", { width: 28, height: 28 });
      paintInk(small, backdrop, [1, 28, 28]);
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, SIZE, SIZE);
    }
    context.lineWidth = PEN;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = style.color;
    for (const stroke of strokes) {
      context.beginPath();
      context.moveTo(...stroke[0]);
      for (const point of stroke.length > 1 ? stroke.slice(1) : stroke) context.lineTo(...point);
      context.stroke();
    }
    if (cursor.seen && document.activeElement === canvas) {
      context.lineWidth = 2;
      context.strokeStyle = context.fillStyle = style.getPropertyValue("--accent");
      context.beginPath();
      context.arc(cursor.x, cursor.y, PEN / 2 + 3, 0, 7);
      context.stroke();
      if (cursor.down) context.fill();
    }
  }

  function tell(up) {
    paint();
    changed(strokes, up);
  }

  function begin(point) {
    if (backdrop) strokes = [];
    backdrop = null;
    undone = [];
    strokes.push((drawing = [point]));
  }

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIZE, ((event.clientY - box.top) / box.height) * SIZE];
  };

  let pointer = null; // the one that draws: a hand that rests on the screen is another
  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    pointer = event.pointerId;
    canvas.setPointerCapture?.(pointer);
    cursor.seen = cursor.down = false;
    begin(place(event));
    tell(false);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    const all = event.getCoalescedEvents?.() ?? []; // a fast pen moves several times between two frames
    drawing.push(...(all.length ? all : [event]).map(place));
    tell(false);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, (event) => {
      if (event.pointerId !== pointer) return;
      pointer = drawing = null;
      tell(true);
    });
  }

  const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey) {
      if (event.key !== "z") return;
      undo();
    } else if (directions[event.key]) {
      const [x, y] = directions[event.key], step = event.shiftKey ? STEP / 4 : STEP;
      cursor.seen = true;
      cursor.x = Math.min(SIZE, Math.max(0, cursor.x + x * step));
      cursor.y = Math.min(SIZE, Math.max(0, cursor.y + y * step));
      if (cursor.down) drawing.push([cursor.x, cursor.y]);
      if (cursor.down) tell(false);
      else paint();
    } else if (event.key === " " || event.key === "Enter") {
      cursor.seen = true;
      cursor.down = !cursor.down;
      said.textContent = cursor.down ? "pen down" : "pen up";
      if (cursor.down) begin([cursor.x, cursor.y]);
      else drawing = null;
      tell(!cursor.down);
    } else if (event.key === "Backspace") undo();
    else if (event.key === "Delete" || event.key === "Escape") clear();
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => {
    cursor.seen = cursor.down = false;
    paint();
  });

  function undo() {
    if (!strokes.length) return;
    cursor.down = false;
    drawing = null;
    undone.push(strokes.pop());
    tell(true);
  }
  function redo() {
    if (!undone.length) return;
    strokes.push(undone.pop());
    tell(true);
  }
  function clear() {
    cursor.down = false;
    strokes = [];
    undone = [];
    drawing = backdrop = null;
    tell(true);
  }

  new ResizeObserver(paint).observe(canvas);
  const element = el("div", { class: "x-draw" },
    canvas, said,
    el("div", { class: "x-row" },
      el("button", { onclick: undo, type: "button" }, "Undo"),
      el("button", { onclick: redo, type: "button" }, "Redo"),
      el("button", { onclick: clear, type: "button" }, "Clear")),
    el("p", { class: "faint x-small", id: "x-pad-keys" },
      "Pen, finger, mouse or keys: arrows move, space puts the pen down or lifts it, Backspace undoes, Delete clears."));
  return {
    element, paint,
    // Show an image (784) of a data set in place of strokes.
    show(image) {
      strokes = [];
      undone = [];
      backdrop = image;
      paint();
    },
    strokes: () => strokes,
  };
}

// What one drew, labelled, to download as a data set: IDX files and PNGs in a ZIP.
import { count, download, el } from "dom";
import { paintInk } from "paint";
import { idx, zip } from "zip";

// current(): the image that is drawn now and what it was taken for, { image, predicted }, or null.
export function own(classes, current) {
  const kept = []; // { image, label, predicted, picture }
  const list = el("div", { class: "x-thumbs" }), tally = el("p", { role: "status" }, "Nothing kept yet.");
  const part = el("select", { "aria-label": "What the data is for" },
    el("option", { value: "train" }, "to train on"), el("option", { value: "t10k" }, "to test with"));
  const save = el("button", { type: "button", onclick: hand, disabled: true }, "Download");

  function tell() {
    const right = kept.filter(({ label, predicted }) => label === predicted).length;
    tally.textContent = kept.length ? `${count(kept.length)} kept; the network had ${count(right)} of them right.` : "Nothing kept yet.";
    save.disabled = !kept.length;
    list.replaceChildren(...kept.map((one) => el("button", {
      type: "button", class: `x-thumb${one.label === one.predicted ? "" : " x-wrong"}`,
      "aria-label": `${classes[one.label]}, taken for ${classes[one.predicted]}; click to remove`,
      onclick: () => (kept.splice(kept.indexOf(one), 1), tell()),
    }, one.picture, el("span", {}, classes[one.label]))));
  }

  function keep(label) {
    const now = current();
    if (!now) return void (tally.textContent = "Draw something first.");
    const picture = el("canvas", {});
    paintInk(picture, now.image, [1, 28, 28]);
    kept.push({ ...now, label, picture });
    tell();
  }

  async function hand() {
    download("my_digits.zip", await write());
  }

  // In the names of MNIST's files, so that the folder is a data set.
  async function write() {
    const images = new Uint8Array(784 * kept.length);
    kept.forEach(({ image }, i) => images.set(image, 784 * i));
    const files = {
      [`${part.value}-images-idx3-ubyte`]: idx(images, [kept.length, 28, 28]),
      [`${part.value}-labels-idx1-ubyte`]: idx(Uint8Array.from(kept, ({ label }) => label), [kept.length]),
    };
    for (const [i, { image, label }] of kept.entries()) files[`png/${String(i + 1).padStart(4, "0")}-${label}.png`] = await png(image);
    return zip(files);
  }

  return {
    element: el("section", { class: "x-own" },
      el("h2", {}, classes.every((name) => name.length === 1) ? "Your own digits" : "Your own images"),
      el("p", { class: "faint" }, "Say what the drawing really is, and keep it. The download is a data set:"),
      el("code", {}, "python train.py data=own data.root=my_digits"),
      el("div", { class: "x-row", role: "group", "aria-label": "Keep the drawing as" },
        el("span", {}, "This is"), classes.map((name, label) => el("button", { type: "button", onclick: () => keep(label) }, name))),
      tally, list, el("div", { class: "x-row" }, part, save)),
  };
}

// Light ink on black, as the data has it.
async function png(image) {
  const canvas = el("canvas", { width: 28, height: 28 }), picture = new ImageData(28, 28);
  image.forEach((value, i) => picture.data.set([value, value, value, 255], 4 * i));
  canvas.getContext("2d").putImageData(picture, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve));
  return new Uint8Array(await blob.arrayBuffer());
}

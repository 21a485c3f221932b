// A network that a server runs, with torch: any module of any run. The same methods and results as network.js.
import { withImages } from "network";
import { softmax } from "forward";

// The run that the server calls `run`, with the weights of one of its checkpoints.
export async function connect(run, checkpoint = "last") {
  const query = (more) => new URLSearchParams({ run, checkpoint, ...more });

  async function ask(what, { image, signal, ...more } = {}) {
    const order = image ? { method: "POST", body: image, headers: { "Content-Type": "application/octet-stream" } } : {};
    const answer = await fetch(`explore/${what}?${query(more)}`, { ...order, signal });
    if (!answer.ok) throw new Error(await answer.text());
    return answer;
  }
  const numbers = async (...order) => new Float32Array(await (await ask(...order)).arrayBuffer());

  const info = await (await ask("about")).json();
  const sizes = info.steps.map(({ shape }) => shape.reduce((a, b) => a * b, 1));

  return {
    info,

    async look(image, { target = null, methods = [], signal } = {}) {
      const all = await numbers("look", { image, signal, methods: methods.join(), ...(target === null ? {} : { target }) });
      let begin = 0;
      const next = (size) => all.subarray(begin, (begin += size));
      const [[strange], logits, values] = [next(1), next(10), sizes.map(next)];
      const there = Object.fromEntries(methods.map((method) => [method, next(784)]));
      return { logits, probabilities: softmax(logits), strange: Number.isNaN(strange) ? null : strange > 0, values, looked: there };
    },

    async unit(image, step, index, signal) {
      const all = await numbers("unit", { image, signal, step, index }), middle = all.length / 2 + 1;
      return { bias: all[0], sum: all[1], inputs: all.subarray(2, middle), weights: all.subarray(middle) };
    },

    weights: (step) => numbers("weights", { step }),

    looked: (image, method, target, signal) => numbers("looked", { image, signal, method, target }),

    testset: async () => withImages(await (await ask("testset")).json()),
  };
}

"""Draw the pictures of docs/lessons.md from the curves in docs/results, and write the times."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import recipes

from mnist_lab.runs.metrics import Metrics

DOCS = Path(__file__).parents[1] / "docs"
COLOURS = ("#0072B2", "#D55E00", "#009E73")  # of Okabe and Ito: colour-blind readers can tell them apart

# For each picture: the label of its y axis, the recipe and the metric of each line, and the range of y.
PICTURES: dict[str, tuple[str, dict[str, tuple[str, str]], tuple[float, float]]] = {
    "stuck": (
        "accuracy on the test images",
        {
            "sigmoid, plain SGD": ("sigmoid_four_hidden_sgd", "test_accuracy"),
            "sigmoid, Adam": ("sigmoid_four_hidden", "test_accuracy"),
            "ReLU, Adam": ("relu", "test_accuracy"),
        },
        (0, 1),
    ),
    "decay": (
        "accuracy on the test images",
        {"fixed learning rate": ("relu", "test_accuracy"), "decaying learning rate": ("relu_decay", "test_accuracy")},
        (0.95, 0.99),
    ),
    "overfitting": (
        "cross-entropy",
        {
            "test": ("relu_decay", "test_loss"),
            "test, with dropout": ("relu_dropout", "test_loss"),
            "training batch": ("relu_decay", "train_loss"),
        },
        (0, 0.3),
    ),
    "nan": (
        "accuracy on the test images",
        {"logits": ("relu", "test_accuracy"), "written out": ("nan_written_out", "test_accuracy")},
        (0.9, 1),
    ),
    "zero": (
        "accuracy on the test images",
        {"truncated normal": ("relu", "test_accuracy"), "zeros": ("zero_init", "test_accuracy")},
        (0, 1),
    ),
    "patches": (
        "accuracy on the test images",
        {
            "4, 8, 12 channels": ("strided_small", "test_accuracy"),
            "6, 12, 24 channels": ("strided_bigger", "test_accuracy"),
            "and dropout": ("strided_dropout", "test_accuracy"),
        },
        (0.975, 0.995),
    ),
}


def timed(text: str) -> str:
    """docs/lessons.md with the seconds that each lesson's recipes take, as they are in docs/results."""
    known = {recipe.name: recipe for recipe in recipes.recipes() + recipes.recipes("Lesson")}

    def write(found: re.Match[str]) -> str:
        took = [recipes.quickest(list(known[name].results().values())) for name in found[1].split(", ")]
        parts = [f"{seconds:.0f} s ({threads} thread{'s' * (threads > 1)})" for seconds, threads in took]
        return f"<!-- seconds: {found[1]} -->{', '.join(parts)}<!-- end -->"

    return re.sub("<!-- seconds: (.*?) -->.*?<!-- end -->", write, text)


def main() -> None:
    """Draw each picture from the runs with seed 0, and write the times."""
    lessons = DOCS / "lessons.md"
    lessons.write_text(timed(lessons.read_text(encoding="utf-8")), encoding="utf-8")
    for name, (label, lines, limits) in PICTURES.items():
        figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
        for (text, (recipe, metric)), colour in zip(lines.items(), COLOURS, strict=False):
            curves = Metrics(DOCS / "results" / recipe / "seed0.csv")
            steps, values = curves.steps(metric), curves[metric]
            thin = metric.startswith("train")
            axes.plot(steps, values, color=colour, label=text, linewidth=0.6 if thin else 1.4, alpha=0.8)
        if name == "nan":
            axes.plot(steps[-1], values[-1], "x", color=colour, markersize=10, markeredgewidth=2)
        axes.set(xlabel="step", ylabel=label, ylim=limits)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        figure.savefig(DOCS / "pictures" / f"lesson_{name}.png", dpi=110)
        plt.close(figure)


if __name__ == "__main__":
    main()

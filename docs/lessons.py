"""Draw the pictures of docs/lessons.md from the curves in docs/results."""

import csv
from pathlib import Path

import matplotlib.pyplot as plt

HERE = Path(__file__).parent
COLOURS = ("#0072B2", "#D55E00", "#009E73")  # of Okabe and Ito: told apart by colour-blind readers too

# Picture: what is drawn from which runs, and the range shown.
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
        {"rate 0.003": ("relu", "test_accuracy"), "decaying rate": ("relu_decay", "test_accuracy")},
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


def curve(recipe: str, metric: str) -> tuple[list[int], list[float]]:
    """Steps and values of ``metric`` in the run of ``recipe`` with seed 0."""
    with (HERE / "results" / recipe / "seed0.csv").open(newline="") as file:
        points = [(int(row["step"]), float(row[metric])) for row in csv.DictReader(file) if row[metric]]
    return [step for step, _ in points], [value for _, value in points]


def main() -> None:
    """Draw them all."""
    for name, (label, lines, limits) in PICTURES.items():
        figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
        for (text, (recipe, metric)), colour in zip(lines.items(), COLOURS, strict=False):
            steps, values = curve(recipe, metric)
            thin = metric.startswith("train")
            axes.plot(steps, values, color=colour, label=text, linewidth=0.6 if thin else 1.4, alpha=0.8)
        if name == "nan":
            axes.plot(steps[-1], values[-1], "x", color=colour, markersize=10, markeredgewidth=2)
        axes.set(xlabel="step", ylabel=label, ylim=limits)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        figure.savefig(HERE / "pictures" / f"lesson_{name}.png", dpi=110)
        plt.close(figure)


if __name__ == "__main__":
    main()

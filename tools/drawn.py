"""Measure runs on digits that other people drew, into docs/predict.md: ``make drawn RUNS="outputs/pooled/<run>"``.

The digits are pen strokes by 30 writers (E. Alpaydin and F. Alimoglu, Pen-Based Recognition of Handwritten Digits, UCI
Machine Learning Repository, CC BY 4.0): ``pendigits/pendigits-orig.tra`` in the data's folder or beside it. Everything
in explore/normalize.py was chosen on writers 1 to 20 (``--choose``); writers 21 to 30 are what is reported.
"""

import argparse
import io
import json
import os
import string
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from mnist_lab.data.sources import load as load_data
from mnist_lab.explore import normalize
from mnist_lab.explore.familiar import familiar
from mnist_lab.runs.run import Run, load, probabilities

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "drawn.json"
DOC = ROOT / "docs" / "predict.md"
FILE = Path("pendigits/pendigits-orig.tra")
CHOSEN_ON, REPORTED = range(1, 21), range(21, 31)  # writers
PENS = (1, 8, 28)  # of a canvas of 280 pixels, when strokes are made pictures first
LIKE_DIGITS = "BbgIiloOqSsZz"  # letters that are digits in somebody's hand
Array = np.ndarray[Any, Any]


class Drawn:
    """A digit, who wrote it, and its strokes: points (n, 2), y downwards."""

    def __init__(self, digit: int, writer: int):
        self.digit, self.writer, self.strokes = digit, writer, []

    def canvas(self, pen: int) -> Image.Image:
        """As somebody draws it on a page of 280 x 280 pixels with a pen so wide, read back from a PNG."""
        points = np.concatenate(self.strokes)
        low, high = points.min(axis=0), points.max(axis=0)
        scale = 200 / max((high - low).max(), 1)
        page = Image.new("L", (280, 280), "white")
        draw = ImageDraw.Draw(page)
        for stroke in self.strokes:
            at = [tuple(point) for point in 140 + (stroke - (low + high) / 2) * scale]
            draw.line(at, "black", pen, joint="curve")
            for x, y in (at[0], at[-1]):
                draw.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), "black")
        file = io.BytesIO()
        page.save(file, "PNG")
        return Image.open(file)


def read(text: str) -> list[Drawn]:
    """The digits in a UNIPEN file: ``.COMMENT digit writer sample``, then points between .PEN_DOWN and .PEN_UP."""
    drawn: list[Drawn] = []
    for words in map(str.split, text.splitlines()):
        if len(words) == 4 and words[0] == ".COMMENT":
            drawn.append(Drawn(int(words[1]), int(words[2])))
        elif words == [".PEN_DOWN"]:
            drawn[-1].strokes.append([])
        elif len(words) == 2 and not words[0].startswith("."):
            drawn[-1].strokes[-1].append((float(words[0]), -float(words[1])))
    for digit in drawn:
        digit.strokes = [np.array(points) for points in digit.strokes if points]
    return drawn


def images(drawn: list[Drawn], pen: int | None = None) -> Array:
    """Normalised: from the strokes, or from a picture of them by a pen."""
    made = [
        normalize.from_picture(one.canvas(pen)) if pen else normalize.from_strokes(one.strokes)
        for one in tqdm(drawn, desc=f"pen {pen}" if pen else "strokes", disable=None)
    ]
    return np.stack([found.image for found in made])


def letters(seed: int = 0) -> tuple[Array, Array]:
    """Each letter 12 times in Pillow's own font, slanted, turned and bolder: (n, 28, 28) and which (n,)."""
    generator, made, which = np.random.default_rng(seed), [], []
    for letter in string.ascii_letters * 12:
        page = Image.new("L", (300, 300), "white")
        font, slant = ImageFont.load_default(generator.integers(120, 180)), generator.uniform(-0.3, 0.3)
        bold = int(generator.integers(0, 4))
        ImageDraw.Draw(page).text((150, 150), letter, "black", font, anchor="mm", stroke_width=bold)
        slanted = (1, slant, -150 * slant, 0, 1, 0)
        page = page.transform(page.size, Image.Transform.AFFINE, slanted, Image.Resampling.BICUBIC, fillcolor="white")
        made.append(normalize.from_picture(page.rotate(generator.uniform(-10, 10), fillcolor="white")).image)
        which.append(letter)
    return np.stack(made), np.array(which)


def scribbles(count: int = 300, seed: int = 0) -> Array:
    """Curves that are no character, (n, 28, 28)."""
    generator, t = np.random.default_rng(seed), np.linspace(0, 1, 60)
    made = []
    for _ in range(count):
        x, y = (sum(np.cos(generator.integers(1, 6) * k * t + generator.uniform(0, 7)) for k in (3, 6)) for _ in "xy")
        made.append(normalize.from_strokes([np.stack([x, y], axis=1)]).image)
    return np.stack(made)


def measure(run: Run, drawn: list[Drawn], made: dict[str, Array], strange: dict[str, Array]) -> dict[str, Any]:
    """One run's row: accuracies over writers and over digits, of strokes and of pictures; what is marked as strange."""
    network, known = run.network(), familiar(run)

    def answers(images: Array) -> Array:
        return probabilities(network, images).argmax(axis=1)

    digits, writers = np.array([one.digit for one in drawn]), np.array([one.writer for one in drawn])
    right = {how: answers(images) == (digits if how == "strokes" else digits[::3]) for how, images in made.items()}
    data = load_data(run.data, Path(run.config.data.root), download=False)
    test, labels = data.test_images.numpy(), data.test_labels.numpy()
    given = answers(test)
    marked = {"test": np.array(known.strange(test, given))} | {
        name: np.array(known.strange(images, answers(images))) for name, images in strange.items()
    }
    sure = probabilities(network, made["strokes"])[~right["strokes"]].max(axis=1)
    return {
        "seed": run.result.seed,
        "steps": run.result.steps,
        "test_accuracy": run.result.test_accuracy,
        "by_writer": {int(writer): right["strokes"][writers == writer].mean() for writer in REPORTED},
        "by_digit": {digit: right["strokes"][digits == digit].mean() for digit in range(10)},
        "accuracy": {how: values.mean() for how, values in right.items()},
        "sure_of_errors": sure.mean(),
        "marked": {
            "test, right": marked["test"][given == labels].mean(),
            "test, wrong": marked["test"][given != labels].mean(),
            "strokes, right": np.mean(known.strange(made["strokes"], answers(made["strokes"])), where=right["strokes"]),
        }
        | {name: marked[name].mean() for name in strange},
    }


def choose(run: Run, drawn: list[Drawn]) -> list[list[Any]]:
    """Accuracy on writers 1 to 20, each constant of the normaliser varied by itself."""
    some, network, rows = drawn[::3], run.network(), []
    digits = np.array([one.digit for one in some])
    for name, values in {"PEN": (1.5, 2.0, 2.25, 2.5, 3.0), "BOX": (19, 20, 21), "CENTRE": (13.5, 14.0, 14.5)}.items():
        usual = getattr(normalize, name)
        for value in values:
            setattr(normalize, name, value)
            accuracy = (probabilities(network, images(some)).argmax(axis=1) == digits).mean()
            rows.append([name, value, float(accuracy)])
            print(*rows[-1], flush=True)
        setattr(normalize, name, usual)
    return rows


def tables(results: dict[str, Any]) -> dict[str, str]:
    """What docs/predict.md shows, as Markdown."""
    pens = [f"picture, pen of {pen}" for pen in PENS]
    heads = ["trained by", "MNIST's test set", "strokes: mean ± spread over the writers", "worst writer", "worst digit"]
    drawn = [f"| {' | '.join(heads + pens)} |", "|---" * len(heads + pens) + "|"]
    marks = [name for row in list(results["runs"].values())[:1] for name in row["marked"]]
    heads = ["trained by", *marks, "mean probability of errors on strokes"]
    strange = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, row in results["runs"].items():
        writers, digit = row["by_writer"].values(), min(row["by_digit"], key=row["by_digit"].get)
        writer = min(row["by_writer"], key=row["by_writer"].get)
        cells = [
            f"`{name}`, seed {row['seed']}",
            f"{row['test_accuracy']:.2%}",
            f"{fmean(writers):.1%} ± {stdev(writers):.1%}",
            f"{writer}: {min(writers):.1%}",
            f"{digit}: {row['by_digit'][digit]:.1%}",
            *(f"{row['accuracy'][how]:.1%}" for how in pens),
        ]
        drawn.append(f"| {' | '.join(cells)} |")
        marked = [f"{share:.1%}" for share in row["marked"].values()]
        strange.append(f"| `{name}` | {' | '.join([*marked, format(row['sure_of_errors'], '.2f')])} |")
    chosen = [f"| constant | value | accuracy of `{results.get('chosen_with')}` |", "|---|---|---|"]
    chosen += [f"| `{name}` | {value} | {accuracy:.1%} |" for name, value, accuracy in results.get("choice", [])]
    return {"drawn": "\n".join(drawn), "strange": "\n".join(strange), "choice": "\n".join(chosen)}


def write(results: dict[str, Any]) -> None:
    """Keep ``results``, and put their tables into the document."""
    RESULTS.write_text(json.dumps(results, indent=1, default=float) + "\n", encoding="utf-8")
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    for name, table in tables(results).items():
        begin, end = f"<!-- {name}: written by `make drawn` -->\n", f"<!-- end of {name} -->"
        before, rest = DOC.read_text(encoding="utf-8").split(begin)
        DOC.write_text(f"{before}{begin}{table}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def main() -> None:
    """Measure the runs that are named, and keep the rows of others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", help="directories of runs; their names name the rows")
    parser.add_argument("--choose", action="store_true", help="vary the normaliser on writers 1 to 20, with the first")
    args = parser.parse_args()
    root = Path(os.environ.get("MNIST_LAB_DATA", ROOT / "data"))
    path = next((folder / FILE for folder in (root, root.parent) if (folder / FILE).exists()), None)
    if path is None:
        print(f"drawn: SKIPPED, there is no {root / FILE}; name the folder of the data with MNIST_LAB_DATA")
        return
    drawn = read(path.read_text(encoding="utf-8"))
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"runs": {}}
    if args.choose:
        results["choice"] = choose(load(args.runs[0]), [one for one in drawn if one.writer in CHOSEN_ON])
        results["chosen_with"] = load(args.runs[0]).result.name
    elif args.runs:
        others = [one for one in drawn if one.writer in REPORTED]
        made = {"strokes": images(others)} | {f"picture, pen of {pen}": images(others[::3], pen) for pen in PENS}
        alphabet, which = letters()
        like = np.isin(which, list(LIKE_DIGITS))
        noise = np.random.default_rng(0).integers(0, 256, (300, 28, 28)).astype(np.uint8)
        strange = {"letters": alphabet[~like], f"letters {LIKE_DIGITS}": alphabet[like], "scribbles": scribbles()}
        strange["noise"] = noise
        for run in map(load, args.runs):
            results["runs"][str(run.result.name)] = measure(run, others, made, strange)
    write(results)


if __name__ == "__main__":
    main()

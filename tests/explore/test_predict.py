"""``python -m mnist_lab.predict`` and ``Run.predict``, on a run trained here and files written here."""

import csv
import gzip
import io
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Lab, environment, lab_in
from PIL import Image, ImageDraw

import mnist_lab
from mnist_lab.data import sources
from mnist_lab.errors import UserError
from mnist_lab.explore.familiar import Familiar, familiar
from mnist_lab.explore.predict import main, recognise
from mnist_lab.runs.result import Result

DIGITS = sources.load("mnist5k", Path())
IMAGES, LABELS = DIGITS.test_images.numpy()[::10], DIGITS.test_labels.numpy()[::10]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> mnist_lab.Run:
    folder = tmp_path_factory.mktemp("runs")
    words = ["model=mlp_relu", "data=mnist5k", "data.normalize=true", "trainer.max_steps=300", "seed=1"]
    return lab_in(folder)(*words, "logger=none", "optim=adam", "optim.lr=0.003", "trainer.val_check_interval=300")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(IMAGES[number]).save(folder / f"{number}.png")
    Image.fromarray(255 - IMAGES[3]).resize((280, 280)).convert("RGB").save(folder / "deep" / "3.jpg", quality=95)
    (folder / "notes.txt").write_text("no picture")
    return folder


def told(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, list[dict[str, Any]], list[str]]:
    """The exit code, the answers and the lines on stderr."""
    code = main([*map(str, words), "--json"])
    said = capsys.readouterr()
    return code, [json.loads(line) for line in said.out.splitlines()], said.err.splitlines()


def idx(images: Any) -> bytes:
    return struct.pack(">4B3I", 0, 0, 8, 3, *images.shape) + images.tobytes()


def test_python_and_the_command_say_the_same(
    run: mnist_lab.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = mnist_lab.load(run.directory).predict(IMAGES)
    assert (found.digits == LABELS).mean() > 0.8
    assert found.labels == [str(digit) for digit in found.digits]
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    (tmp_path / "50-images").write_bytes(idx(IMAGES))
    code, answers, _ = told(capsys, run.directory, tmp_path / "50-images")
    assert (code, [answer["digit"] for answer in answers]) == (0, found.digits.tolist())
    np.testing.assert_allclose([a["probability"] for a in answers], found.probabilities.max(axis=1), atol=1e-5)
    runner_up = np.sort(found.probabilities, axis=1)[:, -2]
    np.testing.assert_allclose([a["runner_up_probability"] for a in answers], runner_up, atol=1e-5)
    assert all(a["runner_up"] != a["digit"] for a in answers)
    as_floats = run.predict(IMAGES / 255)
    np.testing.assert_allclose(as_floats.probabilities, found.probabilities, atol=1e-5)
    assert run.predict(IMAGES[:0]).labels == []


@pytest.mark.parametrize(
    "wrong", [np.zeros((28, 28)), np.zeros((2, 784)), np.full((1, 28, 28), 255.0), [[[np.nan] * 28] * 28]]
)
def test_arrays_that_are_no_images_get_one_line(run: mnist_lab.Run, wrong: Any) -> None:
    with pytest.raises(UserError, match="predict: images"):
        run.predict(wrong)


def test_files_folders_patterns_arrays_and_packed_ones(
    run: mnist_lab.Run, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(pictures / "a.npy", IMAGES[:2] / 255)
    np.save(pictures / "flat.npy", IMAGES[:2].reshape(2, 784))
    np.save(pictures / "channel.npy", IMAGES[:1, None])
    (pictures / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES[:3])))
    code, answers, said = told(capsys, run.directory, pictures)
    assert (code, said) == (0, [])
    expected = run.predict(IMAGES[:4]).digits.tolist()
    names = [answer["file"].removeprefix(f"{pictures}/") for answer in answers]
    packed = [f"t10k-images-idx3-ubyte.gz[{n}]" for n in range(3)]
    assert names == [
        "0.png",
        "1.png",
        "2.png",
        "a.npy[0]",
        "a.npy[1]",
        "channel.npy[0]",
        "deep/3.jpg",
        "flat.npy[0]",
        "flat.npy[1]",
        *packed,
    ]
    order = [0, 1, 2, 0, 1, 0, 3, 0, 1, 0, 1, 2]
    assert [answer["digit"] for answer in answers] == [expected[number] for number in order]
    _, answers, _ = told(capsys, run.directory, pictures / "*.png", pictures / "deep" / "3.jpg")
    assert [answer["digit"] for answer in answers] == expected


def test_what_cannot_be_read_is_a_line_and_stops_nothing(
    run: mnist_lab.Run, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (pictures / "0.png").read_bytes()
    (pictures / "00cut.png").write_bytes(whole[: len(whole) - 60])
    (pictures / "01text.png").write_text("no picture")
    (pictures / "02empty.png").write_bytes(b"")
    Image.new("1", (12_000, 12_000)).save(pictures / "03bomb.png")
    (pictures / "04cut.npy").write_bytes(b"\x93NUMPY\x01\x00")
    np.save(pictures / "05pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(pictures / "06big.npy", np.full((1, 28, 28), 300))
    (pictures / "07cut.gz").write_bytes(gzip.compress(idx(IMAGES))[:300])
    (pictures / "08cut-idx3-ubyte").write_bytes(idx(IMAGES[:2])[:-1])
    (pictures / "09labels.gz").write_bytes(gzip.compress(struct.pack(">4BI", 0, 0, 8, 1, 2) + b"\1\2"))
    code, answers, said = told(capsys, run.directory, pictures)
    assert code == 1
    assert said[-1].startswith("error: 10 of ")
    assert len(said) == 11
    for number, line in enumerate(said[:-1]):
        assert line.startswith(f"error: {pictures}/{number:02}")
    assert {Path(answer["file"]).name for answer in answers} >= {"0.png", "1.png", "2.png", "3.jpg"}
    with pytest.raises(UserError, match="cannot be read as a picture"):
        list(recognise(run, [str(pictures / "01text.png")]))


def test_a_picture_without_a_digit_is_not_guessed(run: mnist_lab.Run, tmp_path: Path, capsys: Any) -> None:
    Image.new("L", (100, 100), "white").save(tmp_path / "empty.png")
    two = Image.new("L", (70, 40))
    for number in (0, 1):
        two.paste(Image.fromarray(IMAGES[10 * number]), (5 + 32 * number, 5))
    two.save(tmp_path / "two.png")
    code, answers, _ = told(capsys, run.directory, tmp_path / "*.png")
    assert code == 0
    assert [(a["digit"], a["note"]) for a in answers] == [(None, "nothing is drawn there"), (None, "several digits")]
    main([str(run.directory), str(tmp_path / "two.png")])
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "-",
        "-",
        "-",
        "-",
        f"{tmp_path}/two.png:",
        "several",
        "digits",
    ]


def test_what_is_like_no_digit_is_marked(run: mnist_lab.Run) -> None:
    known, digits = familiar(run), DIGITS.test_labels.numpy()
    assert np.mean(known.strange(DIGITS.test_images.numpy(), digits)) < 0.06
    noise = np.random.default_rng(0).integers(0, 256, (100, 28, 28)).astype(np.uint8)
    assert np.mean(known.strange(noise, run.predict(noise).digits)) > 0.95
    turned = np.rot90(DIGITS.test_images.numpy()[digits == 7], axes=(1, 2)).copy()
    assert np.mean(known.strange(turned, run.predict(turned).digits)) > 0.5
    sevens = DIGITS.test_images.numpy()[digits == 7]
    assert np.mean(known.strange(sevens, np.full(len(sevens), 2))) > 0.3  # as twos they are strange


def test_standard_input_and_csv(run: mnist_lab.Run, pictures: Path) -> None:
    """As a process of its own: a picture through a pipe, another from its file, and one that cannot be read."""
    files = ["-", str(pictures / "1.png"), str(pictures / "notes.txt")]
    words = [sys.executable, "-m", "mnist_lab.predict", str(run.directory), *files, "--csv"]
    given = (pictures / "1.png").read_bytes()
    ended = subprocess.run(words, input=given, capture_output=True, env=environment(), check=False)
    piped, named = csv.DictReader(io.StringIO(ended.stdout.decode()))
    assert (ended.returncode, piped["file"]) == (1, "standard input")
    assert piped | {"file": ""} == named | {"file": ""}
    assert ended.stderr.decode().splitlines()[0].startswith(f"error: {pictures}/notes.txt: cannot be read")


def test_mistakes_get_one_line(run: mnist_lab.Run, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a file; the directory of a run comes first"):
        main([str(pictures / "0.png"), str(run.directory)])
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match="has no pictures in it"):
        main([str(run.directory), str(tmp_path / "bare")])
    with pytest.raises(UserError, match=r"bare/result\.json: missing"):
        main([str(tmp_path / "bare"), str(pictures)])


def test_a_killed_run_answers_with_a_warning_and_one_without_weights_does_not(
    run: mnist_lab.Run, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = tmp_path / "killed"
    (killed / "checkpoints").mkdir(parents=True)
    (killed / "config.yaml").write_bytes((run.directory / "config.yaml").read_bytes())
    Result(name="mlp_relu").write(killed)  # as it is while a run trains
    with pytest.raises(UserError, match=r"last\.ckpt: does not exist"):
        main([str(killed), str(pictures)])
    (killed / "checkpoints" / "last.ckpt").write_bytes((run.directory / "checkpoints" / "last.ckpt").read_bytes())
    code, answers, said = told(capsys, killed, pictures)
    assert (code, len(answers)) == (0, 4)
    assert said == [f"warning: {killed}: the run is running; these are its weights at step 300"]


def test_other_data_keeps_its_names(run: mnist_lab.Run, pictures: Path, tmp_path: Path, capsys: Any) -> None:
    """Of a run whose data is Fashion-MNIST, which is not at hand any more."""
    result = Result.read(run.directory)
    clothes = tmp_path / "clothes"
    clothes.mkdir()
    for name in ("config.yaml", "checkpoints"):
        (clothes / name).symlink_to(run.directory / name)
    result.data = "fashion_mnist"
    result.write(clothes)
    code, answers, said = told(capsys, clothes, pictures / "0.png")
    assert (code, answers[0]["label"]) == (0, "T-shirt")
    assert answers[0]["runner_up_label"] in mnist_lab.load(clothes).classes
    assert len(said) == 1
    assert said[0].startswith("warning: nothing is marked as unlike what the network was trained on")
    main([str(clothes), str(pictures / "0.png")])
    assert "T-shirt" in capsys.readouterr().out.splitlines()[1]
    photo = Image.fromarray(255 - IMAGES[0]).resize((300, 200))
    photo.save(tmp_path / "photo.png")
    assert told(capsys, clothes, tmp_path / "photo.png")[1][0]["note"] is None


def test_familiar_holds_few_images_well() -> None:
    fake = sources.load("fake", Path())
    known = Familiar(fake.train_images, fake.train_labels)
    assert np.mean(known.strange(fake.test_images.numpy(), fake.test_labels.numpy())) < 0.1


def test_every_format_that_is_promised_is_read_in_a_fresh_process(lab: Lab, tmp_path: Path) -> None:
    run = lab("model=softmax", "data=mnist5k", "trainer.max_steps=20", "logger=none", "test=false")
    page = Image.new("L", (60, 60), "white")
    ImageDraw.Draw(page).line([(30, 8), (30, 52)], "black", 5)
    names = [f"one.{suffix}" for suffix in ("png", "jpg", "gif", "bmp", "tif", "webp", "pgm")]
    for name in names:
        page.save(tmp_path / name)
    (tmp_path / "no.png").write_text("no picture")
    words = [sys.executable, "-m", "mnist_lab.predict", str(run.directory), *names, "no.png", "missing.png", "--json"]
    done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == names
    assert done.returncode == 1
    assert "no.png: cannot be read as a picture (cannot identify image file" in done.stderr
    assert "missing.png" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: 2 of 9 files could not be read"

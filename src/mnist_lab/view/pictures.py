"""The panels as files: a picture of some frames, and a movie of these."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from mnist_lab.view.recording import FOLDER, Recording

_SIZE, _DPI = (12.8, 7.2), 150  # 1920 by 1080 pixels
_FRAMES_PER_SECOND = 10


def choose(stops: list[int], at_most: int) -> list[int]:
    """At most that many of the steps: the first and the last, and between them more of the early ones than of the late.

    Half of them are at equal distances; the others grow from step to step by the same factor.
    """
    if len(stops) <= at_most:
        return stops
    first, last = stops[0], stops[-1]
    half = max(at_most // 2, 1)
    wanted = [first + (last - first) * i / half for i in range(half + 1)]
    wanted += [first + (last - first + 1) ** (i / half) - 1 for i in range(half)]
    nearest = {min(stops, key=lambda stop: abs(stop - step)) for step in wanted}
    kept = sorted(nearest)
    return kept[: at_most - 1] + kept[-1:] if len(kept) > at_most else kept


def draw(recordings: list[Recording], at_most: int, movie: bool) -> Iterator[Path]:
    """Write a picture of the first recording's frames, with the curves of the others, and the movie; yields paths."""
    from matplotlib.figure import Figure  # here, because training imports this package

    from mnist_lab.view.figure import Board

    first, *others = recordings
    folder = first.run_dir / FOLDER
    folder.mkdir(exist_ok=True)
    board, paths = Board(Figure(figsize=_SIZE, dpi=_DPI)), []
    for old in folder.glob("[0-9]*.png"):
        old.unlink()
    for step in choose(first.stops, at_most):
        board.draw(first.moment(step), tuple(other.moment(step) for other in others))
        paths.append(folder / f"{step:08d}.png")
        board.figure.savefig(paths[-1])
        yield paths[-1]
    if movie and paths:
        yield make_movie(paths)


def make_movie(pictures: list[Path]) -> Path:
    """Join ``pictures`` beside them: an mp4 where ffmpeg is installed, else a GIF."""
    if shutil.which("ffmpeg"):
        path = pictures[0].with_name("view.mp4")
        command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "image2pipe", "-framerate", str(_FRAMES_PER_SECOND)]
        command += ["-i", "-", "-c:v", "libx264", "-pix_fmt", "yuv420p", str(path)]
        subprocess.run(command, input=b"".join(picture.read_bytes() for picture in pictures), check=True)
        return path
    from PIL import Image

    path = pictures[0].with_name("view.gif")
    frames = [Image.open(picture).convert("RGB").resize((1280, 720)).quantize(128) for picture in pictures]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=1000 // _FRAMES_PER_SECOND, loop=0)
    return path

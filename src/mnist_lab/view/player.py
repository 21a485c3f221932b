"""Moves through a recording as keys and time say. Each window and each page has a player of its own."""

import time
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from mnist_lab.view.figure import CHOICES, Board
from mnist_lab.view.recording import FOLDER, Recording, Training

HELP = "1-6 one panel   7 8 9 two   0 all   space {}   ← → steps   O box zoom   H reset zoom   Ctrl-S save"
_MOVES = {"left": -1, "right": 1, "pageup": -10, "pagedown": 10, "home": -(10**9), "end": 10**9}


def use_keys() -> None:
    """Leave to matplotlib, in figures made from now on, only the keys for zoom; the others mean something else here."""
    for name in matplotlib.rcParams:
        if name.startswith("keymap."):
            matplotlib.rcParams[name] = {"keymap.zoom": ["o", "O"], "keymap.home": ["h", "H"]}.get(name, [])


class Player:
    """Shows the first of ``recordings`` on ``figure``, with the curves of the others.

    While ``training`` runs it follows what is recorded; after that, and when a key has moved it, it stays at one step
    or plays on from there.
    """

    def __init__(self, recordings: list[Recording], figure: Figure, training: Training):
        self.recordings, self.figure, self.training = recordings, figure, training
        self.board = Board(figure)
        self.at: int | None = None  # the step shown; None: the newest
        self.playing = training.running
        self.message = ""
        self._drawn: object = None
        self._rest_until = 0.0
        figure.canvas.mpl_connect("key_press_event", self.press)

    @property
    def step(self) -> int:
        """The step to show."""
        stops = self.recordings[0].stops
        return self.at if self.at is not None else stops[-1] if stops else 0

    def press(self, event: Any) -> None:
        """Do what the key says, at once."""
        key, stops = event.key, self.recordings[0].stops
        self.message = ""
        if key in CHOICES:
            self.board.select(CHOICES[key])
        elif key == " ":
            self.playing = not self.playing
            if self.training.running:
                self.at = None if self.playing else self.step
            elif self.playing and (not stops or self.step >= stops[-1]):
                self.at = stops[0] if stops else None
        elif key in _MOVES and stops:
            place = sum(stop < self.step for stop in stops) + _MOVES[key]
            self.at, self.playing = stops[min(max(place, 0), len(stops) - 1)], False
        elif key in ("h", "H"):
            self.board.reset_zoom()
        elif key == "ctrl+s":
            self.save()
        else:
            return
        self._rest_until, self._drawn = 0.0, None
        self.tick()

    def save(self) -> None:
        """Write the picture as it is now to the run's folder ``view``."""
        panels = "" if len(self.board.selected) == 6 else "-" + "".join(map(str, self.board.selected))
        path = self.recordings[0].run_dir / FOLDER / f"saved-{self.step:08d}{panels}.png"
        path.parent.mkdir(exist_ok=True)
        self.figure.savefig(path)
        self.message = f"saved {path}"

    def tick(self) -> None:
        """Go to the next step where playing, and draw what has changed; to be called often."""
        if time.monotonic() < self._rest_until:
            return
        if self.playing and self.at is not None:
            later = [stop for stop in self.recordings[0].stops if stop > self.at]
            self.at = later[0] if later else None if self.training.running else self.at
            self.playing = bool(later) or self.training.running
        elif not self.training.running:
            self.playing = False
        state = (self.step, self.playing, self.message, [recording.version for recording in self.recordings])
        if state == self._drawn:
            return
        self._drawn = state
        began = time.process_time()
        first, *others = (recording.moment(self.step) for recording in self.recordings)
        verb = "pauses" if self.playing else "continues" if self.training.running else "plays"
        self.board.draw(first, tuple(others), self.message or HELP.format(verb))
        self.figure.canvas.draw()
        self._rest_until = time.monotonic() + self.training.rest(began)

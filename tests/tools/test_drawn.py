"""The reader of pen strokes, and that it says so where there are none."""

import json
from pathlib import Path

import drawn
import numpy as np
import pytest

TEXT = """.INCLUDE        dene.doc
.LEXICON "0" "1"
.SEGMENT DIGIT    0 ? "1"
.COMMENT 1 21  224
.PEN_DOWN
 10  100
 12  20
.PEN_UP
.PEN_DOWN
 30  20
.PEN_UP
.DT   100
"""


def test_strokes_are_read_with_y_downwards() -> None:
    (one,) = drawn.read(TEXT)
    assert (one.digit, one.writer) == (1, 21)
    assert [stroke.tolist() for stroke in one.strokes] == [[[10, -100], [12, -20]], [[30, -20]]]
    assert drawn.images([one]).shape == drawn.images([one], pen=8).shape == (1, 28, 28)
    assert np.asarray(one.canvas(8)).min() == 0


def test_without_the_data_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MNIST_LAB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("sys.argv", ["drawn.py"])
    drawn.main()
    assert capsys.readouterr().out.startswith("drawn: SKIPPED")


def test_the_tables_are_those_of_the_measurements() -> None:
    document = drawn.DOC.read_text()
    for table in drawn.tables(json.loads(drawn.RESULTS.read_text())).values():
        assert table in document

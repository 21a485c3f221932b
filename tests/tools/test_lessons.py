"""docs/lessons.md: its commands work, and its times are those of the results."""

import re
import shlex

import lessons
import pytest
from conftest import Lab

from mnist_lab.runs.directory import find_run

TEXT = (lessons.DOCS / "lessons.md").read_text()
LESSONS = TEXT.split("\n## ")[1:]
SHORT = ("data=fake", "trainer.max_steps=2", "trainer.val_check_interval=1", "logger=none")


def test_the_times_are_those_of_the_results() -> None:
    assert lessons.timed(TEXT) == TEXT
    assert len(re.findall(r"<!-- seconds: .*?\d s .*?<!-- end -->", TEXT)) == len(LESSONS)


@pytest.mark.parametrize("lesson", LESSONS, ids=[lesson.splitlines()[0] for lesson in LESSONS])
def test_its_commands_train_the_runs_that_it_shows(lesson: str, lab: Lab) -> None:
    trained = re.findall(r"^ +python train\.py (.*)$", lesson, re.MULTILINE)
    (shown,) = re.findall(r"^ +python -m mnist_lab\.view (.*)$", lesson, re.MULTILINE)
    places = set()
    for words in map(shlex.split, trained):
        name = dict(word.split("=") for word in words)
        places.add(f"outputs/{name.get('name', name['experiment'])}/latest")
        lab(*words, *SHORT, to=f"outputs/{name.get('name', name['experiment'])}/run")
    assert places == {*shown.split()}
    assert all((find_run(place) / "metrics.csv").exists() for place in shown.split())

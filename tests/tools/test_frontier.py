"""The frontier's protocol is held by code: on the recipes themselves, and on a small row that is trained here."""

import json
from pathlib import Path

import frontier
import pytest
import recipes
from conftest import lab_in

from mnist_lab.errors import UserError
from mnist_lab.runs.result import Result

WORDS = ("model=softmax", "data=fake", "data.validation_size=0", "trainer.max_steps=20", "logger=none")
NOTES = {"run": f"python train.py {' '.join(WORDS)}", "aim": "50%", "seeds": "2"}
ROW = recipes.Recipe("small", "Frontier", 9, "a small row", NOTES, {"stands": "for a recipe"})


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where results are kept, empty."""
    for module in (recipes, frontier):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(frontier, "SEARCHES", tmp_path / "results" / "searches")
    monkeypatch.setattr(frontier, "rows", lambda: [ROW])
    return tmp_path / "results"


def test_every_recipe_of_the_frontier_keeps_to_the_protocol() -> None:
    rows = {row.name: row for row in frontier.rows()}
    assert list(rows) == ["fast99", "fast995", "tiny", "accurate", "accurate_fashion_mnist", "accurate_kmnist"]
    for name, row in rows.items():
        assert frontier.settings(row, [])["data.dataset"] == (name.partition("_")[2] or "mnist")
        assert row.seeds[0] == 100
        assert not set(row.seeds) & set(recipes.SEEDS)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("data.validation_size=5000", "data.validation_size=5000: a run of the frontier has data.validation_size=0"),
        ("checkpoint=best", "checkpoint=best: a run of the frontier has checkpoint=last"),
        ("data.watch_test=true", "data.watch_test=True: a run of the frontier has data.watch_test=False"),
        ("optim.lr=0.5", r"optim.lr=0.5 \(the recipe has [0-9.]+\): the frontier is measured with the recipe as it is"),
    ],
)
def test_an_option_that_breaks_it_is_refused(option: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        frontier.settings(frontier.rows()[0], [option])


def test_options_that_change_no_result_are_allowed() -> None:
    options = ["data.root=/elsewhere", "trainer.accelerator=cpu", "logger=none", "view=web"]
    assert frontier.settings(frontier.rows()[0], options)


def test_a_row_goes_on_where_it_was_cut_and_is_in_the_table(kept: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "small" / "seed100"
    cut = lab_in(tmp_path)(*WORDS, "trainer.max_steps=10", "seed=100", f"hydra.run.dir={run_dir}")
    config = run_dir / "config.yaml"
    config.write_text(config.read_text().replace("max_steps: 10", "max_steps: 20"))
    result = cut.result
    result.status = "interrupted"
    result.write(run_dir)

    frontier.measure([ROW], tmp_path / "runs", [])
    assert sorted(ROW.results()) == [100, 101]
    assert all(one.steps == 20 and one.tested == "last" for one in ROW.results().values())
    assert "resume=" in Result.read(run_dir).provenance["command"]
    assert "resume=" not in Result.read(run_dir.with_name("seed101")).provenance["command"]
    line = next(line for line in frontier.parts()["table"].splitlines() if "`small`" in line)
    assert "(n = 2), met" in line
    assert f"`{NOTES['run']}`" in line

    frontier.measure([ROW], tmp_path / "elsewhere", [])  # nothing is left to do
    assert not (tmp_path / "elsewhere").exists()

    kept_before = (kept / "small" / "seed101.json").read_text()
    (kept / "small" / "seed101.json").write_text(kept_before.replace('"eval_shifts": 0,', ""))  # an option that is new
    assert frontier.parts()["table"].count("(n = 2)") == 1
    for value, said in {"val": "images held out: 5, must be 0", "seed": "seed: 7, must be 101"}.items():
        path = kept / "small" / "seed101.json"
        changed = json.loads(kept_before)
        changed |= {"sizes": changed["sizes"] | {"val": 5}} if value == "val" else {"seed": 7}
        path.write_text(json.dumps(changed))
        with pytest.raises(UserError, match=f"small seed 101: {said}"):
            frontier.parts()


def test_a_run_with_other_settings_is_not_kept(kept: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "small"
    lab_in(tmp_path)(*WORDS, "optim.lr=0.01", "seed=100", f"hydra.run.dir={folder / 'seed100'}")
    with pytest.raises(UserError, match=r"small seed 100: was trained with optim.lr=0.01 \(the recipe has 0.001\)"):
        frontier.measure([ROW], tmp_path / "runs", [])
    assert not kept.exists()


def test_a_search_is_summarised_unless_it_saw_the_test_set(kept: Path, tmp_path: Path) -> None:
    lab = lab_in(tmp_path)
    (tmp_path / "sweep").mkdir()
    said = "hydra: {overrides: {hydra: [hydra.sweep.dir=/here], task: ['optim.lr=0.5,0.01', test=false]}}"
    (tmp_path / "sweep" / "multirun.yaml").write_text(said)
    short = ("model=softmax", "data=fake", "trainer.max_steps=20", "logger=none")
    for number, rate in enumerate((0.5, 0.01)):
        lab(*short, "test=false", f"optim.lr={rate}", to=f"sweep/{number}")
    frontier.keep_search("rates", tmp_path / "sweep", "Which rate?", ["optim.lr=0.01"])
    section, failures = (frontier.parts()[name] for name in ("searches", "failures"))
    assert "Which rate? 2 runs (2 done)" in section
    assert "    python train.py --multirun optim.lr=0.5,0.01 test=false" in section
    assert {line.split(" | ")[0] for line in section.splitlines()} >= {"| 0.5", "| 0.01"}

    assert "| rates | `optim.lr=0.01` | " in failures
    assert " | `optim.lr=0.5` | " in failures
    with pytest.raises(UserError, match=r"optim.lr=7: no row of the search has it"):
        frontier.keep_search("rates", tmp_path / "sweep", "Which rate?", ["optim.lr=7"])

    lab(*short, to="sweep/2")
    with pytest.raises(UserError, match="sweep/2: was tested"):
        frontier.keep_search("rates", tmp_path / "sweep", "Which rate?", ["optim.lr=0.01"])


def test_the_document_and_the_ladder_match_the_kept_results() -> None:
    text = frontier.DOCUMENT.read_text(encoding="utf-8")
    for name, part in frontier.parts().items():
        assert part in text, name
    for row in frontier.rows():
        assert row.notes["aim"], row.name

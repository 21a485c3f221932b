"""The counts of lines in docs/design.md, and that each file of the package is a part of the house."""

from pathlib import Path

import lines

DESIGN = (lines.ROOT / "docs" / "design.md").read_text()


def test_the_tables_are_up_to_date() -> None:
    assert all(table in DESIGN for table in lines.tables().values()), "run python tools/lines.py"


def test_every_file_of_the_core_is_in_the_table() -> None:
    named = {path for place in lines.CORE for path in lines.files(place)}
    others = {"mosaic.py", *(f"{command}.py" for command in ("report", "predict", "export", "ensemble"))}
    others |= {extra.rstrip("/") for extra in lines.EXTRAS}
    for path in lines.PACKAGE.iterdir():
        if path.name not in others and path.name != "__pycache__":
            inside = {path} if path.is_file() else set(path.rglob("*.py")) - {path / "__init__.py"}
            assert inside <= named, path


def test_code_is_counted_without_what_is_around_it(tmp_path: Path) -> None:
    text = [
        '"""Doc."""',
        "",
        "import os",
        "",
        "",
        "def f():",
        '    """Doc.',
        "",
        '    More."""',
        "    # why",
        "    return os",
    ]
    (tmp_path / "a.py").write_text("\n".join(text))
    assert lines.lines([tmp_path / "a.py"]) == 11
    assert lines.statements([tmp_path / "a.py"]) == 2

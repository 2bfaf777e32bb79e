"""The verb `report`."""

import json
import shutil
from pathlib import Path

import pytest
from helpers import Fitted, PythonRun

from coldstart.commands.report import report
from coldstart.errors import InputError


def test_a_run_s_page_and_pictures(
    mgp_genres: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untested = shutil.ignore_patterns("results*", "by_user*", "warm_up*")
    run = Path(shutil.copytree(mgp_genres.run, tmp_path / "run", ignore=untested))
    path = report(run=run, pictures=tmp_path / "pictures")
    assert path == run / "report.html"
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Not tested yet"
    assert said[-1].startswith(f"wrote {path} (")
    files = {file.name for file in (tmp_path / "pictures").iterdir()}
    assert {"map.png", "map.svg", "long_tail.svg"} <= files


def test_what_is_no_run_and_no_page_is_refused(tmp_path: Path, mgp_genres: Fitted) -> None:
    with pytest.raises(InputError, match=r"config\.yaml"):
        report(run=tmp_path / "nothing")
    with pytest.raises(InputError, match=r"ends with \.html"):
        report(run=mgp_genres.run, out=tmp_path / "page.pdf")
    assert list(tmp_path.iterdir()) == []


def test_a_study_s_folder_has_a_page(tmp_path: Path) -> None:
    about = {"k": 20, "map_k": 500, "seeds": [0]}
    content = {"table": [], "fusing": [], "listeners": [], "about": about, "runs": []}
    (tmp_path / "ablation.json").write_text(json.dumps(content))
    text = report(run=tmp_path).read_text(encoding="utf-8")
    assert "Nothing has finished yet" in text
    with pytest.raises(InputError, match="--overwrite"):
        report(run=tmp_path)
    report(run=tmp_path, overwrite=True)
    assert report(run=tmp_path, out=tmp_path / "new" / "page.html").is_file()


def test_the_folder_of_a_trainer_in_python_is_no_run(python_run: PythonRun) -> None:
    with pytest.raises(InputError, match=r"config\.yaml"):
        report(run=python_run.run)

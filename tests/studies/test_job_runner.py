"""Running jobs: each has a log of its own with everything that it prints and logs."""

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from coldstart.errors import InputError
from coldstart.reporting.log import shown
from coldstart.studies.job_runner import run_jobs
from coldstart.studies.jobs import FunctionJob


def speak(out: Path, failure: str) -> None:
    """What a job runs: in this process, or in another one."""
    print("printed")
    print("written to stderr", file=sys.stderr)
    logging.getLogger("coldstart.speak").info("logged")
    if failure:
        raise InputError(failure)
    out.mkdir()


def job(folder: Path, failure: str = "") -> FunctionJob:
    about: dict[str, Any] = {"step": "speak"}
    return FunctionJob(folder, about, f"{__name__}:speak", {"failure": failure})


@pytest.mark.parametrize("isolated", [False, True])
def test_a_job_s_log_holds_what_it_prints_and_logs(
    isolated: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with shown():
        run_jobs([job(tmp_path / "run")], 1, isolated=isolated)
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert {"printed", "written to stderr", "logged"} <= set(lines)
    assert job(tmp_path / "run").finished
    output = capsys.readouterr()
    assert "printed" not in output.out
    assert "step speak: done" in output.err
    assert "logged" not in output.err


def test_a_failure_names_the_log_and_others_are_run(tmp_path: Path) -> None:
    jobs = [job(tmp_path / "bad", "no such table"), job(tmp_path / "good")]
    with pytest.raises(InputError, match=r"1 of 2 runs failed(.|\n)*no such table; see .*bad.log"):
        run_jobs(jobs, 1)
    assert "no such table" in (tmp_path / "bad.log").read_text()
    assert [each.finished for each in jobs] == [False, True]


def test_what_other_settings_have_made_is_kept(tmp_path: Path) -> None:
    run_jobs([job(tmp_path / "run")], 1)
    other = job(tmp_path / "run", "other settings")
    with pytest.raises(InputError, match=r"choose another --out$"):
        run_jobs([other], 1)
    with pytest.raises(InputError, match="or pass --overwrite"):
        run_jobs([other], 1, overwrite=False)
    assert not other.finished

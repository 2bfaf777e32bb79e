"""A run that was fitted and tested, with its warm-up curve, on the tiny world."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Fitted

from coldstart.cli import main
from coldstart.summary import groups


@pytest.fixture(autouse=True, scope="session")
def small_groups() -> Iterator[None]:
    """The tiny world's groups are drawn, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "LEAST_USERS", 5)
        patch.setattr(groups, "LEAST_TRACKS", 1)
        yield


@pytest.fixture(scope="session")
def tested(mgp_genres: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("summary") / "tested"
    shutil.copytree(mgp_genres.run, run)
    quiet = ["--trainer.enable_progress_bar=false", "--data.workers=0"]
    assert main(["test", f"--run={run}", *quiet]) == 0
    assert main(["test", f"--run={run}", *quiet, "--warm-up"]) == 0
    return run

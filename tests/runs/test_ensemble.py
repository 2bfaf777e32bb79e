"""A run's ensemble: its numbers are chosen once, kept, and made anew if what they need changes."""

import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from helpers import World, data_flags
from planted import label_world

import coldstart as cs
from coldstart.cli import main
from coldstart.commands.factorize import factorize
from coldstart.commands.shard import shard
from coldstart.commands.split import split
from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.model.ensemble import Ensemble
from coldstart.runs import ensemble as module
from coldstart.runs.ensemble import FILE, read_ensemble, run_ensemble
from coldstart.runs.run import open_run

QUICK = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--data.workers=0"]


@pytest.fixture(scope="module")
def label(tmp_path_factory: pytest.TempPathFactory) -> World:
    return label_world(tmp_path_factory.mktemp("label"))


@pytest.fixture(scope="module")
def fitted(label: World) -> Path:
    """A run that has chosen no numbers yet."""
    run = label.root / "run"
    args = ["fit", "--config=kernel.yaml", f"--run={run}", *data_flags(label), *QUICK]
    assert main(args) == 0
    return run


@pytest.fixture
def run(fitted: Path, tmp_path: Path) -> Path:
    assert not (fitted / FILE).exists()
    return shutil.copytree(fitted, tmp_path / "run")


@pytest.fixture(scope="module")
def user(label: World) -> str:
    return Factors.load(label.factors).user_ids[0]


def configure(run: Path, **sections: Any) -> None:
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**config, **sections}), encoding="utf-8")


def placed_by(run: Path, **options: Any) -> set[str]:
    """By what the new tracks are placed."""
    catalogue = cs.Recommender(run, **options).catalogue
    return {("plays", "content", "both")[source] for source in catalogue.sources[catalogue.warm :]}


def recommended(run: Path, user: str, *flags: str) -> int:
    return main(["recommend", f"--run={run}", f"--user={user}", *flags])


def content(run: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((run / FILE).read_text(encoding="utf-8"))
    return made


def test_numbers_are_chosen_once(run: Path, label: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_ensemble(run) is None
    found = run_ensemble(open_run(run))
    assert read_ensemble(run) == found
    assert found.about["tracks"] == 39
    made = content(run)["made_from"]
    assert made["factors"] == Factors.load(label.factors).about["id"]
    before = (run / FILE).stat().st_mtime_ns

    def never(*_: Any) -> None:
        raise AssertionError("chosen a second time")

    monkeypatch.setattr(module, "calibrate", never)
    assert run_ensemble(open_run(run)) == found
    assert placed_by(run) == {"both", "content"}
    assert (run / FILE).stat().st_mtime_ns == before


@pytest.mark.parametrize("part", ["weights", "factors", "version"])
def test_numbers_of_another_model_or_space_are_made_anew(run: Path, part: str) -> None:
    found = run_ensemble(open_run(run))
    stored = content(run)
    stored["made_from"][part] = "another"
    stored["ensemble"]["strength"] = 77.0
    (run / FILE).write_text(json.dumps(stored), encoding="utf-8")
    assert run_ensemble(open_run(run)) == found
    assert content(run)["made_from"][part] != "another"


def test_other_settings_choose_anew(run: Path) -> None:
    found = run_ensemble(open_run(run))
    configure(run, ensemble={"strength": 33.0, "ahead": 0.25})
    given = run_ensemble(open_run(run)).ensemble
    assert (given.strength, given.ahead) == (33.0, 0.25)
    assert read_ensemble(run) != found
    configure(run, ensemble={})
    assert run_ensemble(open_run(run)) == found


@pytest.mark.parametrize(
    "section", [{"strong": 1}, {"strength": "much"}, {"strength": -1}, {"ahead": 2}, 7, [1]]
)
def test_a_section_that_says_something_else_is_refused(
    run: Path, user: str, section: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(run, ensemble=section)
    assert recommended(run, user, "--placement=ensemble") == 2
    assert "ensemble" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"ensemble": {}}',
        b'{"ensemble": null, "chosen_on": {}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_named(
    run: Path, user: str, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / FILE).write_bytes(damage)
    assert recommended(run, user, "--placement=ensemble") == 2
    error = capsys.readouterr().err
    assert "ensemble" in error
    assert "Traceback" not in error
    assert recommended(run, user) == 0  # by content alone, and says so
    assert "no ensemble" in capsys.readouterr().err


def test_a_file_of_numbers_that_are_none_is_named(run: Path) -> None:
    run_ensemble(open_run(run))
    made = content(run)
    made["ensemble"]["scale"] = float("nan")
    (run / FILE).write_text(json.dumps(made), encoding="utf-8")
    with pytest.raises(InputError, match="describe no ensemble"):
        run_ensemble(open_run(run))


def test_a_run_can_go_without(run: Path, user: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure(run, ensemble=None)
    assert recommended(run, user) == 0
    assert "no ensemble" not in capsys.readouterr().err
    assert placed_by(run) == {"content"}
    assert not (run / FILE).exists()
    assert recommended(run, user, "--placement=ensemble") == 2
    assert "`ensemble: null`" in capsys.readouterr().err


def test_a_run_that_can_t_be_written_to_works_all_the_same(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run_ensemble(open_run(run))
    (run / FILE).unlink()

    def refused(*_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(module, "write_json", refused)
    assert run_ensemble(open_run(run)) == before
    assert not (run / FILE).exists()


def test_a_run_without_the_right_to_write(run: Path, user: str) -> None:
    run.chmod(0o555)
    try:
        if os.access(run, os.W_OK):
            pytest.skip("this user can write anywhere")
        assert recommended(run, user) == 0
        assert not (run / FILE).exists()
    finally:
        run.chmod(0o755)


# Runs without validation tracks.


@pytest.fixture(scope="module")
def live(label: World, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags of the same label's data where all tracks are for training."""
    root, catalogue = tmp_path_factory.mktemp("live"), label.catalogue
    tracks = catalogue / "tracks.parquet"
    split(tracks, out=root / "splits.csv", fractions=(1, 0, 0))
    listens = catalogue / "listens.parquet"
    factorize(listens, out=root / "factors", splits=root / "splits.csv", factors=8)
    mgp = {"mgp": str(catalogue / "mgp.parquet")}
    shard(tracks, out=root / "shards", splits=root / "splits.csv", attributes=mgp, shard_size=50)
    return [f"--data.shards={root / 'shards'}", f"--data.factors={root / 'factors'}"]


def test_a_live_run_takes_the_numbers_of_the_run_that_it_is_like(
    run: Path, live: list[str], user: str, tmp_path: Path
) -> None:
    own = tmp_path / "live"
    args = ["fit", "--config=kernel.yaml", f"--run={own}", *live, *QUICK[1:]]
    assert main([*args, f"--like-run={run}"]) == 0
    found = run_ensemble(open_run(own))
    measured = read_ensemble(run)  # which chose them now
    assert measured is not None
    assert found.ensemble == measured.ensemble
    assert found.about == {**measured.about, "like_run": str(run)}
    assert recommended(own, user, "--candidates=all") == 0
    shutil.rmtree(run)
    assert run_ensemble(open_run(own)) == found  # kept


def test_a_live_run_alone_has_the_defaults_and_says_so(
    live: list[str], user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "live"
    assert main(["fit", "--config=kernel.yaml", f"--run={own}", *live, *QUICK]) == 0
    capsys.readouterr()
    assert recommended(own, user, "--candidates=all") == 0
    error = capsys.readouterr().err
    assert "fewer than 20 validation tracks with plays; the defaults are taken" in error
    found = read_ensemble(own)
    assert found is not None
    assert found.ensemble == Ensemble()
    assert "tracks" not in found.about
    configure(own, ensemble={"strength": 4.0})
    assert run_ensemble(open_run(own)).ensemble == Ensemble(strength=4.0)
    configure(own, ensemble={}, like_run=str(tmp_path / "gone"))
    assert recommended(own, user, "--candidates=all") == 0
    assert "can't be had" in capsys.readouterr().err


def test_other_shards_without_validation_tracks_leave_no_defaults_behind(
    run: Path, label: World, user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("tracks", "mgp"):
        table = pl.read_parquet(label.catalogue / f"{name}.parquet").head(9)
        table = table.with_columns(track_id=pl.format("{} again", "track_id"))
        table.write_parquet(tmp_path / f"{name}.parquet")
    tracks, splits = tmp_path / "tracks.parquet", tmp_path / "splits.csv"
    split(tracks, out=splits, fractions=(0.2, 0.0, 0.8))
    mgp = {"mgp": str(tmp_path / "mgp.parquet")}
    shard(tracks, out=tmp_path / "shards", splits=splits, attributes=mgp)
    capsys.readouterr()
    assert recommended(run, user, f"--shards={tmp_path / 'shards'}") == 0
    assert "the defaults are taken" in capsys.readouterr().err
    assert recommended(run, user) == 0
    assert "the defaults are taken" not in capsys.readouterr().err
    found = read_ensemble(run)
    assert found is not None
    assert found.about["tracks"] == 39
    assert recommended(run, user, f"--shards={tmp_path / 'shards'}") == 0
    assert read_ensemble(run) == found


# Factors of early versions.


def without(about: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in about.items() if key not in names}


@pytest.mark.parametrize(
    ("early", "chosen"), [("axes", False), ("axes", True), ("iterations", False)]
)
def test_factors_of_an_early_version_have_content_alone(
    early: str,
    chosen: bool,
    label: World,
    user: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    listens, own = label.catalogue / "listens.parquet", tmp_path / "run"
    factors = tmp_path / "factors"
    factorize(listens, out=factors, splits=label.splits, factors=8, axes="scores")
    data = [f"--data.shards={label.shards}", f"--data.factors={factors}"]
    assert main(["fit", "--config=kernel.yaml", f"--run={own}", *data, *QUICK]) == 0
    if chosen:
        run_ensemble(open_run(own))
    if early == "axes":
        (factors / "axes.safetensors").unlink()
    else:
        about = json.loads((factors / "factors.json").read_text(encoding="utf-8"))
        (factors / "factors.json").write_text(json.dumps(without(about, early)), encoding="utf-8")
    capsys.readouterr()
    assert recommended(own, user) == 0
    error = capsys.readouterr().err
    assert "no ensemble" in error
    assert "factorise again" in error
    assert "have the place of their content alone" in error
    assert placed_by(own) == {"content"}
    assert recommended(own, user, "--placement=ensemble") == 2
    error = capsys.readouterr().err
    assert "factorise again" in error
    assert "Traceback" not in error
    assert recommended(own, user, "--placement=either") == 0
    assert "ensemble" not in capsys.readouterr().err


def test_without_the_weight_of_a_play_the_default_of_then_counts(
    label: World, run: Path, tmp_path: Path
) -> None:
    """Early factors don't say `alpha` and `weighting`: there was one choice."""
    factors = shutil.copytree(label.factors, tmp_path / "factors")
    about = json.loads((factors / "factors.json").read_text(encoding="utf-8"))
    assert (about["alpha"], about["weighting"]) == (2.0, "log")
    made = run_ensemble(open_run(run))
    (run / FILE).unlink()
    early = without(about, "alpha", "weighting", "axes", "shrinkage")
    (factors / "factors.json").write_text(json.dumps(early), encoding="utf-8")
    assert run_ensemble(open_run(run, factors=str(factors))).ensemble == made.ensemble


def test_without_factors_there_is_nothing_to_join(run: Path) -> None:
    opened = open_run(run)
    opened.places["factors"] = None
    with pytest.raises(InputError, match="name --factors"):
        run_ensemble(opened)

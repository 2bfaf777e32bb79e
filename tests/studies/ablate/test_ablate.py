"""The verb `ablate`: one table of all runs, resumed without repeating, honest about its parts."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
import yaml
from helpers import World

from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.runs.config import configs_folder
from coldstart.shards.reading import Shards
from coldstart.studies.ablate import table
from coldstart.studies.ablate.ablate import ablate
from coldstart.studies.ablate.design import TrackSet
from coldstart.studies.job_runner import run_jobs
from coldstart.studies.jobs import FitJob

SETTINGS = {"trainer.max_epochs": 1, "data.workers": 0, "model.encoders.mgp.hidden": [16]}


class Ablated(NamedTuple):
    """A finished ablation."""

    out: Path
    config: Path
    table: dict[str, Any]


@pytest.fixture(scope="module")
def ablated(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Ablated:
    root = tmp_path_factory.mktemp("ablation")
    shutil.copytree(tiny_world.shards, root / "shards")
    about = {
        "parts": {"mgp": "mgp.yaml", "genres": "genres.yaml"},
        "shards": str(root / "shards"),
        "factors": str(tiny_world.factors),
        "seeds": [0, 1],
        "stages": [2, 1],
        "stage_folds": 2,
        "settings": SETTINGS,
    }
    config = root / "ablation.yaml"
    config.write_text(yaml.safe_dump(about, sort_keys=False))
    out = root / "out"
    assert main(["ablate", f"--config={config}", f"--out={out}"]) == 0
    return Ablated(out, config, json.loads((out / "ablation.json").read_text()))


def ours(table: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    rows = [row for row in table["table"] if row["method"] == "coldstart"]
    return {(row["input"], row["training"]): row for row in rows}


def test_the_table_has_each_row_with_its_training_and_spread(ablated: Ablated) -> None:
    rows = ours(ablated.table)
    assert set(rows) == {
        ("mgp", ""),
        ("genres", ""),
        ("mgp+genres", "two stages"),
        ("mgp+genres", "joint"),
    }
    runs = ablated.table["runs"]
    for (name, training), row in rows.items():
        assert row["seeds"] == 2
        mine = [
            r["ndcg"]
            for r in runs
            if (r["input"], r["training"], r["method"]) == (name, training, "coldstart")
        ]
        assert row["ndcg"] == pytest.approx(np.mean(mine))
        assert row["ndcg_spread"] == pytest.approx(np.std(mine, ddof=1))
        assert (row["epochs"], row["parameters"] > 0, row["seconds_per_epoch"] > 0) == (
            1,
            True,
            True,
        )


def test_rivals_and_floors_stand_beside_every_input(ablated: Ablated) -> None:
    methods = {(row["input"], row["method"]) for row in ablated.table["table"]}
    for name in ("mgp", "genres", "mgp+genres"):
        assert {(name, "ridge"), (name, "20 nearest neighbours")} <= methods
    assert {("–", "random"), ("–", "shuffled content"), ("artist", "artist's popularity")} < methods
    text = (ablated.out / "ablation.md").read_text()
    for said in ("6 cold tracks", "strict cold start", "over seeds 0, 1", "beside its best part"):
        assert said in text
    flat = pl.read_csv(ablated.out / "ablation.csv")
    assert len(flat) == len(ablated.table["table"])


def test_what_fusing_gained_is_said_seed_by_seed(ablated: Ablated) -> None:
    gained = {row["training"]: row for row in ablated.table["fusing"]}
    assert set(gained) == {"two stages", "joint"}
    rows = ours(ablated.table)
    best = max(("mgp", "genres"), key=lambda name: rows[name, ""]["ndcg"])
    for training, row in gained.items():
        assert row["best_part"] == best
        difference = rows["mgp+genres", training]["ndcg"] - rows[best, ""]["ndcg"]
        assert row["ndcg_gain"] == pytest.approx(difference)


def test_an_interrupted_ablation_repeats_only_what_is_missing(
    ablated: Ablated, capsys: pytest.CaptureFixture[str]
) -> None:
    def stamps() -> dict[Path, int]:
        made = [*ablated.out.rglob("best.ckpt"), *ablated.out.rglob("runs/*/*/results.json")]
        return {path: path.stat().st_mtime_ns for path in made}

    before = stamps()
    gone = ablated.out / "runs" / "mgp" / "s1"
    (gone / "job.json").unlink()  # cut off before its end: its fit is there, its test isn't
    assert main(["ablate", f"--config={ablated.config}", f"--out={ablated.out}"]) == 0
    assert "7 of 8 runs are there already" in capsys.readouterr().err
    again = stamps()
    assert {path for path in before if before[path] != again[path]} == {gone / "results.json"}
    made = json.loads((ablated.out / "ablation.json").read_text())
    figures = ("ndcg", "cosine")
    for key, row in ours(ablated.table).items():
        assert [row[f] for f in figures] == [ours(made)[key][f] for f in figures]


def test_runs_of_other_settings_are_not_mixed_in(
    ablated: Ablated, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["ablate", f"--config={ablated.config}", f"--out={ablated.out}"]
    assert main([*args, "--settings.trainer.max_epochs=2"]) == 2
    assert "made with other settings" in capsys.readouterr().err


def test_all_subsets_in_processes_side_by_side(ablated: Ablated, tmp_path: Path) -> None:
    table = ablate(
        **{**yaml.safe_load(ablated.config.read_text()), "seeds": [0], "stages": [1]},
        all_subsets=True,
        out=str(tmp_path / "out"),
        jobs=2,
    )
    assert set(ours(table)) == {("mgp", ""), ("genres", ""), ("mgp+genres", "joint")}
    before = ours(ablated.table)["mgp+genres", "joint"]
    assert before["seeds"] == 2
    assert "NDCG@20" in (tmp_path / "out" / "ablation.md").read_text()


def test_a_run_that_fails_does_not_take_the_others_down(
    ablated: Ablated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {**yaml.safe_load(ablated.config.read_text()), "seeds": [0], "stages": [1]}
    config |= {"parts": {"mlg": "mlg.yaml", "genres": "genres.yaml"}, "out": str(tmp_path / "out")}
    with pytest.raises(InputError, match="2 of 3 runs failed") as caught:
        ablate(**config)
    assert "no modality 'mlg'" in str(caught.value)
    assert set(ours(json.loads((tmp_path / "out/ablation.json").read_text()))) == {("genres", "")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": [["mgp", "mpg"]]}, "mpg"),
        ({"rows": [[]]}, "empty"),
        ({"parts": {}}, "parts is empty"),
        ({"parts": {"both": "mgp_genres.yaml"}}, "has one encoder"),
        ({"parts": {"mgp": "nowhere.yaml"}}, "nowhere.yaml"),
        ({"seeds": []}, "at least one seed"),
        ({"sets": {"small": TrackSet("random", 0.5)}}, "--listens"),
    ],
)
def test_a_wrong_plan_is_refused_before_anything_runs(
    change: dict[str, Any], message: str, ablated: Ablated, tmp_path: Path
) -> None:
    config = {**yaml.safe_load(ablated.config.read_text()), "out": str(tmp_path / "x"), **change}
    with pytest.raises(InputError, match=message):
        ablate(**config)
    assert not (tmp_path / "x").exists()


def test_the_table_goes_to_wandb_offline(ablated: Ablated, tmp_path: Path) -> None:
    config = {**yaml.safe_load(ablated.config.read_text()), "seeds": [0], "rows": [["mgp"]]}
    ablate(**config, out=str(tmp_path / "out"), wandb="offline")
    logged = {path.parent.name for path in tmp_path.rglob("*.wandb")}
    assert sum(name.startswith("offline-run") for name in logged) >= 2  # a run, and the table
    tables = [json.loads(path.read_text()) for path in tmp_path.rglob("*.table.json")]
    assert any("NDCG@20" in table["columns"] for table in tables)


def test_listeners_write_their_modality_first_and_are_reported(
    tiny_world: World, tmp_path: Path
) -> None:
    shutil.copytree(tiny_world.shards, tmp_path / "shards")
    listener = yaml.safe_load((configs_folder() / "listener_waveform_small.yaml").read_text())
    listener["data"]["folds"] = 2
    (tmp_path / "listener.yaml").write_text(yaml.safe_dump(listener))
    config: dict[str, Any] = {
        "parts": {"mlg_waveform": "mlg_waveform.yaml"},
        "listeners": {"mlg_waveform": str(tmp_path / "listener.yaml")},
        "shards": str(tmp_path / "shards"),
        "factors": str(tiny_world.factors),
        "seeds": [0],
        "settings": {
            **SETTINGS,
            "trainer.max_epochs": 2,
            "model.encoders.waveform.patch_seconds": 3,
        },
        "out": str(tmp_path / "out"),
    }
    table = ablate(**config)
    (heard,) = table["listeners"]
    assert (heard["nets"], heard["test_tracks"]) == (2, [6])
    assert -1 <= heard["mean_correlation"] <= 1
    assert "listener of mlg_waveform: correlation" in (tmp_path / "out/ablation.md").read_text()
    again = ablate(**config)  # all of it is there, and the listeners are reported again
    assert again["listeners"] == table["listeners"]
    # Somebody else's modality is taken as it is.
    other = ablate(**{**config, "out": str(tmp_path / "other")})
    assert other["listeners"] == []
    assert ours(other)["mlg_waveform", ""]["seeds"] == 1


SETS = {"small": {"by": "random", "share": 0.5}, "large": {"by": "plays", "share": 0.6}}


def test_small_and_large_make_four_cells(
    ablated: Ablated, tiny_world: World, tmp_path: Path
) -> None:
    config = {**yaml.safe_load(ablated.config.read_text()), "parts": {"mgp": "mgp.yaml"}}
    config |= {"sets": SETS, "listens": str(tiny_world.catalogue / "listens.parquet")}
    config |= {"factorize": {"factors": 8, "iterations": 3}, "seeds": [0]}
    path = tmp_path / "small_large.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    out = tmp_path / "out"
    assert main(["ablate", f"--config={path}", f"--out={out}"]) == 0
    table = json.loads((out / "ablation.json").read_text())
    rows = [row for row in table["table"] if row["method"] == "coldstart"]
    assert {(row["trained_on"], row["tested_on"]) for row in rows} == {
        (a, b) for a in SETS for b in SETS
    }
    tracks = {track["track_id"]: track["split"] for track in Shards(tiny_world.shards).all_tracks()}
    plays = pl.read_parquet(tiny_world.catalogue / "listens.parquet").group_by("track_id")
    total = dict(plays.agg(pl.col("plays").sum()).iter_rows())
    members = {
        name: set(pl.read_parquet(out / "sets" / name / "tracks.parquet")["track_id"])
        for name in SETS
    }
    assert [len(members[name]) for name in SETS] == [30, 36]
    least = min(total.get(track, 0) for track in members["large"])
    assert all(total.get(t, 0) <= least for t in tracks if t not in members["large"])
    for name in SETS:
        made = Factors.load(out / "sets" / name / "factors")
        learnt = {t for t, f in zip(made.track_ids, made.folded, strict=True) if not f}
        # Learnt from its own training tracks alone; every set's test tracks are yardsticks.
        assert learnt == {t for t in members[name] if tracks[t] == "train" and t in total}
        tested = {t for t in members["small"] | members["large"] if tracks[t] == "test"}
        assert tested & set(total) <= set(made.track_ids) - learnt
    candidates = table["about"]["tested_on"]
    for name in SETS:
        expected = sum(tracks[track] == "test" for track in members[name])
        assert candidates[name]["candidates"] == [expected]


def test_nothing_is_repeated_and_nothing_is_mixed(tmp_path: Path) -> None:
    job = FitJob(tmp_path / "run", {"input": "x"}, {"a": 1}, [], {})
    assert not job.finished
    job.folder.mkdir()
    (job.folder / "job.json").write_text(json.dumps({"key": job.key}))
    assert job.finished
    run_jobs([job], 1, overwrite=False)  # nothing to do, so nothing is read
    with pytest.raises(InputError, match="other settings"):
        run_jobs([replace(job, config={"a": 2})], 1, overwrite=False)


def test_a_table_of_nothing_says_so() -> None:
    assert "no run has finished" in table.markdown({"table": []})

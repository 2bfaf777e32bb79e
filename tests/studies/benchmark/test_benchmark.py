"""The verb `benchmark`: one table over several splits, resumed and refused where it must be."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
import yaml
from helpers import ROOT, planted_taste

from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.evaluation.rivals import packages
from coldstart.evaluation.rivals.by_content import profile
from coldstart.studies.benchmark.benchmark import benchmark
from coldstart.studies.benchmark.plan import RIVALS, factors_name, read_plan

OWN = ["random", "popularity", "profile", "item_neighbours", "neighbours", "ridge"]


class Tables(NamedTuple):
    """Tables of the planted world, and a plan of them."""

    root: Path
    plan: dict[str, Any]

    def write(self, **changed: Any) -> str:
        path = self.root / "plan.yaml"
        path.write_text(yaml.safe_dump({**self.plan, **changed}, sort_keys=False))
        return str(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    root = tmp_path_factory.mktemp("benchmark")
    tags, plays = planted_taste()
    ids = [f"t{i:03}" for i in range(len(tags))]
    user, track = plays.nonzero()
    pl.DataFrame(
        {"track_id": ids, "title": ids, "artist": [f"a{i // 3}" for i in range(len(ids))]}
    ).write_parquet(root / "tracks.parquet")
    pl.DataFrame(
        {
            "user_id": [f"u{u:02}" for u in user],
            "track_id": [ids[t] for t in track],
            "plays": plays[user, track].astype(int),
        }
    ).write_parquet(root / "listens.parquet")
    columns = {f"tag{i}": tags[:, i] for i in range(tags.shape[1])}
    pl.DataFrame({"track_id": ids, **columns}).write_parquet(root / "mgp.parquet")
    quick = {"trainer.max_epochs": 2, "data.workers": 0, "model.encoders.mgp.hidden": [16]}
    plan = {
        "tracks": "tracks.parquet",
        "listens": "listens.parquet",
        "attributes": {"mgp": "mgp.parquet"},
        "seeds": [0, 1],
        "factorize": {"factors": 8, "iterations": 5},
        "models": {"talk": {"config": "mgp.yaml", "settings": quick}},
        "rivals": OWN,
    }
    return Tables(root, plan)


@pytest.fixture(scope="module")
def done(made: Tables) -> tuple[Path, dict[str, Any]]:
    """As on the command line: two seeds, a model with factors of its own beside another."""
    out = made.root / "out"
    assert main(["benchmark", made.write(), f"--out={out}", "--jobs=2"]) == 0
    return out, json.loads((out / "results.json").read_text())


def test_one_table_over_all_seeds(done: tuple[Path, dict[str, Any]]) -> None:
    out, content = done
    rows = {row["method"]: row for row in content["table"]}
    assert {"talk", "random", "artist's popularity", "content profile", "ridge"} < set(rows)
    assert len(rows) == 1 + len(OWN)
    figures = [row["ndcg"] for row in content["table"]]
    assert figures == sorted(figures, reverse=True)
    for method in ("content profile", "item neighbours", "20 nearest neighbours", "ridge"):
        assert rows[method]["ndcg"] > rows["random"]["ndcg"] + 0.1, method
    for row in rows.values():
        singly = [seed["ndcg"] for seed in row["by_seed"]]
        assert row["ndcg"] == pytest.approx(np.mean(singly), abs=1e-5)
        assert row["ndcg_low"] <= row["ndcg"] <= row["ndcg_high"]
        assert row["seconds"] >= 0
        assert (row["beside_the_best_rival"] is None) == (row["method"] == content["best_rival"])
    best = rows[content["best_rival"]]
    gap = rows["talk"]["beside_the_best_rival"]
    assert gap["mean"] == pytest.approx(rows["talk"]["ndcg"] - best["ndcg"], abs=1e-5)
    assert [split["candidates"] for split in content["splits"]] == [12, 12]
    text = (out / "results.md").read_text()
    for said in ("**talk**", "12 cold candidates", "strict cold start", "seeds 0, 1", "ridge: λ ="):
        assert said in text, said
    flat = pl.read_csv(out / "results.csv")
    assert len(flat) == len(rows)
    assert {
        "seconds",
        "ndcg_seed_1",
        "coverage",
        "ndcg_tail",
        "ndcg_beside_the_best_rival_p",
    } < set(flat.columns)


def test_what_has_finished_is_not_done_again(
    made: Tables, done: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = done[0]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("job.json")}
    assert len(before) == 2 * 3
    lost = out / "s1" / "rivals" / "own" / "job.json"
    lost.unlink()
    (out / "results.json").unlink()
    monkeypatch.chdir(out.parent)
    again = benchmark(made.write(), out=out.name)  # the folder by another way to say it
    assert [row["method"] for row in again["table"]] == [row["method"] for row in done[1]["table"]]
    assert [row["by_seed"] for row in again["table"]] == [
        row["by_seed"] for row in done[1]["table"]
    ]
    after = {path: path.stat().st_mtime_ns for path in out.rglob("job.json")}
    assert {path for path in after if after[path] != before[path]} == {lost}


def test_another_plan_in_the_same_folder_is_refused(
    made: Tables, done: tuple[Path, dict[str, Any]]
) -> None:
    with pytest.raises(InputError, match="another plan \\(seeds differ\\); choose another --out"):
        benchmark(made.write(seeds=[0, 2]), out=str(done[0]))


def test_a_killed_benchmark_goes_on(made: Tables, tmp_path: Path) -> None:
    about = {"content": "mgp.yaml", "rivals": ["random", "profile"], "seeds": [0]}
    plan, out = made.write(models={}, **about), tmp_path
    command = [sys.executable, "-m", "coldstart", "benchmark", plan, f"--out={out}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = out / "s0" / "data" / "job.json"
    while not first.exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 143
    assert not (out / "results.json").exists()
    kept = first.stat().st_mtime_ns
    content = benchmark(plan, out=str(out))
    assert [row["method"] for row in content["table"]] == ["content profile", "random"]
    assert first.stat().st_mtime_ns == kept


def test_what_fails_takes_nothing_else_down(made: Tables, tmp_path: Path) -> None:
    bad = {"config": "mgp.yaml", "settings": {"trainer.max_epochs": "many"}}
    plan = made.write(models={"bad": bad}, rivals=["random", "profile"], seeds=[0])
    with pytest.raises(InputError, match=r"1 of 2 runs failed(.|\n)*max_epochs(.|\n)*bad.log"):
        benchmark(plan, out=str(tmp_path), jobs=2)
    content = json.loads((tmp_path / "results.json").read_text())
    assert [row["method"] for row in content["table"]] == ["content profile", "random"]


def test_mixed_candidates_and_each_model_s_own_factorisation(made: Tables, tmp_path: Path) -> None:
    common = {"factors": 8, "iterations": 5, "hold_out": 0.2}
    quick = made.plan["models"]["talk"]
    models = {"small": quick, "same": quick, "large": {**quick, "factorize": {"factors": 12}}}
    path = made.write(factorize=common, models=models, seeds=[3], candidates="mixed")
    plan = read_plan(path)
    assert len(plan.factorisations) == 2
    assert plan.models["small"].factors == plan.models["same"].factors == factors_name(common)
    content = benchmark(path, out=str(tmp_path), jobs=2)
    rows = {row["method"]: row for row in content["table"]}
    assert {"small", "same", "large", "popularity", "item neighbours"} < set(rows)
    assert rows["small"]["ndcg"] == rows["same"]["ndcg"]
    assert rows["item neighbours"]["ndcg_warm"] > rows["random"]["ndcg_warm"]
    assert len(list((tmp_path / "s3" / "data" / "factors").iterdir())) == 2
    assert content["splits"][0]["warm_candidates"] > 90


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"trakcs": "x"}, "trakcs: there is no such key; there are tracks, listens"),
        ({"tracks": "none.parquet"}, r"tracks: .*none.parquet is not there; paths are relative"),
        ({"split": "artst"}, "split: 'artst' is none of random, artist, temporal"),
        ({"candidates": "warm"}, "candidates: 'warm' is none of cold, mixed"),
        ({"seeds": [0, 0]}, "seeds: .* has one twice"),
        ({"seeds": 3}, "seeds: a list of whole numbers is needed"),
        ({"rivals": ["rigde"]}, "rivals: 'rigde' is none of random"),
        ({"rivals": ["ridge", "ridge"]}, "rivals: .* names one twice"),
        ({"models": {"a": {}}}, "models.a.config is missing: name a fit's config"),
        ({"models": {"a/b": {"config": "mgp.yaml"}}}, "models.a/b: a name is of letters"),
        ({"models": {"a": {"config": "nothing.yaml"}}}, "models.a.config: nothing.yaml: there is"),
        ({"models": {"a": {"confg": "mgp.yaml"}}}, "models.a.confg: there is no such key"),
        ({"models": {"a": {"config": "tune.yaml"}}}, "models.a.config: "),
        ({"models": [1]}, "models: `name: value` pairs are needed"),
        ({"factorize": {"factor": 3}}, "factorize.factor: there is no such key"),
        ({"factorize": {"factors": "many"}}, "factorize.factors: 'many' is no int"),
        (
            {"models": {"a": {"config": "mgp.yaml", "factorize": {"hold_out": 0.1}}}},
            "models.a.factorize.hold_out: decides what is ranked",
        ),
        ({"models": {}}, "content is missing"),
        ({"models": {}, "rivals": []}, "models and rivals are both empty"),
    ],
)
def test_a_wrong_key_is_named(made: Tables, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"plan.yaml: {said}"):
        read_plan(made.write(**changed))


def test_a_plan_without_a_listening_log_says_so(made: Tables) -> None:
    path = made.root / "plan.yaml"
    path.write_text("tracks: tracks.parquet\n")
    with pytest.raises(InputError, match="listens is missing: name the table"):
        read_plan(str(path))
    path.write_text("tracks: [")
    with pytest.raises(InputError, match="not YAML"):
        read_plan(str(path))
    with pytest.raises(InputError, match="there is no such plan"):
        read_plan(str(made.root / "none.yaml"))


def test_a_missing_package_is_named_with_the_extra(
    made: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = packages.Other("Gone", "no_such_package", profile)
    monkeypatch.setitem(packages.OTHERS, "lightfm", gone)
    with pytest.raises(InputError, match=r"needs the package no_such_package: pip install 'cold"):
        read_plan(made.write(rivals=["lightfm"]))
    assert "lightfm" in RIVALS


def test_the_example_s_plan_is_read(made: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "need", lambda name: None)
    monkeypatch.setattr("coldstart.studies.benchmark.plan.need", lambda name: None)
    example = ROOT / "examples" / "lastfm" / "benchmark.yaml"
    there = made.root / "example" / "tables"
    there.mkdir(parents=True)
    for name in ("tracks", "listens", "mgp"):
        shutil.copy(made.root / f"{name}.parquet", there)
    shutil.copy(example, there.parent)
    assert "talk" in read_plan(str(there.parent / "benchmark.yaml")).models

"""Content and plays together from the command line: tests, recommendations, updates."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import World, data_flags
from planted import label_world

import coldstart as cs
from coldstart.cli import main
from coldstart.evaluation.results import read_results
from coldstart.evaluation.warm_up import WarmUpRow
from coldstart.factors.factors import Factors
from coldstart.factors.model_space import in_model_space
from coldstart.files import write_json
from coldstart.model.ensemble import Ensemble
from coldstart.runs.ensemble import FILE, run_ensemble
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import open_run

QUICK = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--data.workers=0"]

FITS = {
    "cosine": ["--config=mgp_genres.yaml", "--stages=1"],
    "kernel": ["--config=kernel.yaml"],
    "softmax": ["--config=mgp_genres.yaml", "--stages=1", "--model.target=UserSoftmax"],
}
"""Runs: directions alone; lengths, solved; lengths, by listens."""

every_run = pytest.mark.parametrize("name", sorted(FITS))


@pytest.fixture(scope="module")
def label(tmp_path_factory: pytest.TempPathFactory) -> World:
    return label_world(tmp_path_factory.mktemp("label"))


@pytest.fixture(scope="module")
def runs(label: World) -> dict[str, Path]:
    made = {}
    for name, flags in FITS.items():
        made[name] = label.root / name
        args = ["fit", *flags, f"--run={made[name]}", *data_flags(label), *QUICK]
        assert main(args) == 0
    return made


def recommended(
    capsys: pytest.CaptureFixture[str], run: Path, *flags: str, k: int = 200
) -> list[dict[str, Any]]:
    capsys.readouterr()
    flags = ("--candidates=all", f"--k={k}", *flags)
    assert main(["recommend", f"--run={run}", "--json", *flags]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


# Tests.


@every_run
def test_the_warm_up_curve_is_measured(
    name: str, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs[name]
    capsys.readouterr()
    assert main(["test", f"--run={run}", "--warm-up"]) == 0
    printed = capsys.readouterr().out
    assert "ensemble beside" in printed
    assert "chosen on 39 validation tracks" in " ".join(printed.split())
    content = json.loads((run / "warm_up.json").read_text(encoding="utf-8"))
    rows = [WarmUpRow(**row) for row in content["rows"]]
    assert {row.plays for row in rows} == set(content["ages"])
    assert content["ensemble"] == json.loads((run / FILE).read_bytes())["ensemble"]
    table = pl.read_csv(run / "warm_up.csv")
    assert table.columns == list(WarmUpRow._fields)
    assert len(table) == len(rows)
    by_user = pl.read_parquet(run / "warm_up_by_user.parquet")
    assert by_user.columns == ["user_id", "plays", "method", "ndcg"]
    assert (run / "warm_up.png").read_bytes()[:4] == b"\x89PNG"
    late = {row.method: row.ndcg for row in rows if row.plays == 10}
    assert late["ensemble"] > late["content alone"]  # a fit of one epoch knows little


@pytest.mark.parametrize("flags", [["--candidates=mixed"], ["--drop-each"], ["--lengths=own"]])
def test_the_curve_ranks_new_tracks_alone(
    flags: list[str], runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", f"--run={runs['cosine']}", "--warm-up", *flags]) == 2
    error = capsys.readouterr().err
    assert "--candidates mixed" in error
    assert "Traceback" not in error


def test_an_ensemble_is_set_in_the_run_not_for_one_test(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", f"--run={runs['cosine']}", "--warm-up", "--ensemble.strength=3"]) == 2
    error = capsys.readouterr().err
    assert "--ensemble is a setting of a run: write it into" in error
    assert "config.yaml" in error


@every_run
def test_mixed_lists_are_ranked_with_and_without_what_makes_scores_comparable(
    name: str, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", f"--run={runs[name]}", "--candidates=mixed", "--no-rivals"]) == 0
    printed = capsys.readouterr().out
    assert "cold ones so that equal scores say the same" in printed
    about, rows = read_results(runs[name] / "results_mixed.json")
    at = {row.method: row for row in rows}
    ours = [method for method in at if method.startswith("coldstart")]
    assert ours == ["coldstart", "coldstart, as predicted"]
    for method in ours:
        share = at[method].new_share
        assert share is not None
        assert 0 <= share <= 1
    assert about["lengths"] == "ensemble"
    assert about["ensemble"] == json.loads((runs[name] / FILE).read_bytes())["ensemble"]
    # As predicted is what ranked before there was an ensemble.
    before = "own" if name != "cosine" else "unit"
    flags = ["--candidates=mixed", "--no-rivals", f"--lengths={before}", "--results=before"]
    assert main(["test", f"--run={runs[name]}", *flags]) == 0
    ((_, (own, *_)),) = [read_results(runs[name] / "before.json")]
    for figure in ("recall", "ndcg", "map", "new_share"):
        expected = getattr(at["coldstart, as predicted"], figure)
        assert getattr(own, figure) == pytest.approx(expected, abs=1e-6)


# Recommendations.


def with_all_parts(run: Path) -> None:
    """Give the run an ensemble in which every part of a score counts."""
    found = run_ensemble(open_run(run))
    made = json.loads((run / FILE).read_bytes())
    ensemble = Ensemble(scale=0.8, artist=0.5, strength=6.0, unseen=0.1, length=1.3, offset=0.2)
    write_json(run / FILE, {**made, "ensemble": ensemble._asdict()})
    assert run_ensemble(open_run(run)).ensemble == ensemble != found.ensemble


@pytest.fixture(scope="module")
def with_parts(label: World, runs: dict[str, Path]) -> dict[str, Path]:
    copies = {}
    for name, run in runs.items():
        copies[name] = shutil.copytree(run, label.root / f"{name} with parts")
        with_all_parts(copies[name])
    return copies


@every_run
@pytest.mark.parametrize("question", ["user", "like"])
def test_all_parts_of_a_score_add_up_to_it(
    name: str,
    question: str,
    label: World,
    with_parts: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    factors = Factors.load(label.factors)
    asked = factors.user_ids[3] if question == "user" else factors.track_ids[0]
    rows = recommended(capsys, with_parts[name], f"--{question}={asked}", "--why")
    assert {row["by"] for row in rows} == {"plays", "content", "both"}
    named: set[str] = set()
    for row in rows:
        why = row["why"]
        assert why["by"] == row["by"]
        if row["by"] == "plays":
            assert why["modalities"] == []
            continue
        parts = [share["value"] for share in why["modalities"]] + list(why["others"].values())
        assert sum(parts) == pytest.approx(row["similarity"], abs=2e-4), row
        for share in why["modalities"]:
            if share["base"] is not None:
                inside = share["base"] + sum(share["attributes"].values())
                assert inside == pytest.approx(share["value"], abs=2e-4)
        assert ("plays" in why["others"]) == (row["by"] == "both") == bool(why["listeners"])
        named |= set(why["others"])
    assert named == {"plays", "artist", "new"} - ({"new"} if question == "like" else set())


def test_the_parts_are_printed(
    label: World, with_parts: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    user = Factors.load(label.factors).user_ids[3]
    assert main(["recommend", f"--run={with_parts['kernel']}", f"--user={user}", "--why"]) == 0
    printed = capsys.readouterr().out
    assert " · new +" in printed
    assert " listeners +" in printed
    assert "mgp " in printed


@every_run
def test_either_content_or_plays_is_as_it_was_before(
    name: str, label: World, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = open_run(runs[name])
    factors = in_model_space(Factors.load(label.factors), run.model.listening)
    predictions = predictions_of(run)
    user = factors.user_ids[3]
    rows = recommended(capsys, runs[name], f"--user={user}", "--placement=either")
    vector = factors.users[3].astype(np.float64)
    content = dict(zip(predictions.track_ids, predictions.values.numpy(), strict=True))
    for row in rows:
        track = factors.row.get(row["track_id"])
        warm = track is not None and not factors.folded[track]
        assert row["by"] == ("plays" if warm else "content")
        place = factors.tracks[track] if warm else content[row["track_id"]]
        expected = float(vector @ place)
        if name == "cosine":
            expected /= float(np.linalg.norm(vector) * np.linalg.norm(place))
        assert row["similarity"] == pytest.approx(expected, abs=2e-4)
    assert {row["by"] for row in rows} == {"plays", "content"}


@every_run
def test_exported_vectors_score_as_the_recommendations(
    name: str,
    label: World,
    with_parts: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    user = Factors.load(label.factors).user_ids[3]
    out = tmp_path / "vectors"
    assert main(["export", f"--run={with_parts[name]}", f"--out={out}"]) == 0
    assert json.loads((out / "about.json").read_bytes())["score"] == "dot"
    tracks = pl.read_parquet(out / "tracks.parquet")
    assert tracks.columns == ["track_id", "vector", "warm", "by"]
    users = pl.read_parquet(out / "users.parquet")
    taste = np.array(users.filter(user_id=user)["vector"].item())
    scores = np.array(tracks["vector"].to_list()) @ taste
    at = dict(zip(tracks["track_id"], zip(scores, tracks["by"], strict=True), strict=True))
    rows = recommended(capsys, with_parts[name], f"--user={user}")
    assert len(rows) > 100
    for row in rows:
        score, by = at[row["track_id"]]
        assert (row["similarity"], row["by"]) == (pytest.approx(score, abs=2e-4), by)
    either = tmp_path / "either"
    args = ["export", f"--run={with_parts[name]}", f"--out={either}", "--placement=either"]
    assert main(args) == 0
    assert set(pl.read_parquet(either / "tracks.parquet")["by"]) == {"plays", "content"}


# A track warms up.


def test_a_track_warms_up_without_a_refit(
    label: World, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nine of the ten nearest listeners play it: it comes nearer to the tenth."""
    run = runs["kernel"]
    folder = shutil.copytree(label.factors, tmp_path / "factors")
    factors, flag = Factors.load(folder), f"--factors={folder}"
    catalogue = cs.Recommender(run, factors=str(folder)).catalogue
    new = [
        track
        for track, source in zip(catalogue.track_ids, catalogue.sources, strict=True)
        if source == 1
    ]
    track = new[0]
    assert track not in factors.row or not factors.listeners[factors.row[track]]
    directions = factors.users / np.linalg.norm(factors.users, axis=1, keepdims=True).clip(1e-9)
    nearest = np.argsort(-(directions @ directions[3]))[:10]
    assert nearest[0] == 3
    user, others = factors.user_ids[3], [factors.user_ids[row] for row in nearest[1:]]

    def row_of() -> tuple[int, dict[str, Any]]:
        rows = recommended(capsys, run, flag, f"--user={user}", "--why")
        return next((row["rank"], row) for row in rows if row["track_id"] == track)

    rank, before = row_of()
    assert (before["by"], before["why"]["listeners"]) == ("content", 0)
    listens = tmp_path / "listens.csv"
    pl.DataFrame({"user_id": others, "track_id": track, "plays": 3}).write_csv(listens)
    weights = (run / "checkpoints" / "best.ckpt").stat().st_mtime_ns
    assert main(["update", str(folder), f"--listens={listens}"]) == 0
    new_rank, after = row_of()
    assert (after["by"], after["why"]["listeners"]) == ("both", 9)
    assert after["similarity"] > before["similarity"]
    assert new_rank < rank
    assert after["why"]["others"]["plays"] > 0
    assert (run / "checkpoints" / "best.ckpt").stat().st_mtime_ns == weights
    out = tmp_path / "vectors"
    assert main(["export", f"--run={run}", flag, f"--out={out}"]) == 0
    assert pl.read_parquet(out / "tracks.parquet").filter(track_id=track)["by"].item() == "both"
    either = recommended(capsys, run, flag, f"--user={user}", "--placement=either")
    assert next(row["by"] for row in either if row["track_id"] == track) == "content"

    assert main(["update", str(folder), "--undo"]) == 0
    assert row_of() == (rank, before)

"""ArtistId: codes that are the same everywhere, and what they are worth where artists matter."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from helpers import World

import coldstart as cs
from coldstart.cli import main
from coldstart.commands.factorize import factorize
from coldstart.commands.shard import shard
from coldstart.commands.split import split
from coldstart.encoders.artist_id import ArtistId, code_of
from coldstart.errors import InputError
from coldstart.fusion.kernel import Kernel
from coldstart.runs.config import read_config
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import open_run

PINNED = "8c8815b6"
"""The signs of the first 32 numbers of one artist's code, as bits: a code may never change, or
stored models would read other artists."""


def signs(code: np.ndarray) -> str:
    return np.packbits(code > 0).tobytes().hex()


def test_codes_are_the_same_in_every_process_and_version() -> None:
    assert signs(code_of("Björk", 32)) == PINNED
    told = "from coldstart.encoders.artist_id import code_of; print(*code_of('Björk', 600))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert [float(number) for number in done.stdout.split()] == pytest.approx(
        code_of("Björk", 600).tolist()
    )
    assert signs(code_of("\ud800", 8))  # half of a surrogate pair, as JSON may hold one


def test_codes_have_length_1_and_are_nearly_orthogonal() -> None:
    codes = np.stack([code_of(f"artist {number}", 1200) for number in range(300)])
    products = codes @ codes.T
    np.testing.assert_allclose(products.diagonal(), 1, rtol=1e-5)
    others = products[~np.eye(300, dtype=bool)]
    assert abs(others.mean()) < 0.002
    assert others.std() == pytest.approx(1200**-0.5, rel=0.05)
    assert abs(codes.mean()) < 1e-3  # as many of either sign
    np.testing.assert_allclose(
        code_of("a", 64), code_of("a", 700)[:64] * (700 / 64) ** 0.5, rtol=1e-6
    )


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="dim is at least 1"):
        ArtistId(dim=0)
    with pytest.raises(InputError, match="widths of at least 1"):
        ArtistId(hidden=(0,))


def ndcg(run: Path, method: str = "coldstart") -> float:
    rows = json.loads((run / "results.json").read_text())["rows"]
    (found,) = (row["ndcg"] for row in rows if row["method"].startswith(method))
    return float(found)


@pytest.mark.parametrize("method", ["random", "artist"])
def test_taste_for_artists_is_found_where_content_is_noise(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everybody plays most tracks of four artists of 30; genres are drawn by chance."""
    generator = np.random.default_rng(0)
    artist = np.arange(240) % 30
    ids = [f"t{number:03d}" for number in range(240)]
    rows = []
    for user in range(150):
        loved = np.isin(artist, generator.choice(30, 4, replace=False))
        played = generator.random(240) < np.where(loved, 0.8, 0.02)
        rows += [(f"u{user:03d}", ids[track], 1) for track in np.flatnonzero(played)]
    listens = pl.DataFrame(rows, schema=["user_id", "track_id", "plays"], orient="row")
    listens.write_parquet(tmp_path / "listens.parquet")
    tracks = {
        "track_id": ids,
        "title": ids,
        "artist": [f"Artist {number}" for number in artist],
        "genres": [[f"style {number}"] for number in generator.integers(0, 8, 240)],
    }
    pl.DataFrame(tracks).write_parquet(tmp_path / "tracks.parquet")
    splits, shards, factors = tmp_path / "splits.parquet", tmp_path / "shards", tmp_path / "factors"
    split(tmp_path / "tracks.parquet", out=splits, method=method)  # type: ignore[arg-type]
    factorize(
        tmp_path / "listens.parquet",
        out=factors,
        splits=splits,
        factors=32,
        shrinkage=0.15,
        axes="scores",
    )
    shard(tmp_path / "tracks.parquet", out=shards, splits=splits, modalities=["genres"])
    flags = [f"--data.shards={shards}", f"--data.factors={factors}", "--config=default.yaml"]
    run, without = tmp_path / "run", tmp_path / "without"
    assert main(["fit", *flags, f"--run={run}"]) == 0
    said = capsys.readouterr()
    if method == "artist":
        assert "reads genres\n" in said.out + said.err
        assert list(read_config(run)["model"]["encoders"]) == ["genres"]
        return
    assert "reads genres, artist_id\n" in said.out + said.err
    assert main(["fit", *flags, f"--run={without}", "--data.drop=[artist_id]"]) == 0
    for each in (run, without):
        assert main(["test", f"--run={each}"]) == 0
    assert ndcg(run) > ndcg(without) + 0.3
    assert ndcg(run, "ridge") > ndcg(without, "ridge") + 0.3  # rivals read the codes as well
    assert ndcg(run, "artist's popularity") == pytest.approx(ndcg(without, "artist's popularity"))
    head = open_run(run).model.fusion
    assert isinstance(head, Kernel)
    assert dict(zip(head.names, head.get_buffer("weight").tolist(), strict=True))["artist_id"] > 0


def test_the_default_recipe_from_fit_to_recommend(
    tiny_world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = Path(shutil.copytree(tiny_world.shards, tmp_path / "shards"))
    flags = [f"--data.shards={shards}", f"--data.factors={tiny_world.factors}"]
    run = tmp_path / "run"
    assert main(["fit", "--config=default.yaml", f"--run={run}", *flags, "--data.workers=0"]) == 0
    assert list(read_config(run)["model"]["encoders"]) == ["genres", "mgp", "artist_id"]
    assert main(["test", f"--run={run}", "--drop-each"]) == 0
    rows = json.loads((run / "results_drop_each.json").read_text())
    assert [row["without"] for row in rows] == ["", "genres", "mgp", "artist_id"]
    assert main(["predict", f"--run={run}"]) == 0
    whole = predictions_of(open_run(run))
    shutil.rmtree(run / "predictions")
    for part in ("--part=1/2", "--part=2/2", "--merge"):
        assert main(["predict", f"--run={run}", part]) == 0
    parts = cs.Predictions.load(run / "predictions")
    assert parts.track_ids == whole.track_ids
    torch.testing.assert_close(parts.values, whole.values)
    capsys.readouterr()
    ask = ["recommend", f"--run={run}", "--user=u00000", "--k=2", "--json", "--why"]
    assert main(ask) == 0
    answers = json.loads(capsys.readouterr().out)
    assert len(answers) == 2
    names = {share["modality"] for answer in answers for share in answer["why"]["modalities"]}
    assert names == {"genres", "mgp", "artist_id"}
    unseen = cs.UnseenTrack(genres=["jazz"])  # its artist isn't known, and so is missing
    assert len(cs.Recommender(run).for_content(unseen, k=2)) == 2


def test_a_run_of_before_opens_and_reads_no_artist(tiny_world: World, tmp_path: Path) -> None:
    """Its config names its encoders."""
    run = tmp_path / "run"
    config = tmp_path / "old.yaml"
    config.write_text(
        "model:\n"
        "  encoders: {genres: {class_path: Genres, init_args: {hidden: []}}}\n"
        "  fusion: {class_path: Kernel}\n"
        "  target: {class_path: TrackFactors, init_args: {length: true}}\n"
        "trainer: {max_epochs: 1}\n"
    )
    flags = [f"--data.shards={tiny_world.shards}", f"--data.factors={tiny_world.factors}"]
    assert main(["fit", f"--config={config}", f"--run={run}", *flags, "--data.workers=0"]) == 0
    assert list(open_run(run).model.encoders) == ["genres"]
    assert len(predictions_of(open_run(run)).track_ids) > 0

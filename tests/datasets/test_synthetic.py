import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile as sf
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file
from scipy.stats import chisquare, spearmanr

from coldstart.datasets import synthetic, synthetic_world
from coldstart.datasets.synthetic import make_catalogue
from coldstart.datasets.synthetic_world import ATTRIBUTES, GENRES, TRAITS

NAMES = [trait.name for trait in TRAITS]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without audio, large enough to look at distributions."""
    return make_catalogue(
        tmp_path_factory.mktemp("large"), tracks=5_000, users=2_000, seed=1, audio=False
    )


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def truth(folder: Path) -> dict[str, NDArray[np.float32]]:
    return load_file(folder / "truth.safetensors")


def plays_per_track(folder: Path) -> NDArray[np.int64]:
    listens = pl.read_parquet(folder / "listens.parquet")
    total = listens.group_by("track_id").agg(pl.col("plays").sum())
    tracks = pl.read_parquet(folder / "tracks.parquet").join(total, "track_id", "left")
    return tracks.sort("track_id")["plays"].fill_null(0).to_numpy()


def test_files_depend_on_the_seed_and_not_on_the_workers(small: Path, tmp_path: Path) -> None:
    same = make_catalogue(tmp_path / "same", tracks=60, users=40, seed=3, workers=2)
    assert files(same) == files(small)
    other = make_catalogue(tmp_path / "other", tracks=60, users=40, seed=4, audio=False)
    for name in ("tracks", "listens", "mgp"):
        assert (other / f"{name}.parquet").read_bytes() != (small / f"{name}.parquet").read_bytes()


def test_tables_have_the_promised_columns(small: Path, large: Path) -> None:
    tracks = pl.read_parquet(small / "tracks.parquet")
    assert tracks.schema == {
        "track_id": pl.String,
        "title": pl.String,
        "artist": pl.String,
        "artist_id": pl.String,
        "audio": pl.String,
        "genres": pl.List(pl.String),
        "release_date": pl.Date,
    }
    assert tracks.null_count().sum_horizontal().item() == 0
    assert tracks["track_id"].is_unique().all()
    assert set(tracks["genres"].explode()) <= set(GENRES)
    assert tracks["genres"].list.len().is_between(1, 3).all()
    assert tracks["release_date"].is_between(date(1960, 1, 1), date(2025, 12, 31)).all()

    without = pl.read_parquet(large / "tracks.parquet")
    assert "audio" not in without.columns
    assert set(without["genres"].explode()) == set(GENRES)
    assert without["artist"].n_unique() == without["artist_id"].n_unique()

    listens = pl.read_parquet(large / "listens.parquet")
    assert listens.columns == ["user_id", "track_id", "plays"]
    assert not listens.select("user_id", "track_id").is_duplicated().any()
    assert listens["plays"].dtype.is_integer()
    assert listens["plays"].min() == 1
    assert set(listens["track_id"]) <= set(without["track_id"])
    assert set(listens["user_id"]) == {f"u{index:05d}" for index in range(2_000)}


def test_audio_is_readable_and_of_the_promised_shape(small: Path) -> None:
    seconds = []
    for name in pl.read_parquet(small / "tracks.parquet")["audio"]:
        info = sf.info(small / name)
        assert (info.samplerate, info.channels, info.subtype) == (22_050, 1, "PCM_16")
        seconds.append(info.duration)
        peak = np.abs(sf.read(small / name)[0]).max()
        assert 10 ** (-3.1 / 20) < peak < 10 ** (-0.9 / 20)
    assert min(seconds) >= 12
    assert max(seconds) <= 60
    assert 0.15 < np.mean(np.array(seconds) < 35) < 0.55


def test_popularity_and_activity_have_long_tails(large: Path) -> None:
    plays = np.sort(plays_per_track(large))[::-1]
    assert plays[: len(plays) // 5].sum() > plays.sum() / 2
    assert plays.max() > 20 * np.median(plays)
    activity = pl.read_parquet(large / "listens.parquet").group_by("user_id").len()["len"]
    assert 20 < float(np.median(activity)) < 100
    assert max(activity) <= 5_000 // 4


def test_listening_follows_the_truth(large: Path) -> None:
    known = truth(large)
    log_odds = known["tastes"] @ known["traits"].T + known["log_popularity"]
    listens = pl.read_parquet(large / "listens.parquet")
    user, track = (
        listens[f"{c}_id"].str.slice(1).cast(pl.Int64).to_numpy() for c in ("user", "track")
    )
    assert log_odds[user, track].mean() > log_odds.mean() + log_odds.std()
    liking = (known["tastes"][user] * known["traits"][track]).sum(1)
    assert spearmanr(liking, listens["plays"]).statistic > 0.2


def test_choices_have_the_stated_probabilities() -> None:
    # First picks by many alike users: their shares must match the softmax of the log-odds.
    rng = np.random.default_rng(0)
    traits = rng.normal(size=(20, len(TRAITS))).astype(np.float32)
    tastes = np.tile(rng.normal(0, 0.3, len(TRAITS)), (20_000, 1)).astype(np.float32)
    popularity = rng.normal(size=20).astype(np.float32)
    none = np.zeros(20)
    world = synthetic_world.World(
        traits, tastes, popularity, none.astype(int), none.astype(int), none
    )
    user, track, _ = synthetic_world.listens_of(world, seed=0)
    expected = np.exp(tastes[0] @ traits.T + popularity)
    expected = expected.astype(float) / expected.sum(dtype=float)
    alone = np.bincount(user, minlength=20_000) == 1  # users of one track: an unbiased subset
    picked = track[alone[user]]
    assert len(picked) > 300
    assert chisquare(np.bincount(picked, minlength=20), expected * len(picked)).pvalue > 0.001


def test_attributes_are_graded_and_follow_their_traits(large: Path) -> None:
    grades = pl.read_parquet(large / "mgp.parquet")
    assert grades.columns == ["track_id", *ATTRIBUTES]
    traits = truth(large)["traits"]
    for name, (_, loadings) in ATTRIBUTES.items():
        assert sum(weight**2 for weight in loadings.values()) < 1, name
        grade = grades[name]
        assert grade.dtype == pl.Float32
        steps = grade.to_numpy() * 5
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-5)
        assert 0 <= min(grade) < max(grade) <= 1
        assert np.std(steps) > 5 * 0.15, name
        direction = sum(weight * traits[:, NAMES.index(t)] for t, weight in loadings.items())
        assert np.corrcoef(grade, direction)[0, 1] > 0.35, name
        # Annotators err: nobody could read the trait off a grade.
        assert np.corrcoef(grade, direction)[0, 1] < 0.97, name


def test_no_attribute_is_constant_even_in_the_smallest_catalogue(tmp_path: Path) -> None:
    for seed in range(5):
        made = make_catalogue(tmp_path / str(seed), tracks=20, users=5, seed=seed, audio=False)
        assert (
            pl.read_parquet(made / "mgp.parquet").drop("track_id").std().min_horizontal().item() > 0
        )


def test_order_and_names_say_nothing(large: Path) -> None:
    known = truth(large)
    order = np.arange(5_000)
    for column in (*known["traits"].T, known["log_popularity"]):
        assert abs(np.corrcoef(order, column)[0, 1]) < 0.06


def test_truth_names_its_traits(small: Path) -> None:
    with safe_open(small / "truth.safetensors", "numpy") as file:
        assert json.loads(file.metadata()["traits"]) == {t.name: t.audible for t in TRAITS}
    known = truth(small)
    assert {name: value.shape for name, value in known.items()} == {
        "traits": (60, len(TRAITS)),
        "tastes": (40, len(TRAITS)),
        "log_popularity": (60,),
    }
    assert {value.dtype for value in known.values()} == {np.dtype(np.float32)}


def test_a_second_run_renders_only_what_is_missing(small: Path) -> None:
    before = files(small)
    lost, kept = small / "audio/t000007.flac", small / "audio/t000008.flac"
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    (small / "listens.parquet").unlink()
    make_catalogue(small, tracks=60, users=40, seed=3, workers=1)
    assert files(small) == before
    assert kept.stat().st_mtime_ns == stamp


def test_an_interrupted_rendering_leaves_no_broken_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(job: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "render_file", stop)
        with pytest.raises(KeyboardInterrupt):
            make_catalogue(tmp_path, tracks=20, users=5, workers=1)
    assert not list(tmp_path.rglob("*.flac"))
    make_catalogue(tmp_path, tracks=20, users=5, workers=1)
    assert len(list((tmp_path / "audio").iterdir())) == 20


def test_a_folder_is_not_shared_with_other_options(small: Path, tmp_path: Path) -> None:
    before = files(small)
    with pytest.raises(ValueError, match="other options"):
        make_catalogue(small, tracks=61, users=40, seed=3)
    assert files(small) == before
    (tmp_path / "tracks.parquet").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"tracks\.parquet of other origin"):
        make_catalogue(tmp_path)
    assert files(tmp_path) == {"tracks.parquet": b"mine"}


@pytest.mark.parametrize(
    ("argument", "value"), [("tracks", 19), ("users", 4), ("seed", -1), ("workers", 0)]
)
def test_bad_arguments_are_named(tmp_path: Path, argument: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{argument} is {value}"):
        make_catalogue(tmp_path / "new", **{argument: value})  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_about_says_that_the_world_is_invented(small: Path) -> None:
    about = (small / "ABOUT.md").read_text()
    assert "Nothing in this folder is real" in about
    assert "seed 3: 60 tracks, 40 users" in about

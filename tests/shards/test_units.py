"""Columns in another unit than their table are scaled by themselves; nothing else is touched."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import coldstart as cs
from coldstart.commands.shard import shard
from coldstart.encoders.attributes import MGP
from coldstart.shards.reading import Shards
from coldstart.shards.units import dominant_columns, small_columns, units_of
from coldstart.shards.writing import vector_statistics

Values = NDArray[np.float64]
RANDOM = np.random.default_rng(0)
N = 300
GRADES = RANDOM.beta(2, 3, (N, 6))
OTHERS: dict[str, Values] = {
    "duration_ms": RANDOM.normal(230_000, 60_000, N).clip(30_000).round(),
    "year": RANDOM.integers(1950, 2025, N).astype(float),
    "tempo": RANDOM.normal(120, 28, N),
    "loudness": -RANDOM.gamma(3, 3, N),
    "key": RANDOM.integers(0, 12, N).astype(float),
    "followers": RANDOM.lognormal(8, 2, N).round(),
}


def units(values: Values) -> dict[str, dict[str, Any]]:
    return units_of([str(i) for i in range(values.shape[1])], values)


@pytest.mark.parametrize("name", OTHERS)
def test_a_column_of_another_unit_beside_grades_is_found(name: str) -> None:
    found = units(np.column_stack([GRADES, OTHERS[name]]))
    assert list(found) == ["6"]
    assert found["6"]["log"] == (name == "followers")
    column = np.log1p(OTHERS[name]) if name == "followers" else OTHERS[name]
    assert found["6"]["mean"] == pytest.approx(column.mean())
    assert found["6"]["spread"] == pytest.approx(column.std())


def test_several_units_are_found_beside_few_grades_and_beside_flags() -> None:
    others = list(OTHERS.values())
    assert list(units(np.column_stack([GRADES[:, :2], *others]))) == list("234567")
    assert list(units(np.column_stack([GRADES[:, :1], *others[:2]]))) == ["1", "2"]
    flags = (RANDOM.random((N, 40)) < 0.03).astype(float)
    assert list(units(np.column_stack([flags, *others[:2]]))) == ["40", "41"]


def one_unit(kind: str, generator: np.random.Generator, rows: int, columns: int) -> Values:
    if kind == "components":  # of a vector: the first ones are much larger than the last ones
        return generator.normal(size=(rows, columns)) * 0.8 ** np.arange(columns)
    if kind == "steps":
        return generator.integers(1, 6, (rows, columns)).astype(float)
    if kind == "z-scores":
        return generator.normal(size=(rows, columns))
    rare = np.exp(generator.normal(-2, 1, columns))
    if kind in ("flags", "tags", "counts"):
        counts = generator.poisson(generator.lognormal(0, 1.5, (rows, columns)) * rare)
        counts[0] = 0
        return {"flags": (counts > 0) * 1.0, "tags": np.log1p(counts), "counts": counts * 1.0}[kind]
    shares = generator.beta(5 * rare, 5, (rows, columns))
    return shares


@given(
    st.sampled_from(["components", "steps", "z-scores", "flags", "tags", "shares"]),
    st.integers(0, 2**32),
    st.integers(20, 300),
    st.integers(2, 40),
)
def test_a_table_of_one_unit_gets_exactly_the_facts_that_it_always_had(
    kind: str, seed: int, rows: int, columns: int
) -> None:
    values = one_unit(kind, np.random.default_rng(seed), rows, columns)
    assert units(values) == {}
    facts = vector_statistics(list(values), [str(i) for i in range(columns)])
    assert list(facts) == ["mean", "std"]


def test_a_large_tag_among_raw_counts_of_tags_is_of_their_unit() -> None:
    counts = one_unit("counts", np.random.default_rng(3), 300, 30)
    counts[:, 0] = counts[:, 0] * 400
    assert units(counts) == {}


def test_a_smaller_unit_and_dominant_columns_of_vectors_are_worth_a_word() -> None:
    values = np.column_stack([GRADES * 100, GRADES[:, 0]])
    names = list("abcdefg")
    assert units(values) == {}
    assert small_columns(names, values, []) == ["g"]
    assert small_columns(names[:6], GRADES, []) == []
    assert dominant_columns(list(np.column_stack([GRADES, OTHERS["duration_ms"]]))) == [6]
    assert dominant_columns(list(GRADES * [1, 1, 1, 1, 1, 30])) == []


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 6))
def test_any_table_is_described_without_a_warning(seed: int, rows: int, columns: int) -> None:
    generator = np.random.default_rng(seed)
    values = np.round(generator.normal(size=(rows, columns)) * 10.0 ** generator.integers(-9, 18))
    with np.errstate(all="raise", under="ignore"):
        assert all(unit["spread"] > 0 for unit in units(values).values())
        small_columns([str(i) for i in range(columns)], values, [])


def test_the_encoder_scales_the_columns_as_the_training_tracks_say() -> None:
    values = np.column_stack([GRADES, OTHERS["duration_ms"], OTHERS["followers"]])
    names = [*"abcdef", "ms", "followers"]
    alone, beside = MGP(hidden=()), MGP(hidden=())
    alone.start({"names": names[:6], **vector_statistics(list(GRADES), names[:6])})
    beside.start({"names": names, **vector_statistics(list(values), names)})
    got = beside.describe(torch.tensor(values, dtype=torch.float32))
    grades = alone.describe(torch.tensor(GRADES, dtype=torch.float32))
    assert torch.equal(got[:, :6], grades)
    torch.testing.assert_close(got[:, 6:].std(0, correction=0), torch.ones(2))
    torch.testing.assert_close(got[:, 6:].mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    assert beside.describe(torch.tensor([[-1.0] * 8])).isfinite().all()
    torch.testing.assert_close(
        beside.describe(beside.feature_baseline()[None]), torch.zeros(1, 8), atol=1e-4, rtol=0
    )
    literal = MGP(hidden=(), scale="common")
    literal.start({"names": names, **vector_statistics(list(values), names)})
    assert literal.describe(torch.tensor(values, dtype=torch.float32))[:, :6].abs().max() < 0.01


def catalogue(folder: Path) -> None:
    """160 tracks, 160 users, 6 graded attributes that tell what is played; and milliseconds."""
    generator = np.random.default_rng(5)
    taste = generator.normal(size=(160, 3))
    noise = generator.normal(0, 0.2, (160, 6))
    grades = 1 / (1 + np.exp(-taste @ generator.normal(size=(3, 6)) + noise))
    score = generator.normal(size=(160, 3)) @ taste.T + generator.gumbel(size=(160, 160))
    ids = [f"t{i:03d}" for i in range(160)]
    pl.DataFrame({"track_id": ids, "title": ids, "artist": ids}).write_csv(folder / "tracks.csv")
    sides = generator.permutation(["train"] * 104 + ["val"] * 24 + ["test"] * 32)
    pl.DataFrame({"track_id": ids, "split": sides}).write_csv(folder / "splits.csv")
    listens = [(f"u{u}", ids[i], 1) for u in range(160) for i in np.argsort(-score[u])[:25]]
    pl.DataFrame(listens, ["user_id", "track_id", "plays"], orient="row").write_csv(
        folder / "listens.csv"
    )
    table = pl.DataFrame({"track_id": ids, **{f"a{j}": grades[:, j] for j in range(6)}})
    table.write_csv(folder / "plain.csv")
    ms = generator.normal(230_000, 60_000, 160).round()
    table.with_columns(duration_ms=ms).write_csv(folder / "ms.csv")


def test_a_dataset_of_an_earlier_version_gets_its_units_when_it_is_written_anew(
    tmp_path: Path,
) -> None:
    catalogue(tmp_path)

    def sharded(overwrite: bool) -> dict[str, Any]:
        folder = tmp_path / "shards"
        shard(
            tmp_path / "tracks.csv",
            splits=tmp_path / "splits.csv",
            attributes={"mgp": str(tmp_path / "ms.csv")},
            out=folder,
            overwrite=overwrite,
        )
        return dict(Shards(folder).info("mgp"))

    facts = sharded(False)
    about = json.loads((tmp_path / "shards" / "dataset.json").read_text())
    del about["modalities"]["mgp"]["units"]
    (tmp_path / "shards" / "dataset.json").write_text(json.dumps(about))
    assert "units" not in sharded(False)
    assert sharded(True) == facts


def test_milliseconds_beside_grades_do_not_change_what_a_fit_finds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue(tmp_path)
    cs.factorize(
        tmp_path / "listens.csv",
        splits=tmp_path / "splits.csv",
        out=tmp_path / "factors",
        factors=16,
    )
    ndcg = {}
    for name in ("plain", "ms"):
        shard(
            tmp_path / "tracks.csv",
            splits=tmp_path / "splits.csv",
            attributes={"mgp": str(tmp_path / f"{name}.csv")},
            out=tmp_path / name,
        )
        data = {"data.shards": str(tmp_path / name), "data.factors": str(tmp_path / "factors")}
        mgp = {"mgp": {"class_path": "MGP", "init_args": {"hidden": []}}}
        run = cs.fit(
            "kernel.yaml",
            run=str(tmp_path / f"run_{name}"),
            overrides={**data, "model.encoders": json.dumps(mgp)},
        )
        results = cs.test(run)
        ndcg[name] = {row["method"].split(" (")[0]: row["ndcg"] for row in results["rows"]}
    assert "in another unit than the other columns" in caplog.text
    assert ": duration_ms. (" in caplog.text
    assert list(Shards(tmp_path / "ms").info("mgp")["units"]) == ["duration_ms"]
    assert "units" not in Shards(tmp_path / "plain").info("mgp")
    for method in ("coldstart", "ridge"):  # rivals get the same description
        assert abs(ndcg["ms"][method] - ndcg["plain"][method]) < 0.02
    assert ndcg["plain"]["coldstart"] > ndcg["plain"]["random"] + 0.15

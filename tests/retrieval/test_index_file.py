"""The index of a run: kept, brought up to date, refused where it doesn't fit, never a crash."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_inputs.mutation import mutated, refused_or
from helpers import Fitted, copy_of
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import coldstart as cs
from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.retrieval import index_file
from coldstart.retrieval.index import build_index
from coldstart.retrieval.index_file import StoredIndex, current_index, read_index, write_index
from coldstart.retrieval.vector_index import IvfPq

pytest.importorskip("faiss")


@pytest.fixture
def fitted(mgp_genres: Fitted, tmp_path: Path) -> Fitted:
    return copy_of(mgp_genres, tmp_path)


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_an_index_is_made_used_and_brought_up_to_date(
    fitted: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fitted.run
    exact = cs.Recommender(run)
    tracks = exact.catalogue.track_ids
    with pytest.raises(InputError, match="has no index; make one: coldstart index --run"):
        cs.Recommender(run, search="index")
    assert main(["index", "--run", str(run)]) == 0
    said = capsys.readouterr().out
    assert f"hnsw of {len(tracks)} tracks, built from nothing (there was none)" in said
    assert "recall@10" in said
    assert "so few tracks are all compared" in said
    by_index = cs.Recommender(run, search="index")
    assert by_index.index is not None
    assert cs.Recommender(run).index is None
    for track in tracks[:20]:
        options: Any = {"k": 2, "candidates": "all"}
        assert by_index.similar(track, **options) == exact.similar(track, **options)
    user = exact.catalogue.known_factors().user_ids[0]
    assert by_index.for_user(user, k=2) == exact.for_user(user, k=2)
    assert (
        main(["recommend", f"--run={run}", f"--like={tracks[0]}", "--k=2", "--search=index"]) == 0
    )

    assert main(["remove", tracks[-1], f"--shards={fitted.world.shards}"]) == 0
    assert cs.Recommender(run, search="index").index.gone == 1  # type: ignore[union-attr]
    report = cs.index(run=run)
    assert (report.built, report.added, report.gone) == ("", 0, 1)
    assert main(["remove", "--undo", tracks[-1], f"--shards={fitted.world.shards}"]) == 0
    report = cs.index(run=run)
    assert (report.built, report.added, report.gone) == ("", 1, 1)
    assert cs.index(run=run, rebuild=True).gone == 0


def test_what_changed_too_much_is_refused(fitted: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    run, tracks = fitted.run, cs.Recommender(fitted.run).catalogue.track_ids
    cs.remove([*tracks[-4:]], shards=fitted.world.shards)
    cs.index(run=run)
    cs.remove([*tracks[-4:]], shards=fitted.world.shards, undo=True)
    monkeypatch.setattr(index_file, "MOST_ADDED", 3)
    with pytest.raises(InputError, match=r"4 of \d+ tracks are new .*coldstart index --run"):
        cs.Recommender(run, search="index")
    monkeypatch.setattr(index_file, "MOST_ADDED", 4)
    assert cs.Recommender(run, search="index").similar(tracks[-1], k=1)


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("weights", "another", "of another model, which has been fitted anew since"),
        ("factors", "another", "of other factors"),
    ],
)
def test_the_index_of_another_model_is_refused(
    fitted: Fitted, key: str, value: str, fault: str
) -> None:
    cs.index(run=fitted.run)
    record = fitted.run / "index" / "index.json"
    changed(record, lambda about: about["made_of"].update({key: value}))
    with pytest.raises(InputError, match=rf"{fault}; make it anew: coldstart index --run"):
        cs.Recommender(fitted.run, search="index")
    assert cs.Recommender(fitted.run).index is None  # an exact search needs none
    assert fault in cs.index(run=fitted.run).built


def out_of_graph(arrays: dict[str, Any]) -> None:
    arrays["links"][3] = len(arrays["levels"])


def out_of_layer(arrays: dict[str, Any]) -> None:
    """As if an entry of the lowest layer had neighbours above it."""
    high, low = int(arrays["entry"][0]), int(np.flatnonzero(arrays["levels"] == 1)[0])
    ends = np.cumsum(32 + 16 * (arrays["levels"].astype(int) - 1))
    arrays["links"][ends[high] - 1] = low


def no_layer(arrays: dict[str, Any]) -> None:
    arrays["levels"][0] = 0


def many_layers(arrays: dict[str, Any]) -> None:
    arrays["levels"][0] = 200


def entry_outside(arrays: dict[str, Any]) -> None:
    arrays["entry"][0] = -1


def few_links(arrays: dict[str, Any]) -> None:
    arrays["links"] = arrays["links"][:-1]


def few_traces(arrays: dict[str, Any]) -> None:
    arrays["traces"] = arrays["traces"][:-1]


def no_numbers(arrays: dict[str, Any]) -> None:
    arrays["vectors"][0, 0] = np.nan


def outside_lists(arrays: dict[str, Any]) -> None:
    arrays["list_of"][5] = len(arrays["centres"])


def short_codebook(arrays: dict[str, Any]) -> None:
    arrays["codebook"] = arrays["codebook"][:-1]


def other_parts(arrays: dict[str, Any]) -> None:
    arrays["codes"] = arrays["codes"][:, :-1]


GRAPH = (out_of_graph, out_of_layer, no_layer, many_layers, entry_outside, few_links, no_numbers)
LISTS = (outside_lists, short_codebook, other_parts)


@pytest.mark.parametrize(
    ("kind", "damage"),
    [("hnsw", each) for each in (*GRAPH, few_traces)] + [("ivfpq", each) for each in LISTS],
)
def test_a_damaged_index_is_refused(
    fitted: Fitted, kind: Any, damage: Callable[[dict[str, Any]], None], monkeypatch: Any
) -> None:
    if kind == "ivfpq":
        pytest.importorskip("faiss")
        monkeypatch.setattr("coldstart.retrieval.vector_index.LEAST_FOR_LISTS", 1)
        monkeypatch.setattr(IvfPq, "train", small_lists)
    recommender = cs.Recommender(fitted.run)
    index = build_index(recommender.catalogue, kind)
    write_index(recommender.run, StoredIndex(index, 1.0, []))
    path = fitted.run / "index" / "directions.safetensors"
    whole = load_file(path)
    if damage is out_of_layer and whole["levels"].max() == 1:
        pytest.skip("this small graph has one layer")
    assert len(current_index(recommender.run, recommender.catalogue).ids) == len(index.ids)
    damage(whole)
    save_file(whole, path)
    with pytest.raises(InputError, match=r"directions\.safetensors: .*coldstart index --run"):
        cs.Recommender(fitted.run, search="index")


def small_lists(index: IvfPq, vectors: Any) -> None:
    """Of a few tracks: each part's codes are made of random tracks instead of trained."""
    generator = np.random.default_rng(0)
    index.restore(
        {
            "centres": vectors[:3].copy(),
            "codebook": generator.normal(size=256 * index.width).astype(np.float32),
            "codes": np.zeros((1, index.parts), np.uint8),
            "list_of": np.zeros(1, np.int32),
        }
    )
    index._index.reset()


@settings(deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_searched(
    mgp_genres: Fitted, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever is damaged: the process must not end."""
    recommender = indexed(mgp_genres, tmp_path_factory)
    folder = recommender.run.folder / "index"
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    whole = path.read_bytes()
    path.write_bytes(data.draw(mutated(whole)))

    def search() -> None:
        recommender.index = current_index(recommender.run, recommender.catalogue)
        for track in recommender.catalogue.track_ids[::10]:
            recommender.similar(track, k=2, candidates="all")

    try:
        refused_or(search)
    finally:
        path.write_bytes(whole)


RUNS: dict[str, cs.Recommender] = {}


def indexed(fitted: Fitted, folders: pytest.TempPathFactory) -> cs.Recommender:
    """A copy of a run with an index; made once."""
    if "one" not in RUNS:
        run = copy_of(fitted, folders.mktemp("indexed")).run
        RUNS["one"] = cs.Recommender(run)
        write_index(RUNS["one"].run, StoredIndex(build_index(RUNS["one"].catalogue), 1.0, []))
    return RUNS["one"]


def test_the_record_is_what_was_measured(fitted: Fitted) -> None:
    report = cs.index(run=fitted.run)
    recommender = cs.Recommender(fitted.run)
    stored = read_index(recommender.run, recommender.catalogue)
    assert stored.measured == list(report.measured)
    assert stored.tracks.bytes == report.bytes

"""A run's own files, and what dataset.json says of modalities: damaged, or changed by hand."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bad_inputs.damage import HOLDS, OTHERS, changed, copy_of, no_file, refused, set_in

import coldstart as cs
from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.forms.yaml_text import LONGEST, MOST
from coldstart.runs.config import read_config, readable
from coldstart.runs.first_stage import Stage, first_stage_of, write_first_stage
from coldstart.runs.places import data_places
from coldstart.runs.run import begin, open_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    copy_of("shards", tmp_path)
    copy_of("factors", tmp_path)
    return copy_of("runs", tmp_path) / "mgp"


def reads_in_time(read: Callable[[], object], *names: str) -> None:
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        read()
    assert time.monotonic() - start < 5
    message = str(caught.value)
    assert all(name in message for name in names), message
    assert "\n" not in message
    assert len(message) < 900


# YAML

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
MERGES = "m0: &m0 {k: 1, l: 2}\n" + "".join(
    f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}\n" for i in range(1, 12)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 5000))
TEXTS: dict[str, str] = {
    "laughs": LAUGHS,
    "merged laughs": MERGES,
    "keys that laugh": "".join(f"? &k{i} [a]\n: x\n" for i in range(3)) + LAUGHS,
    "a circle": "a: &a [*a]",
    "a circle of mappings": "a: &a {b: {c: *a}}",
    "a circle of two": "a: &a\n  b: &b\n    c: *a\n    d: *b\n",
    "a circle that is merged": "a: &a\n  <<: *a\n  b: 1\n",
    "a chain of aliases": CHAIN,
    "deep lists": "a: " + "[" * 100_000,
    "deep mappings": "{a: " * 50_000,
    "deep blocks": "- " * 50_000 + "x",
    "a text that is too long": "# " + "x" * LONGEST,
    "an object": "a: !!python/object/apply:os.system ['true']",
    "a name of Python": "a: !!python/name:os.system",
    "an unknown tag": "a: !mine x",
    "no alias of that name": "a: *nothing",
    "a tab": "a:\n\t- b",
    "an open list": "a: [1, 2",
    "no integer": "a: !!int ''",
    "no time": "a: !!timestamp x",
    "no flag": "a: !!bool perhaps",
    "a day that isn't": "a: 2024-99-99",
    "very many digits": "a: " + "9" * 5000,
    "a list as a key": "? [a, b]\n: 1",
    "a mapping as a key": "? {a: b}\n: 1",
    "two documents": "a: 1\n---\nb: 2",
    "a null": "a: \x00",
    "half a character": 'a: "\\ud800"',
}


@pytest.mark.parametrize("what", TEXTS)
def test_yaml_without_end_or_sense_is_refused(run: Path, what: str) -> None:
    (run / "config.yaml").write_text(TEXTS[what], encoding="utf-8")
    reads_in_time(lambda: read_config(run), str(run / "config.yaml"))
    if what not in ("half a character", "a list as a key"):  # the parser has its own words
        reads_in_time(lambda: readable(str(run / "config.yaml")), str(run / "config.yaml"))


@pytest.mark.parametrize("what", ["laughs", "a circle", "deep lists", "a text that is too long"])
def test_a_fit_by_such_a_config_ends_with_a_sentence(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXTS[what], encoding="utf-8")
    assert main(["fit", "--config", str(path), "--run", str(tmp_path / "run")]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert shown.splitlines()[-1].startswith(f"coldstart fit: {path}: ")
    assert not (tmp_path / "run").exists()


def test_bytes_that_are_no_text_are_refused(run: Path) -> None:
    (run / "config.yaml").write_bytes(b"a: \xff\xfe\x00")
    reads_in_time(lambda: read_config(run), "config.yaml: no text in UTF-8")


def test_aliases_that_stand_for_little_stay_good(run: Path) -> None:
    path = run / "config.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"mine: &mine {{a: [1, 2]}}\nagain: {{<<: *mine, b: [*mine, *mine]}}\n{text}")
    config = read_config(run)
    assert config["again"] == {"a": [1, 2], "b": [{"a": [1, 2]}] * 2}
    assert readable(str(path)) == str(path)
    many = ", ".join(["*mine"] * (MOST // 10))
    path.write_text(f"mine: &mine {{a: [1, 2]}}\nagain: [{many}]\n{text}")
    assert len(read_config(run)["again"]) == MOST // 10


# config.yaml

CONFIGS: list[tuple[str, Any]] = [
    ("data", ...),
    ("data", None),
    ("data", []),
    ("data", "shards"),
    ("data.shards", ...),
    ("data.shards", None),
    ("data.shards", 5),
    ("data.shards", ["a"]),
    ("data.shards", "a" * 5000),
    ("data.shards", "\0"),
    ("data.factors", 5),
    ("data.factors", {"a": 1}),
    ("data.batch_size", "many"),
    ("data.batch_size", 0),
    ("data.batch_size", 8.5),
    ("data.batch_size", None),
    ("data.workers", -1),
    ("data.workers", True),
    ("data.memory_mb", "all"),
    ("data.folds", "two"),
    ("data.test_tracks", 1),
    ("data.missing", "0.1"),
    ("data.missing", float("nan")),
    ("data.drop", "mgp"),
    ("data.drop", [1]),
    ("data.unknown", 1),
    ("model", ...),
    ("model", None),
    ("model.encoders", ...),
    ("model.encoders", ["mgp"]),
    ("model.encoders.mgp", "MGP"),
    ("model.encoders.mgp.class_path", ...),
    ("model.encoders.mgp.class_path", 5),
    ("model.encoders.mgp.init_args", [1]),
    ("model.fusion", "Concat"),
    ("model.target.class_path", None),
    ("trainer", []),
    ("trainer.default_root_dir", 5),
    ("seed_everything", "zero"),
]


@pytest.mark.parametrize(("place", "value"), CONFIGS)
def test_a_config_with_a_field_of_another_kind_is_named(run: Path, place: str, value: Any) -> None:
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    set_in(config, place, value)
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    key = place.rpartition(".")[2]
    for read in (read_config, open_run, data_places):
        refused(lambda read=read: read(run), str(path), key, "copy the run again")  # type: ignore[misc]


@pytest.mark.parametrize("text", ["", "null", "5", "- a", "text"])
def test_a_config_of_something_else_is_named(run: Path, text: str) -> None:
    (run / "config.yaml").write_text(text)
    refused(lambda: open_run(run), str(run / "config.yaml"))


@pytest.mark.parametrize("name", ["config.yaml", "stage1.json", "places.json"])
@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_file_is_not_waited_for(run: Path, name: str, kind: str) -> None:
    (run / name).touch()
    no_file(run / name, kind)
    read = first_stage_of if name == "stage1.json" else data_places
    reads_in_time(lambda: read(run), str(run / name), "it is a ")


# stage1.json and places.json

STAGES: list[tuple[str, Any]] = [
    ("mgp", None),
    ("mgp", [1]),
    ("mgp.modality", ...),
    ("mgp.modality", 5),
    ("mgp.modality", "../../etc"),
    ("mgp.modality", ""),
    ("mgp.runs", ...),
    ("mgp.runs", "stage1/mgp"),
    ("mgp.runs", []),
    ("mgp.runs", [5]),
    ("mgp.runs", ["a" * 300]),
    ("mgp.vectors", "everything"),
    ("mgp.vectors", None),
    ("mgp.made_by", ...),
    ("mgp.made_by", 7),
    ("mgp.more", 1),
]


@pytest.fixture
def staged(run: Path) -> Path:
    stage = Stage("mgp_vectors", [str(run / "stage1" / "mgp")], "embedding", "abc")
    write_first_stage(run, {"mgp": stage})
    assert first_stage_of(run) == {"mgp": stage}
    return run


@pytest.mark.parametrize(("place", "value"), STAGES)
def test_a_damaged_note_of_the_first_stage_is_named(staged: Path, place: str, value: Any) -> None:
    changed(staged / "stage1.json", place, value)
    refused(lambda: first_stage_of(staged), str(staged / "stage1.json"), "fit anew")


@pytest.mark.parametrize("what", [what for what in HOLDS if what != "not a number"])
@pytest.mark.parametrize("name", ["stage1.json", "places.json"])
def test_garbage_in_the_place_of_a_note_is_named(staged: Path, name: str, what: str) -> None:
    (staged / name).write_bytes(HOLDS[what])
    read = first_stage_of if name == "stage1.json" else data_places
    refused(lambda: read(staged), str(staged / name))


@pytest.mark.parametrize("value", [5, None, ["a"], "", "a" * 5000, "a/" + "b" * 300, "a\0"])
def test_a_place_that_is_none_is_named(run: Path, value: Any) -> None:
    (run / "places.json").write_text(json.dumps({"shards": value}))
    refused(lambda: data_places(run), str(run / "places.json"), "delete it")


def test_a_note_of_a_fit_that_is_no_text_is_another_fit_s(tmp_path: Path) -> None:
    (tmp_path / "begun").write_bytes(b"\xff\xfe")
    assert begin(tmp_path, "key") == []


# dataset.json

FACTS: list[tuple[str, Any]] = [
    ("mgp.names", "abc"),
    ("mgp.names", [1, 2, 3]),
    ("mgp.names", ["a", "a", "b"]),
    ("mgp.names", ["a", "b"]),
    ("mgp.mean", 5),
    ("mgp.mean", [0.0, 0.0]),
    ("mgp.mean", ["x", "y", "z"]),
    ("mgp.mean.0", float("nan")),
    ("mgp.mean.0", None),
    ("mgp.mean.0", True),
    ("mgp.std.1", float("inf")),
    ("mgp.std.1", -1.0),
    ("mgp.std", {"0": 1}),
    ("mgp.units", []),
    ("mgp.units", {"other": {"mean": 0.0, "spread": 1.0, "log": False}}),
    ("mgp.units", {"fast": {"mean": 0.0, "spread": 1.0}}),
    ("mgp.units", {"fast": {"mean": 0.0, "spread": float("nan"), "log": False}}),
    ("mgp.units", {"fast": {"mean": 0.0, "spread": 1.0, "log": "no"}}),
    ("mgp.runs", "a"),
    ("mgp.runs", [5]),
    ("mgp.runs", [""]),
    ("mgp.at", 5),
    ("mgp.what", "everything"),
    ("mgp.weights", [1]),
    ("mgp.parts", ["0"]),
    ("mgp.folds", "two"),
    ("mgp.sample_rate", 0),
    ("mgp.sample_rate", "22050"),
    ("mgp.bins", 1.5),
    ("mgp.made_by", ["x"]),
    ("mgp.shards", ...),
    ("mgp.shards", []),
    ("mgp.shards.val", ["4"]),
    ("mgp.shards.val", [4, 4]),
    ("mgp.shards", {"../x": [1]}),
    ("mgp.fields", ["mgp.npy"]),
    ("mgp", 5),
    ("genres.vocabulary", "abc"),
    ("genres.vocabulary", 5),
    ("genres.vocabulary", [["a"]]),
    ("genres.vocabulary", ["pop", "pop"]),
]

PARTS: list[tuple[str, Any]] = [
    ("splits", [1]),
    ("splits.val", 8),
    ("splits.val", [-1]),
    ("splits.val", [True]),
    ("splits.other", [1]),
    ("modalities", []),
    ("removed", "t"),
    ("removed", [1]),
    ("current", ["t"]),
    ("current", {"t": 1}),
    ("additions", {}),
    ("additions", [{"job": 1, "shards": []}]),
    ("plan", 5),
]


@pytest.mark.parametrize(
    ("place", "value"), [*((f"modalities.{place}", value) for place, value in FACTS), *PARTS]
)
def test_a_dataset_json_with_a_field_of_another_kind_is_named(
    tmp_path: Path, place: str, value: Any
) -> None:
    shards = copy_of("shards", tmp_path)
    changed(shards / "dataset.json", place, value)
    refused(lambda: cs.Shards(shards), str(shards / "dataset.json"), "again")


@pytest.mark.parametrize("key", ["names", "mean", "std"])
def test_facts_that_a_model_needs_and_lacks_are_named(
    run: Path, key: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    changed(shards / "dataset.json", f"modalities.mgp.{key}")
    data = [f"--data.{name}={tmp_path / name}" for name in ("shards", "factors")]
    new = ["--config=mgp.yaml", "--trainer.max_epochs=1", f"--run={tmp_path / 'new'}"]
    assert main(["fit", *new, *data]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert f"lacks '{key}'" in shown.splitlines()[-1]
    if key == "names":
        refused(lambda: open_run(run), f"lacks '{key}'", "again")


def test_what_is_good_stays_good(run: Path) -> None:
    opened = open_run(run)
    assert opened.own_shards
    assert np.isfinite(opened.data.known_factors().tracks).all()

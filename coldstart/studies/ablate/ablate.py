"""The verb `ablate`: fits and tests subsets of modalities, several seeds each → one table.

out/
  runs/<row>/s<seed>/       a run for each row and seed; beside it s<seed>.yaml and s<seed>.log
  listeners/, stage1/       the nets whose outputs other rows read
  sets/                     of SMALL / LARGE: which tracks, and the factors of each
  ablation.json, .csv, .md  the table, written anew after each run that finishes
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from coldstart.errors import InputError, one_of
from coldstart.files import fingerprint
from coldstart.runs.config import find_config, set_flag
from coldstart.shards.reading import Shards
from coldstart.studies.ablate import table, track_sets
from coldstart.studies.jobs import Job, run_jobs
from coldstart.studies.wandb_view import Mode, run_logger

Settings = dict[str, Any]


def ablate(
    *,
    parts: dict[str, str],
    rows: list[list[str]] | None = None,
    all_subsets: bool = False,
    seeds: list[int] | None = None,
    shards: str = "shards",
    factors: str = "factors",
    stages: list[int] | None = None,
    stage_folds: int = 5,
    fusion: list[str] | None = None,
    listeners: dict[str, str] | None = None,
    sets: dict[str, track_sets.Choice] | None = None,
    listens: str | None = None,
    factorize: Settings | None = None,
    settings: Settings | None = None,
    out: str = "runs/ablation",
    jobs: int = 1,
    wandb: Mode = "off",
    project: str = "coldstart",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Fit and test subsets of modalities, several seeds each, and write one table.

    An ablation that was interrupted goes on: runs that have finished are kept, and one that was cut
    off goes on from its last checkpoint. Writes ablation.json, ablation.csv and ablation.md into
    `out`, and a run for each row and seed.

    Args:
        parts: modality → config of a model with that modality alone, such as `mgp: mgp.yaml`.
        rows: subsets of the parts, such as `[[audio], [audio, mlg]]`; by default each part alone,
            then all together.
        all_subsets: every subset of the parts, in the place of `rows`.
        seeds: one run each; 0, 1 and 2 by default.
        shards: folder of shards; `{seed}` in it stands for the seed, for splits that differ.
        factors: folder of factors; may have `{seed}` too.
        stages: how rows of several modalities are trained: 2 (single nets first, by default), 1
            (jointly), or both: `[2, 1]`.
        stage_folds: nets a modality in the first stage; see `fit --stages 2`.
        fusion: heads for rows of several modalities; `[MeanLateFusion]` by default.
        listeners: modality to be written before the rest → config of its listener.
        sets: train and test on each of these sets of tracks, all pairs: name → which tracks.
        listens: the listening log, for the factors of each of `sets`.
        factorize: options of `factorize` for the same.
        settings: options for all fits: `{trainer.max_epochs: 20}`. Those of an encoder,
            `model.encoders.NAME.…`, go to the rows that have it.
        out: folder to write.
        jobs: processes side by side; with several GPUs, each takes one in turn.
        wandb: log each run, and the table with a bar chart, to W&B.
        project: of W&B.
        overwrite: replace runs that other settings have made.

    Returns:
        What is in ablation.json.

    Raises:
        InputError: wrong input, or runs that failed (the others' results are kept).
    """
    began, root = time.perf_counter(), Path(out)
    seeds, stages = [0, 1, 2] if seeds is None else seeds, stages or [2]
    one_of("wandb", wandb, ("off", "offline", "online"))
    if not seeds or not set(stages) <= {1, 2} or jobs < 1 or stage_folds < 1:
        raise InputError("ablate needs at least one seed, stages 1 or 2, jobs and folds ≥ 1")
    if sets and (listens is None or "{seed}" in shards):
        raise InputError("sets need --listens, and one dataset: no {seed} in --shards")
    wanted = _rows(parts, rows, all_subsets)
    configs = {name: _read(config) for name, config in parts.items()}
    settings = {"trainer.enable_progress_bar": False, **(settings or {})}
    data = {
        seed: {"shards": shards.format(seed=seed), "factors": factors.format(seed=seed)}
        for seed in seeds
    }
    heard = [
        job
        for name, config in (listeners or {}).items()
        for job in _listen(name, _read(config), data, settings, root)
    ]
    run_jobs(heard, jobs, overwrite)
    cells = track_sets.prepare(sets, data[seeds[0]]["shards"], str(listens), factorize or {}, root)
    variants = list(itertools.product(stages, fusion or ["MeanLateFusion"]))
    plan: list[Job] = []
    for row, cell, (stage, head), seed in itertools.product(wanted, cells, variants, seeds):
        if len(row) == 1 and (stage, head) != variants[0]:
            continue  # nothing to fuse: there is one way
        merged = _merge(row, configs, settings)
        merged["seed_everything"] = seed
        merged["data"] |= data[seed] | cell.data
        first = data[seed] not in [data[other] for other in seeds[: seeds.index(seed)]]
        about = {"input": "+".join(row), "seed": seed, **cell.about}
        flags = ["--stages", str(stage if len(row) > 1 else 1)]
        if len(row) > 1:
            merged["model"]["fusion"] = {"class_path": head}
            about |= {"training": "two stages" if stage == 2 else "joint", "fusion": head}
            if stage == 2:
                place = root / "stage1" / "-".join([*cell.about.values(), f"s{seed}"])
                flags += ["--stage-folds", str(stage_folds)]
                flags += ["--stage-dir", str(place)]
        name = "-".join(str(v).replace(" ", "") for k, v in about.items() if k != "seed")
        if wandb != "off":
            merged["trainer"]["logger"] = _logger(root, name, about, wandb, project)
        # The rivals learn nothing by chance: once for each dataset is enough.
        rivals = [] if first else ["--no-rivals"]
        tests = {key: [*flags_, *rivals] for key, flags_ in cell.tests.items()}
        plan.append(Job(root / "runs" / name / f"s{seed}", about, merged, flags, tests))

    def so_far() -> dict[str, Any]:
        return table.write(root, [job for job in plan if job.done], heard)

    run_jobs(plan, jobs, overwrite, so_far)
    results = so_far()
    if wandb != "off":
        table.to_wandb(root, results, project, wandb)
    print(table.markdown(results))
    print(f"wrote {root / 'ablation.md'}, .csv and .json in {time.perf_counter() - began:,.0f} s")
    print(f"next: coldstart recommend --run {plan[-1].folder} --like TRACK_ID")
    return results


def _rows(
    parts: Mapping[str, str], rows: list[list[str]] | None, all_subsets: bool
) -> list[list[str]]:
    """Subsets, each in the order of the parts.

    >>> _rows({"a": "", "b": ""}, [["b", "a"]], False)
    [['a', 'b']]
    >>> _rows({"a": "", "b": ""}, None, True)
    [['a'], ['b'], ['a', 'b']]
    """
    if not parts:
        raise InputError("parts is empty: name a config for each modality, {mgp: mgp.yaml}")
    names = list(parts)
    if rows is None:
        rows = [[name] for name in names] + ([names] if len(names) > 1 else [])
    if all_subsets:
        counts = range(1, len(names) + 1)
        rows = [list(row) for count in counts for row in itertools.combinations(names, count)]
    for row in rows:
        for name in row:
            one_of("a modality in rows", name, names)
        if not row or len(set(row)) < len(row):
            raise InputError(f"rows: {row} is empty, or names a modality twice")
    return [[name for name in names if name in row] for row in rows]


def _read(name: str) -> dict[str, Any]:
    """A config with one encoder, from the current folder or a shipped one."""
    path = Path(find_config(name))
    if not path.is_file():
        raise InputError(f"{name}: there is no such config")
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    encoders = config.get("model", {}).get("encoders", {})
    if len(encoders) != 1:
        raise InputError(f"{name}: a part has one encoder; this config has {len(encoders)}")
    return config


def _merge(row: list[str], configs: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """One config: the first part's training, every part's encoder, and the settings."""
    merged: dict[str, Any] = json.loads(json.dumps(configs[row[0]]))
    encoders = {name: next(iter(configs[name]["model"]["encoders"].values())) for name in row}
    merged["model"]["encoders"] = json.loads(json.dumps(encoders))
    for part in ("data", "trainer"):
        merged.setdefault(part, {})
    for key, value in settings.items():
        encoder = re.match(r"model\.encoders\.([^.]+)\.", key)
        if encoder is None or encoder[1] in row:
            set_flag(merged, key, value)
    return merged


def _listen(
    name: str,
    config: dict[str, Any],
    data: Mapping[int, Mapping[str, str]],
    settings: Settings,
    root: Path,
) -> Iterator[Job]:
    """A job for each fold of each dataset; none where somebody else has written the modality."""
    folds = config["data"]["folds"]
    for number, shards in enumerate(dict.fromkeys(place["shards"] for place in data.values())):
        there = Shards(shards).modalities.get(name)
        parts = (there.get("parts") or list(range(folds))) if there else []
        place = root / "listeners" / f"{name}-{number}"
        if len(parts) == folds and not place.exists():
            continue
        for fold in range(folds):
            (encoder,) = config["model"]["encoders"]
            merged = _merge([encoder], {encoder: config}, settings)
            merged["data"] |= {"shards": shards, "factors": None, "folds": folds, "fold": fold}
            if fold not in parts:  # whatever a note says: what it wrote is gone
                (place / f"fold{fold}" / "job.json").unlink(missing_ok=True)
            about = {"input": f"listener of {name}", "fold": fold}
            yield Job(place / f"fold{fold}", about, merged, [], {"": []}, predicts=True)


def _logger(
    root: Path, name: str, about: Mapping[str, Any], mode: Mode, project: str
) -> dict[str, Any]:
    tags = [*about["input"].split("+"), *(str(v) for k, v in about.items() if k != "seed")]
    key = fingerprint(str(root.absolute()), name, about["seed"])
    return run_logger(root, f"{name}-s{about['seed']}", key, tags, mode, project)

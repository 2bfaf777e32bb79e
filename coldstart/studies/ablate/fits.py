"""The fits of an ablation: its listeners', and one for each row, variant and seed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coldstart.files import fingerprint
from coldstart.shards.reading import Shards
from coldstart.studies.ablate.design import Design, Variant, merge_configs
from coldstart.studies.ablate.track_sets import Cell
from coldstart.studies.jobs import FitJob
from coldstart.studies.wandb_view import Mode, run_logger


def listener_jobs(design: Design, root: Path) -> list[FitJob]:
    """A job for each fold of each listener on each dataset.

    None where the modality is in the shards already, and not from this ablation.
    """
    datasets = dict.fromkeys(paths["shards"] for paths in design.data.values())
    jobs = []
    for name in design.listeners:
        for number, shards in enumerate(datasets):
            jobs += _jobs_of_listener(design, name, shards, root / "listeners" / f"{name}-{number}")
    return jobs


def _jobs_of_listener(design: Design, name: str, shards: str, folder: Path) -> list[FitJob]:
    config = design.listeners[name]
    folds = config["data"]["folds"]
    modality = Shards(shards).modalities.get(name)
    written = (modality.get("parts") or list(range(folds))) if modality else []
    if len(written) == folds and not folder.exists():
        return []
    (encoder,) = config["model"]["encoders"]
    jobs = []
    for fold in range(folds):
        merged = merge_configs({encoder: config}, design.settings)
        merged["data"] |= {"shards": shards, "factors": None, "folds": folds, "fold": fold}
        run = folder / f"fold{fold}"
        if fold not in written:  # even if job.json says so: its output is gone from the shards
            (run / "job.json").unlink(missing_ok=True)
        about = {"input": f"listener of {name}", "fold": fold}
        jobs.append(FitJob(run, about, merged, [], {"": []}, predicts=True))
    return jobs


def fit_jobs(
    design: Design, cells: list[Cell], root: Path, wandb: Mode, project: str
) -> list[FitJob]:
    """A job for each row, cell, variant and seed."""
    return [
        _fit_job(design, row, cell, variant, seed, root, wandb, project)
        for row, cell, variant, seed in itertools.product(
            design.rows, cells, design.variants, design.seeds
        )
        if len(row) > 1 or variant == design.variants[0]  # one modality: nothing to fuse
    ]


def _fit_job(
    design: Design,
    row: list[str],
    cell: Cell,
    variant: Variant,
    seed: int,
    root: Path,
    wandb: Mode,
    project: str,
) -> FitJob:
    about: dict[str, Any] = {"input": "+".join(row), "seed": seed, **cell.about}
    config = design.config_of(row)
    config["seed_everything"] = seed
    config["data"] |= design.data[seed] | cell.data
    if len(row) == 1:
        flags = ["--stages", "1"]
    else:
        training = "two stages" if variant.stages == 2 else "joint"
        about |= {"training": training, "fusion": variant.fusion}
        config["model"]["fusion"] = {"class_path": variant.fusion}
        flags = ["--stages", str(variant.stages)]
        if variant.stages == 2:  # rows with a modality in common share its first stage
            folder = root / "stage1" / "-".join([*cell.about.values(), f"s{seed}"])
            flags += ["--stage-folds", str(design.stage_folds), "--stage-dir", str(folder)]
    name = "-".join(str(value).replace(" ", "") for key, value in about.items() if key != "seed")
    if wandb != "off":
        config["trainer"]["logger"] = _wandb_logger(root, name, about, wandb, project)
    # Nothing in the rivals is random: once for each dataset is enough.
    earlier = design.seeds[: design.seeds.index(seed)]
    repeated = any(design.data[seed] == design.data[other] for other in earlier)
    rivals = ["--no-rivals"] if repeated else []
    tests = {suffix: [*test_flags, *rivals] for suffix, test_flags in cell.tests.items()}
    return FitJob(root / "runs" / name / f"s{seed}", about, config, flags, tests)


def _wandb_logger(
    root: Path, name: str, about: Mapping[str, Any], mode: Mode, project: str
) -> dict[str, Any]:
    values = [str(value) for key, value in about.items() if key != "seed"]
    tags = [*about["input"].split("+"), *values]
    key = fingerprint(str(root.absolute()), name, about["seed"])
    return run_logger(root, f"{name}-s{about['seed']}", key, tags, mode, project)

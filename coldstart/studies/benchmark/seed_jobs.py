"""The jobs of a benchmark, seed by seed: the data, the models' fits, the rivals."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from coldstart.files import fingerprint
from coldstart.runs.config import set_flag
from coldstart.studies.benchmark.plan import OWN_RIVALS, Plan, PlannedModel
from coldstart.studies.jobs import FitJob, FunctionJob
from coldstart.studies.wandb_view import Mode, run_logger

STEPS = "coldstart.studies.benchmark.steps"


def data_job(root: Path, plan: Plan, seed: int) -> FunctionJob:
    """Split, factorise and shard."""
    arguments = {
        "tracks": plan.tracks,
        "listens": plan.listens,
        "attributes": plan.attributes,
        "method": plan.split,
        "factorisations": plan.factorisations,
        "seed": seed,
    }
    about = {"step": "split, factorise, shard", "seed": seed}
    return FunctionJob(_data_folder(root, seed), about, f"{STEPS}:prepare", arguments)


def fit_jobs(root: Path, plan: Plan, wandb: Mode, project: str) -> list[FitJob]:
    """A fit and its test for each model and seed."""
    return [
        _fit_job(root, plan, name, seed, wandb, project)
        for seed in plan.seeds
        for name in plan.models
    ]


def _fit_job(root: Path, plan: Plan, name: str, seed: int, wandb: Mode, project: str) -> FitJob:
    model = plan.models[name]
    config = _fit_config(model, _data_folder(root, seed), seed)
    if wandb != "off":
        key = fingerprint(str(root.absolute()), name, seed)
        logger = run_logger(root, f"{name}-s{seed}", key, [name, f"s{seed}"], wandb, project)
        config["trainer"]["logger"] = logger
    flags = [] if model.stages is None else ["--stages", str(model.stages)]
    tests = {"": ["--no-rivals", "--candidates", plan.candidates]}
    about = {"model": name, "seed": seed}
    return FitJob(root / f"s{seed}" / "models" / name, about, config, flags, tests)


def _fit_config(model: PlannedModel, data: Path, seed: int) -> dict[str, Any]:
    """A fit's configuration, on the data of a seed."""
    config = copy.deepcopy(model.config)
    for section in ("data", "trainer"):
        config[section] = config.get(section) or {}
    for flag, value in {"trainer.enable_progress_bar": False, **model.settings}.items():
        set_flag(config, flag, value)
    config["seed_everything"] = seed
    factors = str(data / "factors" / model.factors)
    config["data"] |= {"shards": str(data / "shards"), "factors": factors}
    return config


def rival_jobs(root: Path, plan: Plan) -> list[FunctionJob]:
    """Our own rivals in one job a seed, as they share the content; each of the others' in one."""
    own = [name for name in plan.rivals if name in OWN_RIVALS]
    groups = {"own": own} if own else {}
    groups |= {name: [name] for name in plan.rivals if name not in own}
    return [
        _rival_job(root, plan, seed, group, names)
        for seed in plan.seeds
        for group, names in groups.items()
    ]


def _rival_job(root: Path, plan: Plan, seed: int, group: str, names: list[str]) -> FunctionJob:
    data = _data_folder(root, seed)
    arguments = {
        "names": names,
        "shards": str(data / "shards"),
        "factors": [str(data / "factors" / name) for name in plan.factorisations],
        "content": plan.content,
        "candidates": plan.candidates,
        "seed": seed,
    }
    about = {"rivals": ", ".join(names), "seed": seed}
    return FunctionJob(root / f"s{seed}" / "rivals" / group, about, f"{STEPS}:rivals", arguments)


def _data_folder(root: Path, seed: int) -> Path:
    return root / f"s{seed}" / "data"

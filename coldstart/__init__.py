"""Recommend music that nobody has heard yet.

The public names, nothing else; each is imported when it is first used, so that `import coldstart`
and `coldstart --help` are quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coldstart.ablation import ablate as ablate
    from coldstart.data import ColdStartData as ColdStartData
    from coldstart.encoders.base import Encoder as Encoder
    from coldstart.encoders.base import Modality as Modality
    from coldstart.errors import InputError as InputError
    from coldstart.factors import Factors as Factors
    from coldstart.factors import factorize as factorize
    from coldstart.fusion.base import FusionHead as FusionHead
    from coldstart.model import ColdStart as ColdStart
    from coldstart.model import load as load
    from coldstart.nearest import neighbours as neighbours
    from coldstart.registry import plugins as plugins
    from coldstart.retrieval import recommend as recommend
    from coldstart.sharding import shard as shard
    from coldstart.shards import Shards as Shards
    from coldstart.splits import split as split
    from coldstart.synth import make_catalogue as make_catalogue
    from coldstart.targets import Target as Target
    from coldstart.training import fit as fit
    from coldstart.training import predict as predict
    from coldstart.training import test as test
    from coldstart.training import validate as validate
    from coldstart.walkthrough import demo as demo

_HOME = {
    "ColdStart": "model",
    "ColdStartData": "data",
    "Encoder": "encoders.base",
    "Factors": "factors",
    "FusionHead": "fusion.base",
    "InputError": "errors",
    "Modality": "encoders.base",
    "Shards": "shards",
    "Target": "targets",
    "factorize": "factors",
    "fit": "training",
    "plugins": "registry",
    "load": "model",
    "make_catalogue": "synth",
    "ablate": "ablation",
    "demo": "walkthrough",
    "neighbours": "nearest",
    "predict": "training",
    "recommend": "retrieval",
    "shard": "sharding",
    "split": "splits",
    "test": "training",
    "validate": "training",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'coldstart' has no attribute '{name}'")
    return getattr(importlib.import_module(f"coldstart.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

"""Recommend music that nobody has heard yet.

The public names, nothing else; each is imported when it is first used, so that `import coldstart`
and `coldstart --help` are quick.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coldstart.commands.add import add as add
    from coldstart.commands.completion import completion as completion
    from coldstart.commands.dataset import dataset as dataset
    from coldstart.commands.demo import demo as demo
    from coldstart.commands.export import export as export
    from coldstart.commands.extract import extract as extract
    from coldstart.commands.factorize import factorize as factorize
    from coldstart.commands.fit import fit as fit
    from coldstart.commands.index import index as index
    from coldstart.commands.listen import listen as listen
    from coldstart.commands.neighbours import neighbours as neighbours
    from coldstart.commands.new_encoder import new_encoder as new_encoder
    from coldstart.commands.plugins import plugins as plugins
    from coldstart.commands.predict import predict as predict
    from coldstart.commands.recommend import recommend as recommend
    from coldstart.commands.remove import remove as remove
    from coldstart.commands.report import report as report
    from coldstart.commands.serve import serve as serve
    from coldstart.commands.shard import shard as shard
    from coldstart.commands.split import split as split
    from coldstart.commands.test import test as test
    from coldstart.commands.update import update as update
    from coldstart.commands.validate import validate as validate
    from coldstart.data.datamodule import ColdStartData as ColdStartData
    from coldstart.datasets.synthetic import make_catalogue as make_catalogue
    from coldstart.encoders.artist import Artist as Artist
    from coldstart.encoders.artist_id import ArtistId as ArtistId
    from coldstart.encoders.attributes import MGP as MGP
    from coldstart.encoders.attributes import MachineListened as MachineListened
    from coldstart.encoders.audio import Audio as Audio
    from coldstart.encoders.base import Encoder as Encoder
    from coldstart.encoders.base import Modality as Modality
    from coldstart.encoders.embedding import Embedding as Embedding
    from coldstart.encoders.genres import Genres as Genres
    from coldstart.encoders.spectrogram import Spectrogram as Spectrogram
    from coldstart.encoders.text import Text as Text
    from coldstart.encoders.waveform import Waveform as Waveform
    from coldstart.errors import InputError as InputError
    from coldstart.factors.factors import Factors as Factors
    from coldstart.fusion.attention import Attention as Attention
    from coldstart.fusion.base import FusionHead as FusionHead
    from coldstart.fusion.concat import Concat as Concat
    from coldstart.fusion.gated import Gated as Gated
    from coldstart.fusion.kernel import Kernel as Kernel
    from coldstart.fusion.mean import MeanLateFusion as MeanLateFusion
    from coldstart.fusion.shared import SharedBranch as SharedBranch
    from coldstart.model.predictions import Predictions as Predictions
    from coldstart.retrieval.query import Recommendation as Recommendation
    from coldstart.retrieval.recommender import Recommender as Recommender
    from coldstart.retrieval.unseen import UnseenTrack as UnseenTrack
    from coldstart.shards.reading import Shards as Shards
    from coldstart.studies.ablate.ablate import ablate as ablate
    from coldstart.studies.benchmark.benchmark import benchmark as benchmark
    from coldstart.studies.tune.tune import tune as tune
    from coldstart.targets.attributes import Attributes as Attributes
    from coldstart.targets.base import Target as Target
    from coldstart.targets.contrastive import Contrastive as Contrastive
    from coldstart.targets.track_factors import TrackFactors as TrackFactors
    from coldstart.targets.user_softmax import UserSoftmax as UserSoftmax
    from coldstart.training.lightning_module import ColdStart as ColdStart
    from coldstart.training.lightning_module import load as load
    from coldstart.training.prediction_writers import WriteModality as WriteModality
    from coldstart.training.reports import RankingOnValidation as RankingOnValidation
    from coldstart.training.reports import TestReport as TestReport
    from coldstart.training.run_checkpoint import RunCheckpoint as RunCheckpoint

_HOME = {
    "Artist": "encoders.artist",
    "ArtistId": "encoders.artist_id",
    "Attention": "fusion.attention",
    "Attributes": "targets.attributes",
    "Audio": "encoders.audio",
    "ColdStart": "training.lightning_module",
    "ColdStartData": "data.datamodule",
    "Concat": "fusion.concat",
    "UnseenTrack": "retrieval.unseen",
    "Contrastive": "targets.contrastive",
    "Embedding": "encoders.embedding",
    "Encoder": "encoders.base",
    "Factors": "factors.factors",
    "FusionHead": "fusion.base",
    "Gated": "fusion.gated",
    "Genres": "encoders.genres",
    "InputError": "errors",
    "Kernel": "fusion.kernel",
    "MGP": "encoders.attributes",
    "MachineListened": "encoders.attributes",
    "MeanLateFusion": "fusion.mean",
    "Modality": "encoders.base",
    "Predictions": "model.predictions",
    "RankingOnValidation": "training.reports",
    "Recommendation": "retrieval.query",
    "Recommender": "retrieval.recommender",
    "RunCheckpoint": "training.run_checkpoint",
    "Shards": "shards.reading",
    "SharedBranch": "fusion.shared",
    "Spectrogram": "encoders.spectrogram",
    "Target": "targets.base",
    "TestReport": "training.reports",
    "Text": "encoders.text",
    "TrackFactors": "targets.track_factors",
    "UserSoftmax": "targets.user_softmax",
    "Waveform": "encoders.waveform",
    "WriteModality": "training.prediction_writers",
    "ablate": "studies.ablate.ablate",
    "add": "commands.add",
    "benchmark": "studies.benchmark.benchmark",
    "completion": "commands.completion",
    "dataset": "commands.dataset",
    "demo": "commands.demo",
    "export": "commands.export",
    "extract": "commands.extract",
    "factorize": "commands.factorize",
    "fit": "commands.fit",
    "listen": "commands.listen",
    "load": "training.lightning_module",
    "make_catalogue": "datasets.synthetic",
    "neighbours": "commands.neighbours",
    "new_encoder": "commands.new_encoder",
    "plugins": "commands.plugins",
    "predict": "commands.predict",
    "recommend": "commands.recommend",
    "remove": "commands.remove",
    "index": "commands.index",
    "report": "commands.report",
    "serve": "commands.serve",
    "shard": "commands.shard",
    "split": "commands.split",
    "test": "commands.test",
    "tune": "studies.tune.tune",
    "update": "commands.update",
    "validate": "commands.validate",
}

__all__ = sorted(_HOME)

logging.getLogger(__name__).addHandler(logging.NullHandler())  # silent, unless somebody listens


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'coldstart' has no attribute '{name}'")
    return getattr(importlib.import_module(f"coldstart.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

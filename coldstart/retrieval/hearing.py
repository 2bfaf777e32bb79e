"""A sound file, or other content of a track that is in no dataset → its place in the space.

Whatever a model reads that can be made from sound is made: what shards store of sound, what
listeners and other nets made of that for the dataset, and what the nets of a first stage predict.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coldstart.audio.codec import AudioError, Pcm
from coldstart.audio.storage import content_of, field_of, samples_of
from coldstart.encoders.base import Reader
from coldstart.encoders.patches import PatchReader
from coldstart.errors import InputError
from coldstart.extractors.base import Features
from coldstart.files import StrPath, fingerprint
from coldstart.model.checkpoint import best_checkpoint
from coldstart.model.predictions import as_array
from coldstart.retrieval.unseen import UnseenTrack, fields_of
from coldstart.runs.derived import (
    Derivation,
    SourceNet,
    What,
    derivation_of,
    open_source_nets,
    outputs_of,
)
from coldstart.runs.extracted import hear_sound, opened
from coldstart.runs.first_stage import first_stage_of
from coldstart.runs.places import data_places
from coldstart.runs.run import Run
from coldstart.sample import Sample, folder_of
from coldstart.shards.reading import Shards
from coldstart.shards.writing import npy_bytes

log = logging.getLogger(__name__)

WINDOWS = 4
"""Windows in a batch: quicker than one by one, and memory stays flat however long a file is."""

KEPT = 8
"""So many modalities' nets stay loaded for the next file."""


Decode = Callable[[StrPath, Mapping[str, Any]], bytes]
"""A sound file and facts of a store → what that store keeps of it; raises AudioError."""

_LOADING = threading.Lock()
"""So that of several threads one loads the nets, and the others wait for them."""


def hear(run: Run, content: StrPath | UnseenTrack, decode: Decode | None = None) -> Tensor:
    """Predict a track's vector, its sound window by window; modalities it lacks are missing.

    Args:
        run: a fitted run.
        content: a sound file, or what is known of a track.
        decode: reads the sound; by default as `Hearing.place`.

    Returns:
        [K].

    Raises:
        InputError: the model reads nothing of what is known, or it can't be used.
    """
    if not isinstance(content, UnseenTrack):
        content = UnseenTrack(audio=content)
    try:
        return Hearing(run).place(content, decode)
    except AudioError as error:
        raise InputError(f"{content.audio}: {error}") from error


class Hearing:
    """A run that is ready to hear: what is the same for every file is read once.

    Several threads may share it.

    Attributes:
        net: the run's own.
        stages: nets of a first stage, by the modality that they make.
        datasets: that the run was fitted on, and that is open.
    """

    def __init__(self, run: Run) -> None:
        self.folder, self.net = run.folder, SourceNet(run.model.cpu(), run.data)
        self.stages = {stage.modality: stage for stage in first_stage_of(run.folder).values()}
        self.datasets = _datasets(run)
        self._told: set[str] = set()

    def place(self, content: UnseenTrack, decode: Decode | None = None) -> Tensor:
        """A track's vector.

        Args:
            content: what is known of it.
            decode: reads the sound; by default a file is decoded once, and its samples are kept as
                they are as long as they are heard.

        Returns:
            [K].

        Raises:
            AudioError: its sound can't be used; the message is the reason alone.
            InputError: the model reads nothing of what is known, or that can't be used.
        """
        track = _Unseen(self, content, decode)
        sample = track.sample_for(self.net)
        fields = {name: names[0] for name, (names, _) in self.net.model.lend().readers.items()}
        lacking = [name for name, field in fields.items() if field not in sample]
        if len(lacking) == len(fields):
            why = "".join(f"; {reason}" for reason in track.reasons)
            reads = f"it reads {', '.join(fields)}"
            if content.audio is None:
                raise InputError(
                    f"{self.folder}: this model knows nothing of the track ({reads}){why}"
                )
            raise InputError(
                f"{self.folder}: this model hears nothing ({reads}); use a run with an audio "
                f"encoder{why}"
            )
        if lacking and content.audio is not None:
            self._tell(
                f"note: this model was fitted with {', '.join(lacking)} too, which can't be made "
                "from a file's sound; a run without it may serve the file better"
            )
            for reason in track.reasons:
                self._tell(f"note: {reason}")
        vector = _vector(self.net, sample, "factors")
        assert vector is not None
        return vector

    def _tell(self, note: str) -> None:
        """Once, however many files there are."""
        if note not in self._told:
            self._told.add(note)
            log.warning(note)


class _Unseen:
    """A track's content, and all that has been made of it so far, so that it is made once."""

    def __init__(self, hearing: Hearing, content: UnseenTrack, decode: Decode | None) -> None:
        self.path, self.decode = content.audio, decode
        self.stages, self.datasets = hearing.stages, hearing.datasets
        self.given = fields_of(self.datasets[0], content)
        self.stores: dict[str, bytes | Pcm] = {}
        self.features: dict[str, Features] = {}
        self.vectors: dict[str, Tensor | None] = {}
        self.reasons: list[str] = []

    def sample_for(self, net: SourceNet) -> Sample:
        """What this net reads of the track: its fields, as far as they can be made."""
        sample: Sample = {"track_id": str(self.path or "the track"), "shard": "no shard"}
        for fields, reader in net.model.lend().readers.values():
            folder = folder_of(fields[0])
            facts = net.model.facts.get(folder, {})
            if fields[0] in self.given:
                sample[fields[0]] = self.given[fields[0]]
            elif "extractor" in facts:
                if self.path is not None:
                    sample[fields[0]] = npy_bytes(self.extracted(self.path, facts))
            elif "sample_rate" in facts:
                if self.path is not None:
                    sample[field_of(facts)] = self.store(self.path, facts, _reads_samples(reader))
            elif (vector := self.vector_of(folder)) is not None:
                sample[fields[0]] = npy_bytes(vector.numpy())
        return sample

    def store(self, path: StrPath, facts: Mapping[str, Any], samples: bool) -> bytes | Pcm:
        """The file as a store of sound with these facts keeps it; or, where `samples` do, these."""
        settings = ("transform", "sample_rate", "frame_hop", "bins", "fmin", "dtype")
        samples = samples and self.decode is None and "transform" not in facts
        key = fingerprint([facts.get(name) for name in settings], samples)
        if key not in self.stores:
            decode = samples_of if samples else self.decode or content_of
            self.stores[key] = decode(path, facts)
        return self.stores[key]

    def extracted(self, path: StrPath, facts: Mapping[str, Any]) -> NDArray[np.float32]:
        """What the extractor of a modality hears in the file."""
        with _LOADING:
            extractor, key = opened(facts), facts["made_by"]
        if key not in self.features:
            sound = self.store(path, {"sample_rate": extractor.rate}, samples=True)
            self.features[key] = hear_sound(extractor, sound)
        return as_array(self.features[key]._asdict()[facts["output"]][0])

    def vector_of(self, modality: str) -> Tensor | None:
        """A modality that nets made, of this track: the mean over them; None if it can't be."""
        if modality not in self.vectors:
            self.vectors[modality] = None  # nets that read what they make themselves end here
            self.vectors[modality] = self._made(modality)
        return self.vectors[modality]

    def _made(self, modality: str) -> Tensor | None:
        """The mean of what its nets make of the track."""
        derivation, dataset = self._derivation(modality)
        if derivation is None:
            return None
        changed = [best_checkpoint(run).stat().st_mtime_ns for run in derivation.runs]
        with _LOADING:
            nets = _nets(derivation, dataset.place, tuple(changed))
        vectors = [_vector(net, self.sample_for(net), derivation.what) for net in nets]
        known = [vector for vector in vectors if vector is not None]
        return torch.stack(known).mean(0) if known else None

    def _derivation(self, modality: str) -> tuple[Derivation | None, Shards]:
        """Which nets made a modality that the run reads, and for which dataset."""
        stage = self.stages.get(modality)
        if stage is not None:
            runs = tuple(stage.runs)
            return Derivation(modality, runs, stage.vectors, (), stage.made_by), self.datasets[0]
        for dataset in self.datasets:
            facts = dataset.modalities.get(modality, {})
            if facts.get("runs"):
                try:
                    return derivation_of(dataset, modality), dataset
                except InputError as error:  # nets that have gone: the file is heard without
                    self.reasons.append(str(error))
                    return None, dataset
            if "parts" in facts and "names" in facts:  # a listener's, by an earlier version
                self.reasons.append(_remedy(dataset, modality))
        return None, self.datasets[0]


def _remedy(dataset: Shards, modality: str) -> str:
    """What to do about estimates whose listeners aren't named."""
    try:
        derivation_of(dataset, modality)
    except InputError as error:
        return str(error)
    return ""


def _reads_samples(reader: Reader) -> bool:
    """Whether it takes samples for a FLAC; a reader of another package may decode by itself."""
    return type(reader) is PatchReader


def _datasets(run: Run) -> list[Shards]:
    """The dataset that the run was fitted on, if it is still there, then the one that is open."""
    datasets = [run.data.shards]
    own = data_places(run.folder)["shards"]
    if own is not None and own != run.data.shards.place:
        try:
            datasets.insert(0, Shards(own))
        except InputError:  # it has gone: the open one may do
            log.info(f"{run.folder}: the shards that it was fitted on aren't at {own}")
    return datasets


@lru_cache(KEPT)
def _nets(derivation: Derivation, shards: str, changed: Sequence[int]) -> list[SourceNet]:
    """The nets behind a modality; loaded anew when their checkpoints have changed."""
    return open_source_nets(derivation, Shards(shards))


def _vector(net: SourceNet, sample: Sample, what: What) -> Tensor | None:
    """A sample's vector: the mean over its windows, [K] or [dim]; None if it lacks all inputs."""
    pipeline = net.data.pipeline()
    pieces = pipeline.pieces([sample])
    batches = map(pipeline.collate, iter(lambda: list(islice(pieces, WINDOWS)), []))
    predictions = outputs_of(net.model, batches, what)
    return None if predictions is None else predictions.values[0]

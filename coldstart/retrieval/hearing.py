"""A sound file → its place in the space, window by window."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from coldstart.audio.codec import AudioError
from coldstart.audio.storage import content_of, field_of
from coldstart.data.batch import Batch
from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.model.predictions import by_track
from coldstart.runs.first_stage import Vectors, first_stage_of
from coldstart.runs.run import Run, open_net
from coldstart.sample import Sample, folder_of
from coldstart.shards.writing import npy_bytes

log = logging.getLogger(__name__)

WINDOWS = 4
"""Windows in a batch: quicker than one by one, and memory stays flat however long a file is."""


def hear(run: Run, path: StrPath) -> Tensor:
    """Predict the vector of a sound file, window by window; modalities it lacks are missing.

    Returns:
        [K].

    Raises:
        InputError: the model has no audio encoder, or the file can't be used.
    """
    nets = {name: _nets(run, name) for name in run.model.encoders}
    stores = {name: _store_of(its_nets[0], name) for name, its_nets in nets.items()}
    hearing = [name for name, facts in stores.items() if facts]
    if not hearing:
        raise InputError(
            f"{run.folder}: this model hears nothing (it reads {', '.join(nets)}); "
            "use a run with an audio encoder"
        )
    if lacking := [name for name in nets if name not in hearing]:
        log.warning(
            f"note: this model was fitted with {', '.join(lacking)} too, which a file alone lacks; "
            "a run with audio alone may serve it better"
        )
    sample: Sample = {"track_id": str(path), "shard": "no shard"}
    try:
        for store in {field_of(facts): facts for facts in stores.values() if facts}.values():
            sample[field_of(store)] = content_of(path, store)
    except AudioError as error:
        raise InputError(f"{path}: {error}") from error
    for name, stage in first_stage_of(run.folder).items():
        if name in hearing:
            vectors = [_outputs(net, sample, stage.vectors) for net in nets[name]]
            sample[f"{stage.modality}.npy"] = npy_bytes(torch.stack(vectors).mean(0).numpy())
    return _outputs(run, sample, "factors")


def _nets(run: Run, encoder: str) -> list[Run]:
    """The runs that read this encoder's content: those of the first stage, or the run itself."""
    stage = first_stage_of(run.folder).get(encoder)
    return [open_net(run, folder) for folder in stage.runs] if stage else [run]


def _store_of(run: Run, encoder: str) -> Mapping[str, Any]:
    """Facts of the store of sound that this encoder reads; empty if it reads something else."""
    fields, _ = run.model.lend().readers[encoder]
    facts = run.model.facts[folder_of(fields[0])]
    return facts if "sample_rate" in facts else {}


def _outputs(run: Run, sample: Sample, what: Vectors) -> Tensor:
    """A sample's vector: the mean over its windows. [K] or [dim]."""
    pipeline = run.data.pipeline()
    pieces = pipeline.pieces([sample])
    batches = map(pipeline.collate, iter(lambda: list(islice(pieces, WINDOWS)), []))
    model = run.model.cpu()

    def output(batch: Batch) -> Tensor:
        prediction = model.predict_step(batch)
        (encoded, *_) = prediction.encoded.values()
        return prediction.values if what == "factors" else encoded

    return by_track(batches, output).values[0]

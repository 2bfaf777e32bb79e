"""A pipeline: sent to worker processes, collated in chunks."""

import pickle
import weakref
from collections.abc import Iterator

import pytest
import torch
from helpers import World, data_for, small_audio

from coldstart.data.batch import Batch
from coldstart.data.pipeline import collate_in_chunks
from coldstart.encoders.attributes import MGP
from coldstart.encoders.base import Modality
from coldstart.encoders.sparse_rows import SparseRows
from coldstart.sample import Sample


def test_a_pipeline_can_go_to_a_worker_process(tiny_world: World) -> None:
    data = data_for(tiny_world, {"audio": small_audio(), "mgp": MGP(hidden=(4,))})
    pipeline = pickle.loads(pickle.dumps(data.pipeline(training=True)))
    sample = next(pipeline.samples(("train", 0)))
    assert pipeline.collate([sample]).inputs["audio"].values.shape == (1, 32000)


class Tracked(dict):  # type: ignore[type-arg]
    """A sample that can be counted while it lives."""


@pytest.mark.parametrize("expected", [0, 3, 40])
def test_chunks_make_the_same_batch_and_are_let_go_of(expected: int) -> None:
    made_so_far: list[weakref.ref[Tracked]] = []
    most = 0

    def samples() -> Iterator[Tracked]:
        nonlocal most
        for i in range(23):
            sample = Tracked(track_id=f"t{i}", value=float(i))
            made_so_far.append(weakref.ref(sample))
            most = max(most, sum(ref() is not None for ref in made_so_far))
            yield sample

    def collate(chunk: list[Sample]) -> Batch:
        values = torch.tensor([[s["value"], -s["value"]] for s in chunk])
        odd = values[:, 0] % 2 == 1
        made = Modality(values, odd)
        return Batch({"x": made, "y": Modality(values[:, :1], ~odd)}, made, ids(chunk))

    def ids(chunk: list[Sample]) -> list[str]:
        return [s["track_id"] for s in chunk]

    parts, whole = collate_in_chunks(collate, samples(), expected, 4), collate(list(samples()))
    assert parts is not None
    assert parts.track_ids == whole.track_ids
    for name in ("x", "y"):
        values, present = parts.inputs[name]
        assert isinstance(values, torch.Tensor)
        assert torch.equal(values, whole.inputs[name].values)
        assert torch.equal(present, whole.inputs[name].present)
    assert all(map(torch.equal, parts.target, whole.target))
    most = 0
    collate_in_chunks(collate, samples(), expected, 4)
    assert most <= 2 * 4  # one that is read while the last is still held


def test_chunks_of_other_widths_are_left_to_be_collated_at_once() -> None:
    def padded(chunk: list[Sample]) -> Batch:
        width = max(s["width"] for s in chunk)
        made = Modality(torch.zeros(len(chunk), width), torch.ones(len(chunk), dtype=torch.bool))
        return Batch({"x": made}, made, [s["track_id"] for s in chunk])

    samples = [{"track_id": str(i), "width": i} for i in range(1, 9)]
    assert collate_in_chunks(padded, samples, 8, 4) is None
    assert collate_in_chunks(padded, [], 8, 4) is None


@pytest.mark.parametrize("expected", [0, 5, 40])
def test_wide_rows_of_few_numbers_are_kept_sparse_and_batched_dense(expected: int) -> None:
    generator = torch.Generator().manual_seed(0)
    wide = torch.rand(30, 1200, generator=generator)
    wide *= torch.rand(30, 1200, generator=generator) < 0.01
    present = torch.arange(30) % 4 > 0
    wide[~present] = 0

    def collate(chunk: list[Sample]) -> Batch:
        rows = torch.tensor([s["row"] for s in chunk])
        tags, few = Modality(wide[rows], present[rows]), Modality(wide[rows, :9], present[rows])
        return Batch({"tags": tags, "few": few}, few, [f"t{row}" for row in rows.tolist()])

    samples: list[Sample] = [{"row": row} for row in range(30)]
    kept = collate_in_chunks(collate, samples, expected, 7)
    assert kept is not None
    assert isinstance(kept.inputs["tags"][0], SparseRows)
    assert isinstance(kept.inputs["few"][0], torch.Tensor)
    rows = torch.tensor([29, 3, 3, 0])
    batch, whole = kept.at(rows), collate([samples[row] for row in rows.tolist()])
    assert batch.track_ids == whole.track_ids
    assert all(map(torch.equal, batch.target, whole.target))
    for name, modality in whole.inputs.items():
        assert all(map(torch.equal, batch.inputs[name], modality))

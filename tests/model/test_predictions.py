"""Predictions: pieces of a track, and what is saved of them."""

from pathlib import Path

import torch

from coldstart.model.predictions import OnePiece, Predictions, TrackMeans


def test_pieces_of_a_track_are_averaged_across_batches() -> None:
    means = TrackMeans()
    means.add(["b", "a"], torch.tensor([[1.0], [10.0]]))
    means.add(["b", "b"], torch.tensor([[2.0], [6.0]]))
    assert means.predictions().track_ids == ["b", "a"]
    assert means.predictions().values.ravel().tolist() == [3.0, 10.0]


def test_predictions_come_back_as_they_were_saved(tmp_path: Path) -> None:
    tracks = [{"track_id": t, "title": t, "artist": "x", "split": "test"} for t in ("é/1", "007")]
    made = Predictions(["007", "é/1"], torch.rand(2, 4))
    made.save(tmp_path, tracks)
    again = Predictions.load(tmp_path)
    assert again.track_ids == made.track_ids
    assert torch.equal(again.values, made.values)


def test_one_piece_a_track_is_drawn_whatever_process_reads_it() -> None:
    pieces = [(f"t{i % 3}", torch.tensor([[float(i)]])) for i in range(30)]
    whole, halves = OnePiece(), [OnePiece(), OnePiece()]
    for track, value in pieces:
        whole.add([track], value)
        halves[track == "t1"].add([track], value)
    made = dict(zip(*whole.predictions(), strict=True))
    apart = {t: v for half in halves for t, v in zip(*half.predictions(), strict=True)}
    assert made == apart
    assert {int(v) % 3 for v in made.values()} == {0, 1, 2}  # each its own track's
    assert any(int(v) > 2 for v in made.values())  # not always the first

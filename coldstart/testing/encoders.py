"""What every encoder must satisfy."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from coldstart import registry
from coldstart.encoders.base import Encoder
from coldstart.errors import InputError
from coldstart.sample import Sample
from coldstart.testing.samples import Content, modality, rebuilt


class EncoderContract:
    """What every encoder must satisfy. A subclass gives contents and makes the encoder.

    Attributes:
        tracks: contents of at least two different tracks.
        broken: contents that must be refused with a reason: damaged bytes, a wrong shape, …
        facts: what dataset.json says of the modality: names, mean, std, sample_rate, …
    """

    tracks: ClassVar[Sequence[Content]]
    broken: ClassVar[Sequence[Content]]
    facts: ClassVar[Mapping[str, Any]] = {}

    def encoder(self) -> Encoder:
        """A small encoder, not built yet."""
        raise NotImplementedError

    def started(self) -> Encoder:
        """The encoder with its layers, as a fit would build it."""
        torch.manual_seed(0)
        encoder = self.encoder()
        encoder.start({**self.facts, **self._learnt(encoder)})
        return encoder

    def _learnt(self, encoder: Encoder) -> dict[str, Any]:
        samples = ({"track_id": f"t{i}", "shard": "s", **c} for i, c in enumerate(self.tracks))
        return encoder.learn(samples)

    def test_it_is_registered_under_the_name_of_its_class(self) -> None:
        """One name in YAML, on the command line and in `coldstart plugins`."""
        encoder = self.encoder()
        assert registry.load("encoders", type(encoder).__name__) is type(encoder)

    def test_what_has_no_layers_has_nothing_to_train(self) -> None:
        """`has_layers` is called before `build`, which makes the parameters."""
        has_layers = self.encoder().has_layers()
        parameters = [name for name, _ in self.started().named_parameters() if name != "absent"]
        assert has_layers or not parameters

    def test_what_it_learns_beforehand_is_plain_values(self) -> None:
        """A checkpoint holds nothing that must be unpickled."""
        learnt = self._learnt(self.encoder())
        assert json.loads(json.dumps(learnt)) == learnt

    def test_the_reader_gives_finite_values_and_says_what_is_missing(self) -> None:
        """Missing is `present=False` and zeros, never NaN."""
        encoder = self.started()
        contents = [self.tracks[0], None, self.tracks[1], self.tracks[0]]
        values, present = modality(encoder, contents)
        assert present.tolist() == [True, False, True, True]
        assert values.dtype in (torch.float32, torch.float16, torch.int16, torch.uint8)
        assert present.dtype == torch.bool
        assert values.isfinite().all()
        assert not values[1].any()
        assert torch.equal(values[0], values[3])
        assert not torch.equal(values[0], values[2])

    def test_the_reader_takes_an_empty_batch(self) -> None:
        """A part of a dataset, or one process's share of it, may hold no track."""
        encoder = self.started()
        empty, single = modality(encoder, []), modality(encoder, [self.tracks[0]])
        assert empty.values.shape == (0, *single.values.shape[1:])
        assert (empty.present.shape, empty.present.dtype) == ((0,), torch.bool)

    def test_vectors_are_finite_and_as_wide_as_dim(self) -> None:
        """Also in a batch in which no track has the modality."""
        encoder = self.started()
        batches: list[list[Content | None]] = [[*self.tracks, None], [None, None]]
        for training, tracks in itertools.product((True, False), batches):
            out = encoder.train(training)(modality(encoder, tracks))
            assert out.shape == (len(tracks), encoder.dim)
            assert out.isfinite().all()

    def test_a_missing_track_gets_the_learnt_vector_and_changes_no_other(self) -> None:
        """At evaluation a track's vector depends on that track alone."""
        encoder = self.started().eval()
        nn.init.normal_(encoder.absent)
        a, b = self.tracks[:2]
        complete = encoder(modality(encoder, [a, b, b]))
        incomplete = encoder(modality(encoder, [a, None, b]))
        torch.testing.assert_close(incomplete[1], encoder.absent.detach())
        torch.testing.assert_close(incomplete[[0, 2]], complete[[0, 2]])

    def test_gradients_reach_every_parameter_whatever_is_missing(self) -> None:
        """DDP waits for every parameter in every step: run the whole net on every batch."""
        a, b = self.tracks[:2]
        for tracks in ([a, b], [a, None], [None, None]):
            encoder = self.started()
            encoder(modality(encoder, tracks)).square().sum().backward()
            for name, parameter in encoder.named_parameters():
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name

    def test_the_reader_pickles_and_holds_no_tensors(self) -> None:
        """It is sent to every worker process; weights must not be."""
        encoder = self.started()
        reader = encoder.reader()
        assert not any(isinstance(v, Tensor | nn.Module) for v in vars(reader).values())
        copy = pickle.loads(pickle.dumps(reader))  # noqa: S301  our own bytes
        sample: Sample = {"track_id": "a", "shard": "train/0", **self.tracks[0]}
        for training in (True, False):
            pieces = list(copy.expand(dict(sample), training))
            assert [piece["track_id"] for piece in pieces] == ["a"] * len(pieces)
            if training:
                assert len(pieces) == reader.pieces
            for expected, actual in zip(reader(pieces), copy(pieces), strict=True):
                assert torch.equal(expected, actual)

    def test_broken_content_is_named_by_shard_track_and_field(self) -> None:
        """Malformed is not missing. `coldstart.sample.malformed` makes the message."""
        encoder = self.started()
        assert self.broken, "name at least one content that must be refused"
        for content in self.broken:
            message = ""
            try:
                modality(encoder, [None, content])
            except InputError as error:
                message = str(error)
            assert message, f"{dict(content)} was not refused"
            places = [f"shard train/000000, track 't1', field '{f}': " for f in encoder.fields]
            assert message.startswith(tuple(places)), message

    def test_a_checkpoint_restores_it(self) -> None:
        """From its arguments and facts alone, in plain values."""
        encoder = self.started()
        twin = rebuilt("encoders", encoder)
        twin.start({**self.facts, **self._learnt(encoder)})
        twin.load_state_dict(encoder.state_dict())
        values = modality(encoder, [*self.tracks, None])
        assert torch.equal(twin.eval()(values), encoder.eval()(values))

    def test_what_simple_rivals_get_is_one_row_a_track(self) -> None:
        """`describe` gives nearest neighbours and ridge the content, without learning."""
        encoder = self.started().eval()
        described = encoder.describe(modality(encoder, self.tracks).values)
        assert described.dim() == 2
        assert len(described) == len(self.tracks)
        assert described.isfinite().all()

    def test_named_features_are_columns_of_its_values(self) -> None:
        """What an explanation needs from an encoder that names its features; others pass."""
        encoder = self.started().eval()
        names = encoder.feature_names()
        if names is None:
            return
        values = modality(encoder, self.tracks).values.requires_grad_()
        assert values.shape == (len(self.tracks), len(names))
        assert encoder.feature_baseline().shape == (len(names),)
        (gradient,) = torch.autograd.grad(encoder.encode(values).sum(), values)
        assert gradient.isfinite().all()

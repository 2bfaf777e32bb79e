"""For authors of plugins: contract tests that pytest runs when a test class inherits them.

from coldstart.testing import EncoderContract

class TestPoems(EncoderContract):
    tracks = [{"poems.txt": b"rose red"}, {"poems.txt": b"violet blue"}]
    broken = [{"poems.txt": b"\\xff"}]

    def encoder(self):
        return Poems(hidden=(8,))
"""

from __future__ import annotations

import io
import itertools
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from coldstart import registry
from coldstart.components import Component
from coldstart.encoders.base import Encoder, Modality
from coldstart.errors import InputError
from coldstart.factors import Factors
from coldstart.fusion.base import FusionHead
from coldstart.sample import Sample
from coldstart.targets.base import Target

Content = Mapping[str, Any]
"""A track's fields: bytes, as they lie in the tars."""


def modality(encoder: Encoder, tracks: Sequence[Content | None]) -> Modality:
    """Read tracks as a loader's worker would; None is a track that lacks the modality."""
    return encoder.reader()(_samples(tracks))


def _samples(tracks: Sequence[Content | None]) -> list[Sample]:
    return [
        {"track_id": f"t{i}", "shard": "train/000000", **(content or {})}
        for i, content in enumerate(tracks)
    ]


def _same_when_saved(kind: registry.Kind, made: Component) -> Any:
    """A part made again from what a checkpoint would say of it, read without unpickling."""
    file = io.BytesIO()
    torch.save(made.recipe(), file)
    file.seek(0)
    return registry.create(kind, torch.load(file, weights_only=True))


class EncoderContract:
    """What every encoder keeps. A subclass names contents and makes the encoder.

    Attributes:
        tracks: contents of at least two tracks, which differ.
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
        """So one word serves in YAML, on the command line and in `coldstart plugins`."""
        encoder = self.encoder()
        assert registry.load("encoders", type(encoder).__name__) is type(encoder)

    def test_what_it_learns_beforehand_is_plain_values(self) -> None:
        """A checkpoint holds nothing that must be unpickled."""
        learnt = self._learnt(self.encoder())
        assert json.loads(json.dumps(learnt)) == learnt

    def test_the_reader_gives_finite_values_and_says_what_is_missing(self) -> None:
        """Missing is `present=False` and zeros, never NaN."""
        encoder = self.started()
        got = modality(encoder, [self.tracks[0], None, self.tracks[1], self.tracks[0]])
        assert got.present.tolist() == [True, False, True, True]
        assert got.values.dtype in (torch.float32, torch.float16, torch.int16, torch.uint8)
        assert got.present.dtype == torch.bool
        assert got.values.isfinite().all()
        assert not got.values[1].any()
        assert torch.equal(got.values[0], got.values[3])
        assert not torch.equal(got.values[0], got.values[2])

    def test_the_reader_takes_a_batch_of_nobody(self) -> None:
        """A part of a dataset, or one process's share of it, may hold no track."""
        encoder = self.started()
        nobody, somebody = (modality(encoder, tracks) for tracks in ([], [self.tracks[0]]))
        assert nobody.values.shape == (0, *somebody.values.shape[1:])
        assert (nobody.present.shape, nobody.present.dtype) == ((0,), torch.bool)

    def test_vectors_are_finite_and_as_wide_as_dim(self) -> None:
        """Also in a batch in which nobody has the modality."""
        encoder = self.started()
        batches: list[list[Content | None]] = [[*self.tracks, None], [None, None]]
        for training, tracks in itertools.product((True, False), batches):
            out = encoder.train(training)(modality(encoder, tracks))
            assert out.shape == (len(tracks), encoder.dim)
            assert out.isfinite().all()

    def test_a_missing_track_gets_the_learnt_vector_and_disturbs_no_other(self) -> None:
        """At evaluation a track's vector hangs on that track alone."""
        encoder = self.started().eval()
        nn.init.normal_(encoder.absent)
        a, b = self.tracks[:2]
        whole, holed = (encoder(modality(encoder, tracks)) for tracks in ([a, b, b], [a, None, b]))
        torch.testing.assert_close(holed[1], encoder.absent.detach())
        torch.testing.assert_close(holed[[0, 2]], whole[[0, 2]])

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
        """It goes to every worker process; weights must not go along."""
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
            for ours, theirs in zip(reader(pieces), copy(pieces), strict=True):
                assert torch.equal(ours, theirs)

    def test_broken_content_is_named_by_shard_track_and_field(self) -> None:
        """Malformed is not missing: `coldstart.sample.malformed` makes the message."""
        encoder = self.started()
        assert self.broken, "name at least one content that must be refused"
        for content in self.broken:
            said = ""
            try:
                modality(encoder, [None, content])
            except InputError as error:
                said = str(error)
            assert said, f"{dict(content)} was not refused"
            places = [f"shard train/000000, track 't1', field '{f}': " for f in encoder.fields]
            assert said.startswith(tuple(places)), said

    def test_a_checkpoint_brings_it_back(self) -> None:
        """From its arguments and facts alone, in plain values."""
        encoder = self.started()
        twin = _same_when_saved("encoders", encoder)
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
        """What an explanation needs of an encoder that names its features; others pass."""
        encoder = self.started().eval()
        names = encoder.feature_names()
        if names is None:
            return
        values = modality(encoder, self.tracks).values.requires_grad_()
        assert values.shape == (len(self.tracks), len(names))
        assert encoder.feature_baseline().shape == (len(names),)
        (slopes,) = torch.autograd.grad(encoder.encode(values).sum(), values)
        assert slopes.isfinite().all()


class FusionContract:
    """What every fusion head keeps. A subclass makes the head."""

    DIMS: ClassVar[Mapping[str, int]] = {"a": 4, "b": 5, "c": 3}
    OUT = 4

    def head(self) -> FusionHead:
        """A small head, not built yet."""
        raise NotImplementedError

    def built(self, *names: str) -> FusionHead:
        """The head for these of the modalities a, b and c."""
        torch.manual_seed(0)
        head = self.head()
        given = tuple(names or self.DIMS)
        head.build({name: self.DIMS[name] for name in given}, self.OUT)
        if head.closed_form:
            encoded, present = self.given(given, 12, lambda t, m: t == m)
            head.solve(lambda: [(encoded, present, torch.randn(12, self.OUT))])
        return head

    def given(
        self, head_for: Sequence[str], tracks: int, missing: Callable[[int, int], bool]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Vectors and masks; `missing(track, modality)` says what isn't there."""
        generator = torch.Generator().manual_seed(1)
        encoded = {
            name: torch.randn(tracks, self.DIMS[name], generator=generator) for name in head_for
        }
        present = {
            name: torch.tensor([not missing(t, m) for t in range(tracks)])
            for m, name in enumerate(head_for)
        }
        return encoded, present

    def test_it_is_registered_under_the_name_of_its_class(self) -> None:
        """So one word serves in YAML, on the command line and in `coldstart plugins`."""
        head = self.head()
        assert registry.load("fusion", type(head).__name__) is type(head)

    def test_any_subset_and_any_missing_pattern_give_finite_vectors(self) -> None:
        """Also a track that lacks everything, beside others."""
        for count in range(1, len(self.DIMS) + 1):
            for names in itertools.combinations(self.DIMS, count):
                for training in (True, False):
                    head = self.built(*names).train(training)
                    # Track t lacks what the bits of t say: every pattern comes once.
                    encoded, present = self.given(names, 2**count, lambda t, m: bool(t >> m & 1))
                    out = head(encoded, present)
                    assert out.shape == (2**count, self.OUT)
                    assert out.isfinite().all()

    def test_the_order_of_the_modalities_does_not_matter(self) -> None:
        """A mapping has no order."""
        head = self.built().eval()
        encoded, present = self.given(tuple(self.DIMS), 6, lambda t, m: t == m)
        out = head(encoded, present)
        for names in itertools.permutations(self.DIMS):
            turned = {name: encoded[name] for name in names}
            again = head(turned, {name: present[name] for name in reversed(names)})
            torch.testing.assert_close(again, out, rtol=0, atol=0)

    def test_a_track_s_result_hangs_on_that_track_alone(self) -> None:
        """At evaluation, whoever else is in the batch."""
        head = self.built().eval()
        encoded, present = self.given(tuple(self.DIMS), 8, lambda t, m: (t + m) % 4 == 0)
        whole = head(encoded, present)
        half = head(
            {name: vectors[:3] for name, vectors in encoded.items()},
            {name: there[:3] for name, there in present.items()},
        )
        torch.testing.assert_close(half, whole[:3])

    def test_gradients_reach_every_parameter_whatever_is_missing(self) -> None:
        """DDP waits for every parameter in every step; a head that is solved has none."""
        for missing in (lambda t, m: False, lambda t, m: m == 0, lambda t, m: True):
            head = self.built()
            if head.closed_form:
                assert not list(head.parameters())
                return
            encoded, present = self.given(tuple(self.DIMS), 64, missing)
            head(encoded, present).square().sum().backward()
            for name, parameter in head.named_parameters():
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name

    def test_every_parameter_learns_from_tracks_that_have_everything(self) -> None:
        """No layer is dead."""
        head = self.built()
        if head.closed_form:
            return
        encoded, present = self.given(tuple(self.DIMS), 64, lambda t, m: False)
        # Not a plain sum of squares: to outputs of one length that has no gradient.
        (head(encoded, present) * torch.arange(1.0, self.OUT + 1)).square().sum().backward()
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name

    def test_a_checkpoint_brings_it_back(self) -> None:
        """From its arguments alone, in plain values."""
        head = self.built()
        twin = _same_when_saved("fusion", head)
        twin.build(self.DIMS, self.OUT)
        twin.load_state_dict(head.state_dict())
        encoded, present = self.given(tuple(self.DIMS), 5, lambda t, m: t == m)
        assert torch.equal(twin.eval()(encoded, present), head.eval()(encoded, present))


class TargetContract:
    """What every target keeps. A subclass names the truth of some tracks and makes the target.

    Attributes:
        tracks: truths of at least two tracks, which differ: the field's bytes, or, for
            `factors.npy`, the vector that the data module joins.
        broken: truths that must be refused with a reason.
        facts: what dataset.json, or factors.json, says of it: names, mean, std, factors, …
        factors: factors of tracks t0, t1, …, for a target that needs them beside the truths.
    """

    tracks: ClassVar[Sequence[Content]]
    broken: ClassVar[Sequence[Content]] = ()
    facts: ClassVar[Mapping[str, Any]] = {}
    factors: ClassVar[Factors | None] = None

    def target(self) -> Target:
        """A target, not built yet."""
        raise NotImplementedError

    def built(self) -> Target:
        """The target with its width, as a fit would build it."""
        return self._ready(self.target())

    def _ready(self, target: Target) -> Target:
        target.build(self.facts)
        if self.factors is not None:
            target.take(self.factors)
        return target

    def objective(self, target: Target, guesses: Tensor, order: Sequence[int]) -> Tensor:
        """What a fit minimises, of the tracks in this order."""
        true = self.truth(target, self.tracks).values
        rows = torch.tensor(order)
        return target.objective(guesses[rows], true[rows], [f"t{i}" for i in order])

    def truth(self, target: Target, tracks: Sequence[Content | None]) -> Modality:
        """Read truths as a loader's worker would; None is a track without one."""
        return target.reader()(_samples(tracks))

    def guesses(self, target: Target) -> Tensor:
        """[B, dim]: what a net might give."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(len(self.tracks), target.dim, generator=generator)

    def test_it_is_registered_under_the_name_of_its_class(self) -> None:
        """So one word serves in YAML, on the command line and in `coldstart plugins`."""
        target = self.target()
        assert registry.load("targets", type(target).__name__) is type(target)

    def test_the_truth_is_finite_and_as_wide_as_dim(self) -> None:
        """A track without one is `present=False`."""
        target = self.built()
        got = self.truth(target, [self.tracks[0], None, self.tracks[1]])
        assert got.present.tolist() == [True, False, True]
        assert got.values.shape == (3, target.dim)
        assert got.values.isfinite().all()
        assert not torch.equal(got.values[0], got.values[2])

    def test_the_reader_pickles_and_holds_no_tensors(self) -> None:
        """It goes to every worker process."""
        target = self.built()
        reader = target.reader()
        assert not any(isinstance(v, Tensor | nn.Module) for v in vars(reader).values())
        copy = pickle.loads(pickle.dumps(reader))  # noqa: S301  our own bytes
        assert torch.equal(
            copy(_samples(self.tracks)).values, self.truth(target, self.tracks).values
        )

    def test_broken_truths_are_refused(self) -> None:
        """With shard, track and field."""
        target = self.built()
        for content in self.broken:
            said = ""
            try:
                self.truth(target, [None, content])
            except InputError as error:
                said = str(error)
            assert said.startswith(f"shard train/000000, track 't1', field '{target.fields[0]}': ")

    def test_there_is_one_loss_a_track_and_it_hangs_on_that_track_alone(self) -> None:
        """So that its mean is the same however tracks are divided among batches and GPUs."""
        target = self.built()
        true, guesses = self.truth(target, self.tracks).values, self.guesses(target)
        losses = target.loss(guesses, true)
        assert losses.shape == (len(self.tracks),)
        assert losses.isfinite().all()
        for i in range(len(self.tracks)):
            alone = target.loss(guesses[i : i + 1], true[i : i + 1])
            torch.testing.assert_close(alone, losses[i : i + 1])

    def test_the_objective_is_one_number_a_track_in_whatever_order(self) -> None:
        """Of a whole batch: tracks may be compared with each other, but no place is special."""
        target = self.built()
        guesses, order = self.guesses(target), list(range(len(self.tracks)))
        forth = self.objective(target, guesses, order)
        assert forth.shape == (len(self.tracks),)
        assert forth.isfinite().all()
        back = self.objective(target, guesses, order[::-1])
        torch.testing.assert_close(back.flip(0), forth)

    def test_downhill_leads_towards_the_truth(self) -> None:
        """Gradients are finite, and following them lowers the loss and the objective."""
        target = self.built()
        true = self.truth(target, self.tracks).values
        order = list(range(len(self.tracks)))
        for minimised in (
            lambda guesses: target.loss(guesses, true).mean(),
            lambda guesses: self.objective(target, guesses, order).mean(),
        ):
            guesses = self.guesses(target).requires_grad_()
            optimizer = torch.optim.Adam([guesses], lr=0.05)
            before = minimised(guesses).item()
            for _ in range(50):
                optimizer.zero_grad()
                minimised(guesses).backward()
                assert guesses.grad is not None
                assert guesses.grad.isfinite().all()
                optimizer.step()
            assert minimised(guesses).item() < before

    def test_the_output_is_finite_and_as_wide_as_dim(self) -> None:
        """Whatever the net says."""
        target = self.built()
        guesses = self.guesses(target)
        out = target.output(guesses)
        assert out.shape == guesses.shape
        assert out.isfinite().all()

    def test_its_own_facts_pass_its_check(self) -> None:
        """Testing on the dataset of the training is never refused."""
        self.built().check(self.facts, self.facts)

    def test_a_checkpoint_brings_it_back(self) -> None:
        """From its arguments and facts alone, in plain values."""
        target = self.built()
        twin = self._ready(_same_when_saved("targets", target))
        twin.load_state_dict(target.state_dict())
        true, guesses = self.truth(target, self.tracks).values, self.guesses(target)
        assert torch.equal(twin.loss(guesses, true), target.loss(guesses, true))
        assert torch.equal(twin.output(guesses), target.output(guesses))

"""What every target must satisfy."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from coldstart import registry
from coldstart.encoders.base import Modality
from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.targets.base import Target
from coldstart.testing.samples import Content, rebuilt, samples


class TargetContract:
    """What every target must satisfy. A subclass gives truths of tracks and makes the target.

    Attributes:
        tracks: truths of at least two different tracks: the field's bytes, or, for
            `factors.npy`, the vector that the data module joins.
        broken: truths that must be refused with a reason.
        facts: what dataset.json, or factors.json, says of it: names, mean, std, factors, …
        factors: factors of tracks t0, t1, …, for a target that also needs them.
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
        return self._build(self.target())

    def _build(self, target: Target) -> Target:
        target.build(self.facts)
        if self.factors is not None:
            target.take(self.factors)
        return target

    def objective(self, target: Target, guesses: Tensor, order: Sequence[int]) -> Tensor:
        """What a fit minimises, for the tracks in this order."""
        true = self.truth(target, self.tracks).values
        rows = torch.tensor(order)
        return target.objective(guesses[rows], true[rows], [f"t{i}" for i in order])

    def truth(self, target: Target, tracks: Sequence[Content | None]) -> Modality:
        """Read truths as a loader's worker would; None is a track without one."""
        return target.reader()(samples(tracks))

    def guesses(self, target: Target) -> Tensor:
        """[B, dim]: possible outputs of a net."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(len(self.tracks), target.dim, generator=generator)

    def test_it_is_registered_under_the_name_of_its_class(self) -> None:
        """One name in YAML, on the command line and in `coldstart plugins`."""
        target = self.target()
        assert registry.load("targets", type(target).__name__) is type(target)

    def test_the_truth_is_finite_and_as_wide_as_dim(self) -> None:
        """A track without one is `present=False`."""
        target = self.built()
        values, present = self.truth(target, [self.tracks[0], None, self.tracks[1]])
        assert present.tolist() == [True, False, True]
        assert values.shape == (3, target.dim)
        assert values.isfinite().all()
        assert not torch.equal(values[0], values[2])

    def test_the_reader_pickles_and_holds_no_tensors(self) -> None:
        """It is sent to every worker process."""
        target = self.built()
        reader = target.reader()
        assert not any(isinstance(v, Tensor | nn.Module) for v in vars(reader).values())
        copy = pickle.loads(pickle.dumps(reader))  # noqa: S301  our own bytes
        assert torch.equal(
            copy(samples(self.tracks)).values, self.truth(target, self.tracks).values
        )

    def test_broken_truths_are_refused(self) -> None:
        """The message names shard, track and field."""
        target = self.built()
        for content in self.broken:
            message = ""
            try:
                self.truth(target, [None, content])
            except InputError as error:
                message = str(error)
            place = f"shard train/000000, track 't1', field '{target.fields[0]}': "
            assert message.startswith(place), message

    def test_there_is_one_loss_a_track_and_it_depends_on_that_track_alone(self) -> None:
        """Its mean doesn't depend on how tracks are divided among batches and GPUs."""
        target = self.built()
        true, guesses = self.truth(target, self.tracks).values, self.guesses(target)
        losses = target.loss(guesses, true)
        assert losses.shape == (len(self.tracks),)
        assert losses.isfinite().all()
        for i in range(len(self.tracks)):
            alone = target.loss(guesses[i : i + 1], true[i : i + 1])
            torch.testing.assert_close(alone, losses[i : i + 1])

    def test_the_objective_is_one_number_a_track_in_whatever_order(self) -> None:
        """Tracks of a batch may be compared with each other, but their order doesn't matter."""
        target = self.built()
        guesses, order = self.guesses(target), list(range(len(self.tracks)))
        losses = self.objective(target, guesses, order)
        assert losses.shape == (len(self.tracks),)
        assert losses.isfinite().all()
        reversed_losses = self.objective(target, guesses, order[::-1])
        torch.testing.assert_close(reversed_losses.flip(0), losses)

    def test_gradient_descent_leads_towards_the_truth(self) -> None:
        """Gradients are finite, and descent lowers the loss and the objective."""
        target = self.built()
        true = self.truth(target, self.tracks).values
        order = list(range(len(self.tracks)))
        for function in (
            lambda guesses: target.loss(guesses, true).mean(),
            lambda guesses: self.objective(target, guesses, order).mean(),
        ):
            guesses = self.guesses(target).requires_grad_()
            optimizer = torch.optim.Adam([guesses], lr=0.05)
            before = function(guesses).item()
            for _ in range(50):
                optimizer.zero_grad()
                function(guesses).backward()
                assert guesses.grad is not None
                assert guesses.grad.isfinite().all()
                optimizer.step()
            assert function(guesses).item() < before

    def test_the_output_is_finite_and_as_wide_as_dim(self) -> None:
        """For any output of the net."""
        target = self.built()
        guesses = self.guesses(target)
        out = target.output(guesses)
        assert out.shape == guesses.shape
        assert out.isfinite().all()

    def test_its_own_facts_pass_its_check(self) -> None:
        """Testing on the dataset of the training is never refused."""
        self.built().check(self.facts, self.facts)

    def test_a_checkpoint_restores_it(self) -> None:
        """From its arguments and facts alone, in plain values."""
        target = self.built()
        twin = self._build(rebuilt("targets", target))
        twin.load_state_dict(target.state_dict())
        true, guesses = self.truth(target, self.tracks).values, self.guesses(target)
        assert torch.equal(twin.loss(guesses, true), target.loss(guesses, true))
        assert torch.equal(twin.output(guesses), target.output(guesses))

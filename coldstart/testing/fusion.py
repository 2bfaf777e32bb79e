"""What every fusion head must satisfy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from coldstart import registry
from coldstart.fusion.base import FusionHead, Solvable
from coldstart.testing.samples import rebuilt


class FusionContract:
    """What every fusion head must satisfy. A subclass makes the head."""

    DIMS: ClassVar[Mapping[str, int]] = {"a": 4, "b": 5, "c": 3}
    OUT = 4

    def head(self) -> FusionHead:
        """A small head, not built yet."""
        raise NotImplementedError

    def built(self, *names: str) -> FusionHead:
        """The head for these of the modalities a, b and c."""
        torch.manual_seed(0)
        head = self.head()
        modalities = tuple(names or self.DIMS)
        head.build({name: self.DIMS[name] for name in modalities}, self.OUT)
        if head.closed_form:
            encoded, present = self.inputs(modalities, 12, lambda t, m: t == m)
            vectors, group = torch.randn(12, self.OUT), torch.arange(12) // 2
            head.solve(lambda: [Solvable(encoded, present, vectors, group)])
        return head

    def inputs(
        self, names: Sequence[str], tracks: int, missing: Callable[[int, int], bool]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Vectors and masks; `missing(track, modality)` says what the track lacks."""
        generator = torch.Generator().manual_seed(1)
        encoded = {
            name: torch.randn(tracks, self.DIMS[name], generator=generator) for name in names
        }
        present = {
            name: torch.tensor([not missing(t, m) for t in range(tracks)])
            for m, name in enumerate(names)
        }
        return encoded, present

    def test_it_is_registered_under_the_name_of_its_class(self) -> None:
        """One name in YAML, on the command line and in `coldstart plugins`."""
        head = self.head()
        assert registry.load("fusion", type(head).__name__) is type(head)

    def test_any_subset_and_any_missing_pattern_give_finite_vectors(self) -> None:
        """Also for a track that lacks everything, in a batch with others."""
        for count in range(1, len(self.DIMS) + 1):
            for names in itertools.combinations(self.DIMS, count):
                for training in (True, False):
                    head = self.built(*names).train(training)
                    # Track t lacks modality m if bit m of t is set: every pattern occurs once.
                    encoded, present = self.inputs(names, 2**count, lambda t, m: bool(t >> m & 1))
                    out = head(encoded, present)
                    assert out.shape == (2**count, self.OUT)
                    assert out.isfinite().all()

    def test_the_order_of_the_modalities_does_not_matter(self) -> None:
        """A mapping has no order."""
        head = self.built().eval()
        encoded, present = self.inputs(tuple(self.DIMS), 6, lambda t, m: t == m)
        out = head(encoded, present)
        for names in itertools.permutations(self.DIMS):
            reordered = {name: encoded[name] for name in names}
            result = head(reordered, {name: present[name] for name in reversed(names)})
            torch.testing.assert_close(result, out, rtol=0, atol=0)

    def test_a_track_s_result_depends_on_that_track_alone(self) -> None:
        """At evaluation, whichever other tracks are in the batch."""
        head = self.built().eval()
        encoded, present = self.inputs(tuple(self.DIMS), 8, lambda t, m: (t + m) % 4 == 0)
        out = head(encoded, present)
        first = head(
            {name: vectors[:3] for name, vectors in encoded.items()},
            {name: mask[:3] for name, mask in present.items()},
        )
        torch.testing.assert_close(first, out[:3])

    def test_gradients_reach_every_parameter_whatever_is_missing(self) -> None:
        """DDP waits for every parameter in every step; a head that is solved has none."""
        for missing in (lambda t, m: False, lambda t, m: m == 0, lambda t, m: True):
            head = self.built()
            if head.closed_form:
                assert not list(head.parameters())
                return
            encoded, present = self.inputs(tuple(self.DIMS), 64, missing)
            head(encoded, present).square().sum().backward()
            for name, parameter in head.named_parameters():
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name

    def test_every_parameter_learns_from_tracks_that_have_everything(self) -> None:
        """No layer is dead."""
        head = self.built()
        if head.closed_form:
            return
        encoded, present = self.inputs(tuple(self.DIMS), 64, lambda t, m: False)
        # Not a plain sum of squares, whose gradient is zero for outputs of length 1.
        (head(encoded, present) * torch.arange(1.0, self.OUT + 1)).square().sum().backward()
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name

    def test_a_checkpoint_restores_it(self) -> None:
        """From its arguments alone, in plain values."""
        head = self.built()
        twin = rebuilt("fusion", head)
        twin.build(self.DIMS, self.OUT)
        twin.load_state_dict(head.state_dict())
        encoded, present = self.inputs(tuple(self.DIMS), 5, lambda t, m: t == m)
        assert torch.equal(twin.eval()(encoded, present), head.eval()(encoded, present))

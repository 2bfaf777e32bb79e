"""What a model knows of listeners beside the vectors that the factorisation gave them."""

from __future__ import annotations

from typing import NamedTuple

from coldstart.factors.als import Array


class ListenerAxes(NamedTuple):
    """M axes beside those of a factorisation of W tracks.

    Attributes:
        loadings: [W, M] float32: a listener's place is the sum of those of the tracks they have
            played, each weighed by its confidence, a listener's weights together of length 1.
            Listeners' places have a mean square of 1 on each axis.
        places: [W, M] float32 of the tracks; with a listener's place, a part of the score.
        share: of the score that these axes have; the vectors have the rest.
    """

    loadings: Array
    places: Array
    share: float


class Equations(NamedTuple):
    """What listeners' vectors are solved from, in axes each of which is worth the same to them.

    Attributes:
        predicted: [W, K] float32 what content says of the factorised tracks, each by a regression
            that has not seen it; zeros where nothing was predicted.
        gram: [K, K] float32: what all equations have in common.
        back: [K, K] float32: from solutions to vectors in the factors' axes.
    """

    predicted: Array
    gram: Array
    back: Array


class ContentListeners(NamedTuple):
    """Listeners' vectors that are solved from what content predicts of the tracks they have played.

    Attributes:
        equations: to solve them.
        share: of a listener's vector in the model that comes from these; the rest is the
            factorisation's.
        scale: these times this have scores of the same spread as the factorisation's.
    """

    equations: Equations
    share: float
    scale: float


class Listening(NamedTuple):
    """Both, of one model; None: it hasn't any.

    Attributes:
        axes: for what listeners' own plays say.
        content: for what content says of them.
    """

    axes: ListenerAxes | None = None
    content: ContentListeners | None = None

    def __bool__(self) -> bool:
        """Whether there is any of them."""
        return self.axes is not None or self.content is not None


NOTHING = Listening()
"""Of factors as they are, and of most models."""

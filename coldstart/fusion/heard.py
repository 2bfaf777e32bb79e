"""What a head knows of listeners, as part of its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coldstart.factors.listening import (
    NOTHING,
    ContentListeners,
    Equations,
    ListenerAxes,
    Listening,
)


class Heard(nn.Module):
    """Buffers that hold a `Listening`; they are empty where nothing is known."""

    loadings: Tensor
    places: Tensor
    own_share: Tensor
    predicted: Tensor
    gram: Tensor
    back: Tensor
    content: Tensor
    _known: Listening | None

    def __init__(self) -> None:
        """Nothing is known."""
        super().__init__()
        self.take(NOTHING)

    @property
    def listening(self) -> Listening:
        """What is known: the same object until it changes, for much depends on it."""
        if self._known is None:
            self._known = self._read()
        return self._known

    def _read(self) -> Listening:
        names = ("loadings", "places", "predicted", "gram", "back")
        loadings, places, *equations = (self.get_buffer(name).cpu().numpy() for name in names)
        axes = content = None
        if loadings.size:
            axes = ListenerAxes(loadings, places, float(self.own_share))
        if equations[0].size:
            share, scale = self.content.tolist()
            content = ContentListeners(Equations(*equations), share, scale)
        return Listening(axes, content)

    def take(self, listening: Listening) -> None:
        """Hold this instead."""
        self._known = None
        axes, content = listening
        none = np.zeros((0, 0), np.float32)
        device = self.loadings.device if "loadings" in self._buffers else None
        parts = {
            "loadings": none if axes is None else axes.loadings,
            "places": none if axes is None else axes.places,
            "own_share": 0.0 if axes is None else axes.share,
            "predicted": none if content is None else content.equations.predicted,
            "gram": none if content is None else content.equations.gram,
            "back": none if content is None else content.equations.back,
            "content": [0.0, 0.0] if content is None else [content.share, content.scale],
        }
        for name, value in parts.items():
            self.register_buffer(name, torch.tensor(value, device=device))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take the checkpoint's shapes; of what it lacks, nothing is known."""
        self.take(NOTHING)
        for name, buffer in list(self._buffers.items()):
            assert buffer is not None
            value = state_dict.setdefault(prefix + name, buffer)
            self.register_buffer(name, buffer.new_zeros(value.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._known = None

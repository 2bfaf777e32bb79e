"""What a head knows of listeners, as part of its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coldstart.factors.listening import NOTHING, ContentListeners, ListenerAxes, Listening


class Heard(nn.Module):
    """Buffers that hold a `Listening`; they are empty where nothing is known."""

    loadings: Tensor
    places: Tensor
    own_share: Tensor
    predicted: Tensor
    system: Tensor
    content: Tensor

    def __init__(self) -> None:
        """Nothing is known."""
        super().__init__()
        self.take(NOTHING)

    @property
    def listening(self) -> Listening:
        """What is known."""
        loadings, places, predicted, system = (
            part.cpu().numpy() for part in (self.loadings, self.places, self.predicted, self.system)
        )
        axes = content = None
        if loadings.size:
            axes = ListenerAxes(loadings, places, float(self.own_share))
        if predicted.size:
            share, scale = self.content.tolist()
            content = ContentListeners(predicted, system, share, scale)
        return Listening(axes, content)

    def take(self, listening: Listening) -> None:
        """Hold this instead."""
        axes, content = listening
        none = np.zeros((0, 0), np.float32)
        device = self.loadings.device if "loadings" in self._buffers else None
        parts = {
            "loadings": none if axes is None else axes.loadings,
            "places": none if axes is None else axes.places,
            "own_share": 0.0 if axes is None else axes.share,
            "predicted": none if content is None else content.predicted,
            "system": none if content is None else content.system,
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

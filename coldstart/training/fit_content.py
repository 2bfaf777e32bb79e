"""What a fit reads whose config has `encoders: {}`: all content that can be read as it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from coldstart.files import is_remote
from coldstart.model.default_encoders import default_encoders
from coldstart.runs.config import content_of_config
from coldstart.shards.reading import Shards
from coldstart.training.flags import values_of
from coldstart.training.ranks import is_main

log = logging.getLogger(__name__)

_NAMED_OR_HELP = ("--model.encoders", "--model=", "--help", "-h")


def content_flags(args: Sequence[str]) -> list[str]:
    """The flag that names the encoders of what a dataset has, if a config says `encoders: {}`.

    Nothing if another config or a flag names some.

    Args:
        args: of a fit, configs as paths or as their text.

    Raises:
        InputError: the dataset has nothing that can be read as it is.
    """
    said = [content_of_config(config) for config in values_of(args, "--config", "-c")]
    configs = [config for config in said if isinstance(config, Mapping)]  # the parser says more
    models = [m for config in configs if isinstance(m := config.get("model"), Mapping)]
    named = [model["encoders"] for model in models if "encoders" in model]
    if not named or any(named) or any(arg.startswith(_NAMED_OR_HELP) for arg in args):
        return []
    data = [config.get("data") for config in configs]
    places = [each["shards"] for each in data if isinstance(each, Mapping) and "shards" in each]
    shards = str([*["shards"], *places, *values_of(args, "--data.shards")][-1])
    shows = any(arg.startswith("--print_config") for arg in args)
    if shows and not (is_remote(shards) or Path(shards).exists()):
        return []
    found = default_encoders(Shards(shards))
    if is_main() and not shows:
        left = f"; not {', '.join(found.left)}, for which a config names encoders"
        log.info(f"reads {', '.join(found.encoders)}{left if found.left else ''}")
    return [f"--model.encoders={json.dumps(found.encoders)}"]

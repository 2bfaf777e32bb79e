"""What a fit reads whose config has `encoders: {}`: all content that can be read as it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from coldstart.files import is_remote
from coldstart.forms.yaml_text import text_in, yaml_in
from coldstart.model.default_encoders import default_encoders
from coldstart.shards.reading import Shards
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
    configs = [_content(config) for config in _values(args, "--config", "-c")]
    models = [m for config in configs if isinstance(m := config.get("model"), Mapping)]
    named = [model["encoders"] for model in models if "encoders" in model]
    if not named or any(named) or any(arg.startswith(_NAMED_OR_HELP) for arg in args):
        return []
    data = [config.get("data") for config in configs]
    places = [each["shards"] for each in data if isinstance(each, Mapping) and "shards" in each]
    shards = str([*["shards"], *places, *_values(args, "--data.shards")][-1])
    shows = any(arg.startswith("--print_config") for arg in args)
    if shows and not (is_remote(shards) or Path(shards).exists()):
        return []
    found = default_encoders(Shards(shards))
    if is_main() and not shows:
        left = f"; not {', '.join(found.left)}, for which a config names encoders"
        log.info(f"reads {', '.join(found.encoders)}{left if found.left else ''}")
    return [f"--model.encoders={json.dumps(found.encoders)}"]


def _content(config: str) -> dict[str, Any]:
    is_file = "\n" not in config and Path(config).is_file()
    content = yaml_in(text_in(config) if is_file else config, "config")
    return content if isinstance(content, dict) else {}  # the parser says so


def _values(args: Sequence[str], *flags: str) -> list[str]:
    """The values of a flag that may stand several times."""
    found = []
    for arg, following in pairwise([*args, ""]):
        name, equals, value = arg.partition("=")
        if name in flags:
            found.append(value if equals else following)
    return found

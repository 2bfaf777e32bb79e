"""The verb `new-encoder`: a plugin package to start from, which works as generated."""

from __future__ import annotations

import keyword
import re
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

from coldstart.errors import InputError
from coldstart.files import StrPath, atomic_folder, writable

_FILES = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "$module/__init__.py": "encoder.py.txt",
    "tests/test_$modality.py": "test.py.txt",
    "configs/$modality.yaml": "config.yaml.txt",
}
"""Files of the package → templates in `commands/skeleton`."""

_RESERVED = ("tracks", "factors")
"""Folders of a dataset, or words of its format, that no modality may have."""


def new_encoder(name: str, out: StrPath = ".") -> Path:
    """Write the skeleton of a plugin package: an encoder, its contract test, a config, a README.

    Args:
        name: of the encoder's class: `Poems`, or `mood-board` for `MoodBoard`. The package is
            called coldstart-poems, the modality poems.
        out: folder in which the package's folder is made.

    Returns:
        The package's folder.

    Raises:
        InputError: no class can have this name, a plugin has it already, the folder exists, or it
            can't be written.
    """
    out = writable(out)
    names = _names(name)
    folder = out / names["distribution"]
    if folder.exists():
        raise InputError(f"{folder} exists already; choose another name, or another --out")
    texts = {
        Template(path).substitute(names): Template(_template(file)).substitute(names)
        for path, file in _FILES.items()
    }
    with atomic_folder(folder) as temporary:
        for path, text in texts.items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            (temporary / path).write_text(text, encoding="utf-8")
    print(f"wrote {folder}: {', '.join(texts)}")
    print(f"next: cd {folder} && pip install -e '.[test]' && python -m pytest")
    return folder


def _names(name: str) -> dict[str, str]:
    """What the encoder, its modality and its package are called."""
    if len(name) > 40 or not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*([ _-][A-Za-z0-9]+)*", name):
        raise InputError(
            f"{name!r} can't name an encoder: up to 40 letters and digits, such as MoodBoard"
        )
    words = re.split(r"[ _-]", name)
    cls = "".join(word[0].upper() + word[1:] for word in words)
    modality = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls).lower()
    code = _template("encoder.py.txt") + _template("test.py.txt")
    # Such as Encoder, Any or None: the class would replace what the generated code means by it.
    if keyword.iskeyword(cls) or modality in _RESERVED or re.search(rf"\b{cls}\b", code):
        raise InputError(f"{name!r} can't name an encoder: {cls} means something else already")
    _check_against_plugins(cls)
    return {
        "name": cls,
        "modality": modality,
        "module": f"coldstart_{modality}",
        "distribution": f"coldstart-{modality.replace('_', '-')}",
        "version": version("coldstart"),
    }


def _check_against_plugins(cls: str) -> None:
    """Raise InputError if a plugin has this name; case does not count, as in the modality."""
    from coldstart.registry import KINDS, discover

    for kind in KINDS:
        for other, (entry_point, *_) in discover(kind).items():
            if other.lower() == cls.lower():
                package = entry_point.dist.name if entry_point.dist else entry_point.value
                raise InputError(f"{package} has a plugin '{other}' already; choose another name")


def _template(file: str) -> str:
    return (files("coldstart.commands") / "skeleton" / file).read_text(encoding="utf-8")

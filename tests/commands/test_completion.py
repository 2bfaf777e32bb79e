"""Completion, by the shells themselves: bash with and without a terminal; zsh and fish if there."""

import shutil
import subprocess
from pathlib import Path

import pexpect
import pytest

from coldstart import registry
from coldstart.cli import VERBS, main
from coldstart.commands.completion import Shell, script
from coldstart.runs.config import configs_folder


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "coldstart.bash"
    path.write_text(script("bash", VERBS), encoding="utf-8")
    return path


def completed(bash_script: Path, *words: str) -> set[str]:
    """What bash offers for the last word."""
    code = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()\n'
        '_shtab_coldstart; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = ["bash", "--norc", "-c", code, "bash", str(bash_script), "coldstart", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=bash_script.parent
    )
    assert not done.stderr
    return set(done.stdout.split())


CASES = {
    "verbs": (["fa"], {"factorize"}),
    "every verb": ([""], set(VERBS)),
    "flags with hyphens": (["recommend", "--per"], {"--per-artist"}),
    "a choice": (["split", "--method", ""], {"random", "artist", "temporal"}),
    "a choice or none": (["recommend", "--placement", ""], {"ensemble", "either"}),
    "configs": (["fit", "--config", "audio_mlg_g"], {"audio_mlg_genres.yaml"}),
    "own flags of fit": (["fit", "--stage-f"], {"--stage-folds"}),
    "Lightning's flags": (["fit", "--trainer.max"], {"--trainer.max_epochs"}),
    "a fit's flags of others": (["tune", "--data.sh"], {"--data.shards"}),
    "sub-commands": (["dataset", "movie"], {"movielens"}),
    "flags of sub-commands": (["dataset", "movielens", "--si"], {"--size"}),
    "heads": (["fit", "--model.fusion", ""], set(registry.discover("fusion"))),
    "extractors": (["extract", "M"], {"MFCC", "MusiCNN"}),
    "shells": (["completion", "z"], {"zsh"}),
    "flags of every verb": (["serve", "--qu"], {"--quiet"}),
}


@pytest.mark.skipif(not shutil.which("bash"), reason="NOT TESTED: there is no bash")
@pytest.mark.parametrize("case", CASES)
def test_bash_offers(case: str, bash_script: Path) -> None:
    words, expected = CASES[case]
    found = completed(bash_script, *words)
    assert expected <= found
    assert all(word.startswith(words[-1]) for word in found)


@pytest.mark.skipif(not shutil.which("bash"), reason="NOT TESTED: there is no bash")
def test_bash_offers_all_configs_and_own_files(bash_script: Path) -> None:
    (bash_script.parent / "mine.yaml").touch()
    shipped = {path.name for path in configs_folder().glob("*.yaml")}
    assert completed(bash_script, "fit", "--config", "") >= {*shipped, "mine.yaml"}


@pytest.mark.skipif(not shutil.which("bash"), reason="NOT TESTED: there is no bash")
def test_a_person_at_a_terminal_completes_with_the_tabulator(bash_script: Path) -> None:
    shell = pexpect.spawn(
        "bash", ["--norc", "-i"], encoding="utf-8", timeout=20, dimensions=(30, 99)
    )
    shell.sendline("bind 'set enable-bracketed-paste off'; PS1=; cd /; echo be''gin")
    shell.expect("begin")
    shell.sendline(f'source {bash_script}; coldstart() {{ echo called: "$@"; }}')
    shell.send("coldstart facto\t--algo\texpl\tend\n")
    shell.expect("called: factorize --algorithm explicit end")
    shell.close()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_script(shell: Shell, tmp_path: Path) -> None:
    text = script(shell, VERBS)
    assert all(verb in text for verb in VERBS)
    assert "audio_mlg.yaml" in text or shell == "fish"
    if not shutil.which(shell):
        pytest.skip(f"NOT TESTED: there is no {shell} to read it")
    path = tmp_path / "script"
    path.write_text(text, encoding="utf-8")
    subprocess.run([shell, "-n", str(path)], check=True)


def test_the_verb_prints_the_script_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    shown = capsys.readouterr()
    assert shown.out == script("bash", VERBS) + "\n"
    assert "bash-completion/completions/coldstart" in shown.err

"""What README and docs print can be typed as it stands."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest

from hwmpq.allocate.policy import read_rules
from hwmpq.cli.main import VERBS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(hwmpq(?: [^`]+)?)`")
_EXAMPLE = re.compile(r"Example:  (hwmpq .+?)\n\s*(?:\n|\"\"\")", re.DOTALL)


def _blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [body for kind, body in _FENCE.findall(text) if kind == language]


def _named(blocks: list[tuple[Path, str]]) -> list[object]:
    return [pytest.param(body, id=f"{page.name}-{n}") for n, (page, body) in enumerate(blocks)]


def _commands() -> list[str]:
    """Commands in fences, in running text, and in the command line's own help."""
    found: dict[str, None] = {}
    for page in PAGES:
        lines = "\n".join(_blocks(page, "sh")).splitlines()
        found |= dict.fromkeys(line.strip() for line in lines if line.startswith("hwmpq "))
        found |= dict.fromkeys(_INLINE.findall(page.read_text(encoding="utf-8")))
    for file in (ROOT / "hwmpq" / "cli").glob("*.py"):
        examples = _EXAMPLE.findall(file.read_text(encoding="utf-8"))
        found |= dict.fromkeys(" ".join(example.split()) for example in examples)
    return list(found)


PYTHON = [(page, body) for page in PAGES for body in _blocks(page, "python")]
YAML = [(page, body) for page in PAGES for body in _blocks(page, "yaml")]
POLICIES = [(page, body) for page in PAGES for body in _blocks(page, "json") if "_bits" in body]


def test_examples_are_found() -> None:
    assert len(PYTHON) >= 2
    assert len(YAML) >= 5
    assert POLICIES
    asked = {command.split()[1] for command in _commands() if len(command.split()) > 1}
    assert asked >= set(VERBS)


@pytest.mark.slow
@pytest.mark.parametrize("body", _named(PYTHON))
def test_python_runs(body: str, tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "example.py"
    file.write_text(body)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(file))


@pytest.mark.parametrize("command", _commands())
def test_commands_have_known_verbs_and_options(cli, command: str) -> None:
    outcome = cli(*shlex.split(command, comments=True)[1:], "--help")
    assert outcome.code == 0, outcome.err
    assert "Usage: hwmpq" in outcome.out


@pytest.mark.parametrize("command", [c for c in _commands() if "..." not in c])
def test_commands_leave_out_nothing_that_is_required(cli, command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    if not words or words[0].startswith("-") or len(words) == 1:
        return
    usage = cli(words[0], "--help").out.partition("Options:")[2]
    for block in re.split(r"\n(?=  -)", usage)[1:]:
        if "[required]" in block:
            names = re.findall(r"(?<!\w)--?[a-z][a-z-]*", block.split("  ")[1])
            assert set(names) & set(words), f"{command}: needs {names}"


@pytest.mark.parametrize("body", _named(YAML))
def test_files_are_what_they_say(cli, body: str, tmp_path: Path) -> None:
    file = tmp_path / "example.yaml"
    file.write_text(body)
    if not re.search(r"^(name|workload):", body, re.MULTILINE):
        pytest.skip("a part of a file")
    outcome = cli("check", file)
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("body", _named(POLICIES))
def test_policies_can_be_read(body: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text(body)
    assert read_rules(file)

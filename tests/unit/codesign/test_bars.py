"""Who sees the progress of a run: terminals, notebooks, logs, nobody."""

from __future__ import annotations

import io
import sys
import types

import pytest

from hwmpq.codesign import bars
from hwmpq.codesign.bars import Bars, Lines, listening
from hwmpq.codesign.progress import Silent


def shown(progress):
    with listening(progress) as listener:
        return type(listener)


@pytest.fixture(autouse=True)
def log_file(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


@pytest.fixture
def notebook(monkeypatch):
    shell = type("ZMQInteractiveShell", (), {})()
    module = types.ModuleType("IPython")
    module.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", module)


def test_nobody_looks_on_in_a_script_whose_errors_go_to_a_file():
    assert shown(None) is Silent
    assert shown(False) is Silent
    assert shown(True) is Lines


def test_a_terminal_shows_bars_unless_told_not_to(terminal):
    assert shown(None) is Bars
    assert shown(True) is Bars
    assert shown(False) is Silent


@pytest.mark.parametrize(("widgets", "kind"), [(None, Lines), (object(), Bars)])
def test_a_notebook_shows_bars_if_it_can_move_them(notebook, monkeypatch, widgets, kind):
    monkeypatch.setattr(bars, "find_spec", lambda _: widgets)
    assert shown(None) is kind
    assert shown(False) is Silent


def test_an_ipython_console_is_no_notebook(notebook, monkeypatch):
    sys.modules["IPython"].get_ipython = lambda: None
    assert shown(None) is Silent


def test_a_listener_is_taken_as_it_is():
    mine = Silent()
    with listening(mine) as listener:
        assert listener is mine


def test_lines_say_how_far_a_phase_is_and_how_long_it_takes(monkeypatch):
    clock = iter([0.0, *range(10, 100, 10)])
    monkeypatch.setattr(bars.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    lines = Lines(stream)
    lines.start("search", 20, 10)
    for _ in range(10):
        lines.advance("search", "validation 0.910")
    printed = stream.getvalue().splitlines()
    # A resumed phase of twenty steps: each tenth is two of them.
    assert len(printed) == 5
    assert printed[0] == "search: 12 of 20, 10 s, 40 s left  validation 0.910"
    assert printed[-1] == "search: 20 of 20, 50 s, 0 s left  validation 0.910"


def test_a_phase_without_steps_can_advance():
    stream = io.StringIO()
    lines = Lines(stream)
    lines.start("float", 0)
    lines.advance("float")
    assert "float: 1 of 1" in stream.getvalue()

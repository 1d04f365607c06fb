from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwmpq.allocate.policy import policy_text, read_policy, write_policy
from hwmpq.errors import OutputError, SpecError
from hwmpq.precision import Precision

POLICY = {"conv2": Precision(4, 8), "conv1": Precision(8, 8), "layer1.0.conv#2": Precision(2, 4)}


@pytest.mark.parametrize("name", ["policy.json", "policy.yaml"])
def test_round_trip(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    write_policy(file, POLICY)
    assert read_policy(file, tuple(POLICY)) == POLICY


def test_text_is_sorted_and_one_line_a_layer() -> None:
    text = policy_text(POLICY)
    assert list(json.loads(text)) == ["conv1", "conv2", "layer1.0.conv#2"]
    assert len(text.splitlines()) == 5
    assert policy_text(dict(reversed(POLICY.items()))) == text
    assert policy_text(POLICY, as_yaml=True).splitlines()[0] == (
        "conv1: {weight_bits: 8, activation_bits: 8}"
    )


def test_globs_are_allowed_and_names_win(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(
        "conv1: {weight_bits: 8, activation_bits: 8}\n"
        '"*": {weight_bits: 4, activation_bits: 4}\n'
        '"*2": {weight_bits: 2, activation_bits: 4}\n'
    )
    assert read_policy(file, ("conv1", "conv2", "fc")) == {
        "conv1": Precision(8, 8),
        "conv2": Precision(2, 4),
        "fc": Precision(4, 4),
    }


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"con": {"weight_bits": 4, "activation_bits": 4}}')
    with pytest.raises(SpecError) as caught:
        read_policy(file, ("conv1", "fc"))
    assert [problem.path for problem in caught.value.problems] == ["con", "conv1", "fc"]


def test_bits_may_be_written_with_a_slash(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('"*": 4/8\n')
    assert read_policy(file, ("conv1",)) == {"conv1": Precision(4, 8)}
    file.write_text('"*": 4\\8\n')
    with pytest.raises(SpecError, match="such as 4/8"):
        read_policy(file, ("conv1",))


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"weight_bits": 4}}',
        '{"a": {"weight_bits": 0, "activation_bits": 4}}',
        '{"a": {"weight_bits": "4", "activation_bits": 4}}',
        '{"a": {"weight_bits": 4, "activation_bits": 4}, "a": {}}',
        "[1, 2]",
        "a: [",
    ],
)
def test_other_shapes_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.json"
    file.write_text(text)
    with pytest.raises(SpecError):
        read_policy(file, ("a",))


def test_a_policy_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_policy(tmp_path / "file" / "policy.json", POLICY)

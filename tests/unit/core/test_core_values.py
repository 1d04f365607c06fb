import json
import os

import pytest

import hwmpq.methods
import hwmpq.sensitivity
from hwmpq.errors import BudgetError, NotFoundError, OutputError, Problem, SpecError
from hwmpq.files import require_writable, write_atomic, write_json, write_text
from hwmpq.precision import Precision, precisions
from hwmpq.registry import FAMILIES, entries, resolve
from hwmpq.shipped import find_file
from hwmpq.units import format_bits, format_count, format_energy, format_seconds, parse_quantity


def test_precision_parses_what_it_prints() -> None:
    for pair in precisions(range(1, 17), range(1, 17)):
        assert Precision.parse(str(pair)) == pair


@pytest.mark.parametrize("text", ["8", "8/", "a/b", "8/8/8", "-1/8", "8.0/8", ""])
def test_precision_refuses_other_text(text: str) -> None:
    with pytest.raises(BudgetError, match="weight bits/activation bits"):
        Precision.parse(text)


def test_precision_refuses_zero_bits() -> None:
    with pytest.raises(BudgetError, match="at least 1"):
        Precision(0, 8)


@pytest.mark.parametrize(
    ("text", "dimensions", "value"),
    [
        ("500KiB", ("bits",), 500 * 1024 * 8),
        ("1MB", ("bits",), 8e6),
        ("3ms", ("cycles", "seconds"), 0.003),
        ("100 cycles", ("cycles", "seconds"), 100),
        ("100000", ("cycles", "seconds"), 100000),
        ("2mJ", ("picojoules",), 2e9),
        ("34Gops", ("operations",), 34e9),
        ("4.5", ("count",), 4.5),
        (12.5, ("count",), 12.5),
    ],
)
def test_quantities_are_read_in_canonical_units(text, dimensions, value) -> None:
    assert parse_quantity(text, *dimensions)[0] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["", "fast", "3parsec", "nan", "inf", "3ms3", "1e400", "5m", "0.5y"]
)
def test_other_text_is_no_quantity(text: str) -> None:
    with pytest.raises(BudgetError):
        parse_quantity(text, "cycles", "seconds")


def test_printing() -> None:
    assert format_seconds(1.25e-6) == "1.25 µs"
    assert format_energy(5.03e9) == "5.03 mJ"
    assert format_bits(8 * 1536) == "1.5 KiB"
    assert format_bits(12) == "1.5 B"
    assert format_count(25.5e6) == "25.5 M"
    assert format_count(0) == "0"


def test_unknown_name_suggests_the_nearest() -> None:
    error = NotFoundError("metric", "hesian_trace", ["hessian_trace", "fisher"])
    assert "Did you mean 'hessian_trace'?" in str(error)
    assert "Known: fisher, hessian_trace" in str(error)


def test_problem_says_where_rule_value_and_way_out() -> None:
    problem = Problem("compute.rows", "must be positive", "0", "Use 1 or more.", 7)
    expected = "compute.rows (line 7): must be positive (got 0). Use 1 or more."
    assert str(problem) == expected
    assert str(SpecError("x.yaml", [problem])) == f"x.yaml: {expected}"


def test_every_family_lists_parts_and_resolves_them() -> None:
    for family in FAMILIES:
        found = entries(family)
        assert found, family
        for entry in found.values():
            assert entry.summary.endswith("."), entry
            assert resolve(family, entry.name.replace("_", "-")) is not None


def test_unknown_part_names_its_family() -> None:
    with pytest.raises(NotFoundError, match="no cost model called 'systollic'"):
        resolve("cost", "systollic")


def test_find_file_tells_names_from_paths(tmp_path) -> None:
    assert find_file("accelerators", "stripes").name == "stripes.yaml"
    assert find_file("workloads", "MobileNetV2").name == "mobilenet-v2.yaml"
    assert find_file("accelerators", "bitfusion_isca18").name == "bitfusion-isca18.yaml"
    with pytest.raises(NotFoundError, match="Did you mean 'stripes'"):
        find_file("accelerators", "stripse")
    with pytest.raises(SpecError, match="no such file"):
        find_file("accelerators", str(tmp_path / "none.yaml"))


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def fail(part) -> None:
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        write_atomic(file, fail)
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_json_is_readable_by_others(tmp_path) -> None:
    file = write_json(tmp_path / "deep" / "a.json", {"µ": [1, 2]})
    assert json.loads(file.read_text(encoding="utf-8")) == {"µ": [1, 2]}


def test_a_file_in_the_way_is_a_clear_error(tmp_path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        require_writable(tmp_path / "taken")


@pytest.mark.parametrize("package", [hwmpq.methods, hwmpq.sensitivity])
def test_classes_of_parts_are_listed_for_completion(package) -> None:
    assert dir(package)
    for name in dir(package):
        assert getattr(package, name).__name__ == name

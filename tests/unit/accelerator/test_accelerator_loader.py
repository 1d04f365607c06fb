from pathlib import Path

import pytest
import yaml

from hwmpq.accelerator.loader import OVERRIDE_SOURCE, load_accelerator, parse_accelerator
from hwmpq.errors import NotFoundError, SpecError, UnsupportedError
from hwmpq.precision import Precision
from hwmpq.shipped import shipped_files
from hwmpq.strict_yaml import parse_yaml


def shipped_text(name: str = "stripes") -> str:
    return shipped_files("accelerators")[name].read_text(encoding="utf-8")


def parse(text: str):
    return parse_accelerator(parse_yaml(text, "x.yaml", sourced=True))


def broken(change) -> str:
    """All problems of the shipped file after a change to its plain values."""
    data = yaml.safe_load(shipped_text())
    change(data)
    with pytest.raises(SpecError) as caught:
        parse(yaml.safe_dump(data))
    return str(caught.value)


def test_negative_size_names_path_value_and_rule() -> None:
    message = broken(lambda data: data["memories"][0].update(size_bits=-5))
    assert "memories[0].size_bits" in message
    assert "greater than 0" in message
    assert "got -5" in message


def test_all_problems_come_at_once() -> None:
    def change(data) -> None:
        data["memories"][0]["size_bits"] = 0
        data["clock_hz"] = "200e6"
        data["compute"]["rowz"] = 1
        del data["technology_nm"]

    message = broken(change)
    assert message.count("x.yaml: ") == 4
    assert "write 200000000" in message
    assert "compute.rowz" in message
    assert "technology_nm" in message


def test_a_file_without_any_source_is_refused() -> None:
    def strip(value):
        if isinstance(value, dict):
            if "value" in value and "source" in value:
                return value["value"]
            return {key: strip(item) for key, item in value.items() if key != "source"}
        return [strip(item) for item in value] if isinstance(value, list) else value

    text = yaml.safe_dump(strip(yaml.safe_load(shipped_text())))
    with pytest.raises(SpecError, match="no number says where it comes from"):
        parse(text)


def test_unknown_architecture_suggests_the_nearest() -> None:
    message = broken(lambda data: data.update(architecture="bit_serail"))
    assert "Did you mean 'bit-serial'?" in message


def test_architecture_that_is_no_text() -> None:
    assert "must name a cost model" in broken(lambda data: data.update(architecture=3))


def test_unknown_accelerator_suggests_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="Did you mean 'stripes'"):
        load_accelerator("strips")


def test_overrides_change_values_and_say_so() -> None:
    plain = load_accelerator("stripes")
    name = plain.memories[0].name
    changed = load_accelerator(
        "stripes", {"clock_hz": "1GHz", f"memories.{name}.size_bits": "4KiB"}
    )
    assert changed.clock_hz == 10**9
    assert changed.memories[0].size_bits == 4 * 1024 * 8
    assert changed.provenance["clock_hz"] == OVERRIDE_SOURCE
    assert changed.fingerprint != plain.fingerprint
    assert load_accelerator("stripes").fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("compute.nothing.there", "1", "there is no 'nothing'"),
        ("compute.nothing", "1", "is not a field"),
        ("memories[9].size_bits", "1", "there is no '9'"),
        ("clock_hz", "fast", "clock_hz"),
        ("clock_hz", "0", "greater than 0"),
    ],
)
def test_overrides_that_lead_nowhere(path: str, value: str, rule: str) -> None:
    with pytest.raises(SpecError, match=rule):
        load_accelerator("stripes", {path: value})


def test_unsupported_precision_says_what_is_supported() -> None:
    accelerator = load_accelerator("stripes")
    with pytest.raises(UnsupportedError, match="has no mode for 63/8"):
        accelerator.require([Precision(63, 8)])


def test_memory_names_must_be_unique() -> None:
    def change(data) -> None:
        data["memories"].append(dict(data["memories"][0]))

    assert "memory names must be unique" in broken(change)


def test_a_new_accelerator_of_a_known_family_is_one_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(shipped_text().replace("name: stripes", "name: mine", 1))
    assert load_accelerator(file).name == "mine"

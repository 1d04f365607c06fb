import pytest
from pydantic import BaseModel, ConfigDict

from hwmpq.errors import SpecError
from hwmpq.strict_yaml import parse_yaml, read_yaml, validate


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    rows: int


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    inner: Inner
    parts: list[Inner] = []


def problems(text: str, model: type[BaseModel] = Outer) -> list[str]:
    with pytest.raises(SpecError) as caught:
        validate(model, parse_yaml(text, "x.yaml"))
    return [str(problem) for problem in caught.value.problems]


def test_duplicate_keys_are_errors_with_both_lines() -> None:
    with pytest.raises(SpecError) as caught:
        parse_yaml("a: 1\nb: 2\na: 3\n", "x.yaml")
    (problem,) = caught.value.problems
    assert problem.path == "a"
    assert problem.line == 3
    assert "line 1" in problem.fix


def test_nested_duplicates_name_their_path() -> None:
    with pytest.raises(SpecError, match=r"parts\[1\]\.rows"):
        parse_yaml("parts:\n  - {rows: 1}\n  - {rows: 1, rows: 2}\n", "x.yaml")


def test_all_problems_are_reported_at_once_with_path_and_line() -> None:
    found = problems("name: 3\ninner:\n  rows: 200e6\n  colums: 2\n")
    assert len(found) == 3
    assert found[0].startswith("name (line 1)")
    assert "inner.rows (line 3)" in found[1]
    assert "write 200000000" in found[1]
    assert "inner.colums (line 4)" in found[2]
    assert "Fields here: rows" in found[2]


def test_missing_field_names_its_place() -> None:
    found = problems("name: a\ninner: {}\n")
    assert found == ["inner.rows (line 2): is missing. Add it."]


def test_misspelt_field_gets_a_hint() -> None:
    (found,) = problems("name: a\ninner: {rows: 1}\nparts:\n- {rows: 1, rowz: 2}\n")
    assert "parts[0].rowz" in found
    assert "Did you mean 'rows'?" in found


def test_sources_are_taken_out_by_path() -> None:
    text = "source: whole\nname: a\ninner:\n  source: part\n  rows: {value: 3, source: one}\n"
    document = parse_yaml(text, "x.yaml", sourced=True)
    assert document.data == {"name": "a", "inner": {"rows": 3}}
    assert document.sources == {"": "whole", "inner": "part", "inner.rows": "one"}


def test_uncertainty_travels_with_its_number() -> None:
    text = "e: {value: 15, source: s, uncertainty: 0.2}"
    assert parse_yaml(text, "x.yaml", sourced=True).uncertainties == {"e": 0.2}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "is empty"),
        ("- 1\n- 2\n", "must be a mapping"),
        ("a: [1, 2\n", "is not YAML"),
        ("a: !!python/object:os.system x\n", "cannot be read"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "no merge keys"),
        ("a: &a [*a]\n", "refers to itself"),
    ],
)
def test_what_is_no_plain_mapping_is_refused(text: str, rule: str) -> None:
    with pytest.raises(SpecError, match=rule):
        parse_yaml(text, "x.yaml")


def test_alias_bomb_is_refused_quickly() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(SpecError, match="too deep or refers to itself"):
        parse_yaml("\n".join(lines), "x.yaml")


def test_missing_file_and_folder(tmp_path) -> None:
    with pytest.raises(SpecError, match="there is no such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match="is a folder"):
        read_yaml(tmp_path)


def test_binary_file_is_refused(tmp_path) -> None:
    file = tmp_path / "b.yaml"
    file.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(SpecError, match="UTF-8"):
        read_yaml(file)

import re
from pathlib import Path

import pytest

from hwmpq.errors import UnsupportedError
from hwmpq.precision import Precision
from hwmpq.report.graph_figure import write_graph_svg
from hwmpq.report.graph_layout import drawn_graph, lay_out
from hwmpq.workload.graph import Workload, WorkloadBuilder
from hwmpq.workload.layer import FreeOp, Linear, VectorOp


def residual(first: str = "a") -> Workload:
    builder = WorkloadBuilder("residual")
    x = builder.add_input("input", (1, 8))
    a = builder.add(Linear(name=first, in_features=8, out_features=8), [x])
    r = builder.add(
        VectorOp(name="r", op="relu", input_sizes=(8,), output_elements=8, operations=8), [a]
    )
    b = builder.add(Linear(name="b", in_features=8, out_features=8), [r])
    c = builder.add(Linear(name="c", in_features=8, out_features=8), [b])
    add = VectorOp(name="add", op="add", input_sizes=(8, 8), output_elements=8, operations=8)
    builder.add(add, [c, r])
    return builder.build()


def test_what_is_left_out_connects_what_is_drawn() -> None:
    shown = drawn_graph(residual())
    assert set(shown) == {"a", "b", "c", "add"}
    assert set(shown.edges) == {("a", "b"), ("b", "c"), ("c", "add"), ("a", "add")}


def test_rows_follow_the_longest_path_and_no_two_boxes_meet() -> None:
    layout = lay_out(drawn_graph(residual()))
    assert {name: row for name, (_, row) in layout.positions.items()} == {
        "a": 0,
        "b": 1,
        "c": 2,
        "add": 3,
    }
    assert len(set(layout.positions.values())) == 4


def test_branches_of_equal_depth_stand_side_by_side() -> None:
    builder = WorkloadBuilder("wide")
    x = builder.add_input("input", (1, 8))
    for name in "abc":
        builder.add(Linear(name=name, in_features=8, out_features=8), [x])
    layout = lay_out(drawn_graph(builder.build()))
    columns = sorted(column for column, _ in layout.positions.values())
    assert columns == [0, 1, 2]


def test_the_same_network_is_the_same_file_with_names_bits_and_shares(tmp_path: Path) -> None:
    bits = dict.fromkeys("abc", Precision(4, 8))
    for name in ("one", "two"):
        write_graph_svg(tmp_path / f"{name}.svg", residual(), bits, {"a": 0.25})
    text = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "two.svg").read_text(encoding="utf-8")
    assert text.count("W/A 4/8") == 3
    assert text.count("25.0% of cycles") == 1
    assert not re.search(r"(href|src)=\"https?:", text)


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    file = write_graph_svg(tmp_path / "x.svg", residual("<script>$x$</script>"))
    text = file.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;$x$&lt;/script&gt;" in text


def test_nothing_to_draw_is_an_error() -> None:
    builder = WorkloadBuilder("empty")
    builder.add(FreeOp(name="view", op="reshape", elements=4))
    with pytest.raises(UnsupportedError, match="to draw"):
        write_graph_svg(Path("unused.svg"), builder.build())

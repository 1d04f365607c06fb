"""Axes, points and their hashes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.sweep.axes import Range, axis_values
from hwmpq.sweep.plan import Plan, chunk_size, chunks
from hwmpq.sweep.points import Grid
from hwmpq.sweep.recipe import Recipe


def make_recipe(**changes: object) -> Recipe:
    fields = {
        "workload": ["net"],
        "accelerator": ["chip"],
        "sensitivity": ["scores"],
        "budget": {"latency": ["0.5x", "1x"]},
    }
    return Recipe.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("given_axis", "values"),
    [
        ("0.5x", ("0.5x",)),
        (8, (8,)),
        ([1, 2.5], (1, 2.5)),
        ({"from": "0.3x", "to": "1x", "steps": 8},
         ("0.3x", "0.4x", "0.5x", "0.6x", "0.7x", "0.8x", "0.9x", "1x")),
        ({"from": 4, "to": 64, "steps": 5, "scale": "log"}, (4, 8, 16, 32, 64)),
        ({"from": 1, "to": 2, "steps": 3}, (1.0, 1.5, 2.0)),
        ({"from": "100MHz", "to": "200MHz", "steps": 2}, ("100MHz", "200MHz")),
        ([{"from": 8, "to": 16, "steps": 2}, 64], (8, 16, 64)),
    ],
)  # fmt: skip
def test_axes(given_axis, values) -> None:
    assert axis_values(given_axis) == values
    assert list(map(type, axis_values(given_axis))) == list(map(type, values))


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [8, 8],
        [8, 8.0],
        {"from": 1, "to": 2},
        {"from": 1, "to": 2, "steps": 1},
        {"from": 1, "to": 2, "steps": 3, "scal": "log"},
        {"from": "1x", "to": "2ms", "steps": 3},
        {"from": "fast", "to": "slow", "steps": 3},
        {"from": 0, "to": 8, "steps": 4, "scale": "log"},
        [None],
    ],
)
def test_faulty_axes_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"axis|range|value"):
        axis_values(wrong)


def test_a_range_of_many_is_quick() -> None:
    many = Range.model_validate({"from": "0.1x", "to": "1x", "steps": 100_000})
    assert len(set(many.values())) == 100_000


def test_the_product_by_hand() -> None:
    recipe = make_recipe(
        accelerator=["a", {"name": "b", "set": {"rows": [1, 2]}}],
        set={"clock_hz": [10, 20]},
        budget=[
            {"latency": ["0.5x", "1x"]},
            {"energy": "0.5x", "weight_memory": ["1KiB", "2KiB"]},
        ],
        seeds=[0, 1],
        method=["bmpq"],
    )
    grid = Grid(recipe)
    # 1 network, 2 + 4 variants, 1 set of precisions, 2 scores, 2 seeds, 2 + 2 budgets
    assert grid.shape == (1, 6, 1, 2, 2, 4)
    assert len(grid) == 96
    assert grid.at(3).budget == {"energy": "0.5x", "weight_memory": "2KiB"}
    assert grid.at(4).seed == 1
    assert (grid.at(8).kind, grid.at(8).score) == ("method", "bmpq")
    assert grid.at(2 * 16).variant == "b [clock_hz=10, rows=1]"
    assert grid.at(3 * 16).variant == "b [clock_hz=10, rows=2]"
    assert grid.at(95).variant == "b [clock_hz=20, rows=2]"
    keys = {grid.at(index).key("recipe") for index in range(96)}
    assert len(keys) == 96


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.integers(1, 99), min_size=1, max_size=5, unique=True),
    limits=st.lists(st.integers(1, 999), min_size=1, max_size=40, unique=True),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
)
def test_chunks_cover_every_point_once(rows, limits, seeds) -> None:
    recipe = make_recipe(set={"compute.rows": rows}, budget={"latency": limits}, seeds=seeds)
    plan = Plan(recipe=recipe, inputs={}, places={}, networks={})
    covered = [index for chunk in chunks(plan) for index in range(chunk.start, chunk.stop)]
    assert covered == list(range(len(rows) * len(limits) * len(seeds)))
    points = [plan.grid.at(index) for index in covered]
    asked = {(p.set["compute.rows"], p.budget["latency"], p.seed) for p in points}
    assert len(asked) == len(points)
    assert all(chunk.stop - chunk.start <= chunk_size(plan) for chunk in chunks(plan))


def test_hashes_follow_what_is_asked_and_nothing_else() -> None:
    def hashed(**changes: object) -> str:
        inputs = {"net": "1"} | dict(changes.pop("inputs", {}))
        recipe = make_recipe(**changes)
        return Plan(recipe=recipe, inputs=inputs, places={}, networks={}).hashed().recipe_hash

    assert hashed() == hashed()
    assert hashed() == hashed(name="other", answers={"transfer": True}, threads=2)
    assert len({hashed(), hashed(reference="4/4"), hashed(inputs={"net": "2"})}) == 3


def test_a_plan_survives_its_file(tmp_path) -> None:
    recipe = make_recipe(set={"compute.rows": {"from": 8, "to": 32, "steps": 4}}, area_of=3.5)
    plan = Plan(recipe=recipe, inputs={"net": "1"}, places={}, networks={}).hashed()
    plan.save(tmp_path)
    assert Plan.load(tmp_path) == plan

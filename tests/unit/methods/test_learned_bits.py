from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmpq.methods.learned_bits import distance, distance_table, snapping_note
from hwmpq.precision import Precision


def test_distance_by_hand():
    assert [distance(5, bits) for bits in (2, 3, 4, 5, 6, 8)] == [63, 15, 3, 0, 1 / 64, 3 / 64]
    # log2(6) = 2.585: short of two bits by 0.585, none of three.
    assert distance(2.585, 2) == pytest.approx(4**0.585 - 1)
    assert distance(2.585, 3) == 0


@settings(deadline=None, max_examples=60)
@given(learned=st.floats(1, 8))
def test_the_next_whole_width_is_nearest_and_a_missing_bit_weighs_more_than_spare_ones(learned):
    found = {bits: distance(learned, bits) for bits in range(1, 9)}
    nearest = min(found, key=lambda bits: found[bits])
    assert nearest - 1 < learned <= nearest + 1e-5
    assert found[nearest] == 0
    values = [found[bits] for bits in range(1, nearest + 1)]
    assert values == sorted(values, reverse=True)


def test_table_adds_weights_and_activations():
    table = distance_table(
        {"a": (4.0, 3.0), "b": (2.0, 8.0)}, [Precision(2, 3), Precision(4, 8)], "dq"
    )
    assert table.layers == ("a", "b")
    assert table.values.tolist() == [[15, 5 / 64], [4.0**5 - 1, 2 / 64]]


def test_note_says_what_was_learned_and_what_changed():
    learned = {"a": Precision(5, 4), "b": Precision(4, 4)}
    snapped = {"a": Precision(4, 4), "b": Precision(4, 4)}
    assert snapping_note(learned, snapped, {"latency": 1.0234, "energy": 0.5}) == (
        "learned bits spend 1.02 of the latency limit, 0.50 of the energy limit; "
        "snapping changed 1 of 2 layers: a 5/4 to 4/4"
    )
    assert snapping_note(snapped, snapped, {"latency": 1}).endswith("changed 0 of 2 layers")

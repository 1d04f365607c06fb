"""The report about a sweep: complete, harmless, its points open their bits."""

import json
import re

import pandas as pd

from hwmpq.report.sweep_figures import MOST_DRAWN, drawn_candidates
from hwmpq.report.sweep_page import write_sweep_report
from hwmpq.report.sweep_view import FrontView, SweepView

EVIL = "</script><script>alert(1)</script>"


def make_view(count: int = 6) -> SweepView:
    frame = pd.DataFrame(
        {
            "point": range(count),
            "workload": "net",
            "variant": [EVIL if index % 2 else "chip" for index in range(count)],
            "budget.latency": "0.5x",
            "status": ["optimal"] * (count - 1) + ["infeasible"],
            "sensitivity": [1.0 / (index + 1) for index in range(count)],
            "latency_s": [1e-3 * (index + 1) for index in range(count)],
            "energy_pj": [1e9] * count,
            "least.latency": [None] * (count - 1) + [123.0],
            "bits": ["8/8 2/4"] * count,
            "error": [None] * (count - 1) + ["no assignment\nlong story"],
        }
    )
    answered = frame.iloc[:-1]
    front = FrontView(
        title="net, scores",
        quantities=("sensitivity", "latency"),
        rows=answered.iloc[:3],
        candidates=answered,
        knee=1,
        hypervolume=0.5,
    )
    return SweepView(
        title="demo",
        facts=(("networks", "net"),),
        frame=frame,
        layers={"net": ("stem", EVIL)},
        fronts=(front,),
        labels={EVIL: EVIL},
    )


def test_points_open_their_bits_and_nothing_escapes(tmp_path) -> None:
    page = write_sweep_report(make_view(), tmp_path).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    found = re.search(r'data-opening="([^"]+)">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    opening = json.loads(found[2])
    assert set(opening["points"]) == {"0", "1", "2", "3", "4"}
    assert opening["first"] == "1"
    assert opening["points"]["0"]["bits"] == "8/8 2/4"
    assert opening["rows"]["net"] == ["stem", EVIL]
    assert opening["colours"]["2"] != opening["colours"]["8"]
    chart = re.search(rf'data-chart="{found[1]}">(.*?)</script>', page, re.DOTALL)
    assert chart is not None
    drawn = json.loads(chart[1])["data"]
    opened = [key for trace in drawn for key in trace.get("customdata", [])]
    assert set(opened) == set(opening["points"])
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "no assignment" in text
    assert "123" in text


def test_many_points_are_thinned_out() -> None:
    (front,) = make_view(10_000).fronts
    assert len(drawn_candidates(front)) <= MOST_DRAWN

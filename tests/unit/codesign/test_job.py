"""Jobs: seeds, and settings that belong to one of several methods."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwmpq import registry
from hwmpq.cli.optimize import _trials
from hwmpq.codesign.job import Job, make_job
from hwmpq.codesign.plan import described
from hwmpq.errors import SpecError
from hwmpq.methods.bsq import BSQ
from hwmpq.methods.dq import DQ


def job(**changes) -> Job:
    fields = {
        "workload": "resnet8-digits",
        "accelerator": "bitfusion-edge",
        "method": ["dq", "bsq"],
        "budget": {"latency": "0.5x"},
    }
    return make_job(**(fields | changes))


def test_settings_reach_their_method_and_shared_ones_all():
    asked = job(settings={"frozen_share": 0.5, "dq": {"quantizer": "power_of_two"}})
    assert asked.load_method("dq") == DQ(frozen_share=0.5, quantizer="power_of_two")
    assert asked.load_method("bsq") == BSQ(frozen_share=0.5)


def test_settings_of_a_method_that_does_not_run_are_refused():
    asked = job(method="bsq", settings={"dq": {"quantizer": "power_of_two"}})
    with pytest.raises(SpecError, match="there is no such setting"):
        asked.load_method("bsq")


def test_settings_of_a_method_must_have_names():
    with pytest.raises(SpecError, match="must be settings by name"):
        job(settings={"dq": 0.5}).load_method("dq")


def test_each_method_runs_with_each_seed_in_a_folder_of_its_own():
    base = Path("runs")
    found = [(t.method, t.seed, str(t.folder)) for t in _trials(job(seeds=[3, 4]), base)]
    assert found == [
        ("dq", 3, "runs/dq-seed-3"),
        ("dq", 4, "runs/dq-seed-4"),
        ("bsq", 3, "runs/bsq-seed-3"),
        ("bsq", 4, "runs/bsq-seed-4"),
    ]
    (single,) = _trials(job(method="dq", seed=7), base)
    assert (single.seed, single.folder) == (7, base)
    assert [str(t.folder) for t in _trials(job(), base)] == ["runs/dq", "runs/bsq"]


@pytest.mark.parametrize("method", sorted(registry.entries("method")))
def test_what_a_manifest_says_of_a_method_is_the_same_in_every_process(method):
    # An object's address would keep a stopped run from ever being resumed.
    stated = described("method", registry.resolve("method", method))
    assert not [text for text in stated.values() if " at 0x" in text]


def test_negative_seeds_are_refused():
    with pytest.raises(SpecError, match="seeds"):
        job(seeds=[0, -1])

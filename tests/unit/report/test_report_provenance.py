"""Where numbers come from: own source, inherited source, guesses."""

from hwmpq.accelerator.spec import Accelerator
from hwmpq.report.provenance import is_assumed, provenance_frame


def _row(accelerator: Accelerator, path: str) -> dict[str, object]:
    frame = provenance_frame(accelerator).set_index("path")
    return frame.loc[path].to_dict()


def test_sources_are_inherited_from_the_nearest_path_above(accelerator: Accelerator) -> None:
    own = _row(accelerator, "memories[0].size_bits")
    assert own["source"] == "table 2 of the paper"
    assert own["inherited_from"] == ""
    shared = _row(accelerator, "memories[0].read_energy_pj_per_bit")
    assert (shared["source"], shared["inherited_from"]) == ("CACTI 7", "memories[0]")
    assert _row(accelerator, "clock_hz")["inherited_from"] == "the file"


def test_guesses_come_first_and_are_marked(accelerator: Accelerator) -> None:
    frame = provenance_frame(accelerator)
    assert frame["path"].iloc[0] == "vector.lanes"
    assert frame["assumed"].sum() == 1


def test_a_number_without_any_source_counts_as_assumed(accelerator: Accelerator) -> None:
    bare = accelerator.model_copy(update={"provenance": {"dram": "a data sheet"}})
    assert _row(bare, "clock_hz")["assumed"]
    assert _row(bare, "clock_hz")["source"] == "not stated"
    assert not _row(bare, "dram.bandwidth_bits_per_cycle")["assumed"]


def test_uncertainty_is_inherited(accelerator: Accelerator) -> None:
    assert _row(accelerator, "dram.read_energy_pj_per_bit")["uncertainty"] == 0.3


def test_every_number_of_the_file_is_listed_once(accelerator: Accelerator) -> None:
    paths = provenance_frame(accelerator)["path"]
    assert paths.is_unique
    assert {"compute.rows", "dram.bandwidth_bits_per_cycle", "precisions.weight_bits"} <= set(
        paths
    )
    assert not any(path.startswith(("provenance", "uncertainties")) for path in paths)


def test_only_the_first_word_makes_a_source_a_guess() -> None:
    assert is_assumed("assumed")
    assert not is_assumed("the paper assumed 45 nm")

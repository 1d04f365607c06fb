"""Runs layers through SCALE-Sim 3.0.0, in the environment of whoever calls this file.

Standard input: ``{"dataflow": "os", "rows": 32, "cols": 32, "size_kb": 256, "layers": [[height,
width, kernel height, kernel width, channels, filters, stride], ...]}``. Standard output: CPU
seconds and compute cycles of each layer.
"""

import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path

from scalesim.scale_sim import scalesim

CONFIG = """[general]
run_name = bench
[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {cols}
IfmapSramSzkB: {size_kb}
FilterSramSzkB: {size_kb}
OfmapSramSzkB: {size_kb}
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Dataflow: {dataflow}
Bandwidth: 10
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[layout]
IfmapCustomLayout: False
FilterCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""
HEADER = "Layer,Height,Width,Kernel height,Kernel width,Channels,Filters,Stride,\n"


def run(case: dict, layer: list[int], folder: Path) -> tuple[float, int]:
    """CPU seconds and compute cycles of one layer."""
    (folder / "array.cfg").write_text(CONFIG.format(**case), encoding="utf-8")
    row = ", ".join(["layer", *map(str, layer)])
    (folder / "layers.csv").write_text(f"{HEADER}{row},\n", encoding="utf-8")
    layout = ", ".join(["layer", *["1"] * 20])
    (folder / "layout.csv").write_text(f"{HEADER}{layout},\n", encoding="utf-8")
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        simulator = scalesim(
            save_disk_space=True,
            verbose=False,
            config=str(folder / "array.cfg"),
            topology=str(folder / "layers.csv"),
            layout=str(folder / "layout.csv"),
            input_type_gemm=False,
        )
        simulator.run_scale(top_path=str(folder / "results"))
    seconds = time.process_time() - start
    lines = (folder / "results/bench/COMPUTE_REPORT.csv").read_text(encoding="utf-8").splitlines()
    names = [name.strip() for name in lines[0].split(",")]
    return seconds, int(float(lines[1].split(",")[names.index("Total Cycles")]))


def main() -> None:
    """Read the case, run it, write what it took."""
    case = json.load(sys.stdin)
    results = []
    for layer in case["layers"]:
        with tempfile.TemporaryDirectory() as folder:
            results.append(run(case, layer, Path(folder)))
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()

"""The end of a run: the network at rest, its accuracies, its results; and reading it back."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from hwmpq.codesign.checkpoint import network_state
from hwmpq.codesign.folder import HISTORY, RESULTS, WEIGHTS, Run
from hwmpq.codesign.record import Results
from hwmpq.codesign.stage import Setting, Stage
from hwmpq.codesign.train import evaluate
from hwmpq.errors import Problem, SpecError
from hwmpq.models.build import build_model
from hwmpq.quant.insert import QuantizedModel, freeze, insert_empty
from hwmpq.quant.quantized import with_powers


def conclude(setting: Setting, found: QuantizedModel, stage: Stage) -> Run:
    """Freeze the quantisers, score the test part once, and write what came out.

    ``results.json`` is written last, so a run directory that has it is complete.

    Raises:
        OutputError: a file cannot be written.
    """
    plan, folder, standing = setting.plan, setting.folder, stage.standing
    network = freeze(found)
    baseline = plan.copy_network().to(setting.device)
    baseline.load_state_dict(dict(stage.float_state))
    history = standing.history
    in_force = next(record for record in reversed(history.rounds) if record.accepted)
    validation, test = plan.data.validation, plan.data.test
    size, device = setting.recipe.batch_size, setting.device
    results = Results(
        assignment=in_force.assignment,
        allocation=in_force.allocation,
        totals=in_force.totals,
        reference_totals=plan.totals(plan.question.costs.uniform(plan.question.reference)),
        validation_accuracy=evaluate(network.module, validation, batch_size=size, device=device),
        test_accuracy=evaluate(network.module, test, batch_size=size, device=device),
        float_validation_accuracy=evaluate(baseline, validation, batch_size=size, device=device),
        float_test_accuracy=evaluate(baseline, test, batch_size=size, device=device),
        codes_per_layer={
            name: len(set(layer.codes().flatten().tolist()))
            for layer in network.layers.values()
            if not (layer.is_product or layer.weight.passes)
            for name in layer.names
        },
        seconds_float_training=sum(record.seconds for record in history.float_epochs),
        seconds_training=sum(record.seconds for record in history.epochs),
        seconds_allocating=sum(record.seconds_allocating for record in history.rounds),
    )
    folder.write_bytes(WEIGHTS, save_tensors(network_state(network.module)))
    folder.write_policy(results.assignment)
    folder.write(HISTORY, history)
    folder.write(RESULTS, results)
    folder.drop_checkpoint()
    return Run.load(folder.root)


def load_network(run: Run, model: nn.Module | str | Path | None = None) -> QuantizedModel:
    """The trained network of a run, with its quantisers.

    Args:
        run: the run.
        model: the network's architecture, whose weights are replaced in place, or the path of its
            workload file; None is the shipped workload that the run names.

    Raises:
        SpecError: the weights are missing or belong to another network.
        HwmpqError: the workload is not known.
    """
    file = run.folder / WEIGHTS
    network = model
    if not isinstance(network, nn.Module):
        name = run.manifest.workload if network is None else network
        network = build_model(name, seed=run.manifest.seed)
    quantised = insert_empty(network, run.results.assignment)
    try:
        state = load_tensors(file.read_bytes())
        quantised = with_powers(quantised, state)
        network.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        rule = f"does not hold the weights of '{run.manifest.workload}' ({reason})"
        raise SpecError(str(file), [Problem("file", rule)]) from error
    network.eval()
    return quantised

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hwmpq.precision import Precision
from hwmpq.quant.grid import symmetric_codes
from hwmpq.quant.insert import insert_quantizers
from hwmpq.quant.pact import PactQuantizer
from hwmpq.quant.symmetric import SymmetricQuantizer, max_step
from hwmpq.sensitivity.bit_gradient import (
    BitGradient,
    BitGradientRecorder,
    ScoreOptions,
    bit_gradients,
    missing,
    normalised_bit_gradient,
    table_from_scores,
)
from hwmpq.workload.from_torch import extract


def quantizers(site):
    return (
        SymmetricQuantizer(site.precision.weight_bits),
        PactQuantizer(site.precision.activation_bits, signed=site.signed_input),
    )


def from_bits(bits: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Value of two's-complement codes ``[elements, bits]``, lowest bit first."""
    count = bits.shape[1]
    weights = torch.tensor([2.0**i for i in range(count - 1)] + [-(2.0 ** (count - 1))]).double()
    return step * (bits * weights).sum(dim=1)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_bit_gradients_equal_autograd_through_the_bits(bits):
    generator = torch.Generator().manual_seed(bits)
    codes = torch.randint(0, 2, (12, bits), generator=generator).double().requires_grad_()
    target = torch.randn(12, generator=generator, dtype=torch.float64)
    step = torch.tensor(0.3, dtype=torch.float64)
    values = from_bits(codes, step)
    values.retain_grad()
    ((values - target) ** 3).sum().backward()
    assert values.grad is not None
    assert codes.grad is not None
    torch.testing.assert_close(bit_gradients(values.grad, step, bits), codes.grad)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_closed_form_equals_the_root_mean_square_over_all_bits(bits):
    gradient = torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = torch.tensor(0.7, dtype=torch.float64)
    explicit = bit_gradients(gradient, step, bits).square().mean().sqrt()
    closed = normalised_bit_gradient(float(gradient.norm()), float(step), bits, 40)
    assert closed == pytest.approx(float(explicit), rel=1e-12)


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8, bias=False)
        self.bn = nn.BatchNorm1d(8)
        self.second = nn.Linear(8, 3)

    def forward(self, x):
        return self.second(torch.relu(self.bn(self.first(x))))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(16, 6, generator=generator), torch.arange(16) % 3


def scored(model, batch, *, own_width=False, bits=4):
    workload = extract(model, batch[0][:1])
    start = {layer.name: Precision(bits, bits) for layer in workload.multiply_layers}
    quantised = insert_quantizers(model, workload, start, quantizers)
    recorder = BitGradientRecorder(quantised, own_width=own_width)
    nn.functional.cross_entropy(quantised.module(batch[0]), batch[1]).backward()
    recorder.close_batch()
    return recorder, quantised, workload


@pytest.mark.parametrize("bits", [2, 4])
def test_recorder_takes_the_gradient_at_the_quantised_weight(batch, bits):
    torch.manual_seed(0)
    recorder, quantised, _ = scored(Normed(), batch, own_width=True, bits=bits)
    layer = quantised.layers["first"]
    gradient = layer.shadow.grad
    step = max_step(layer.shadow.detach(), symmetric_codes(bits))
    explicit = bit_gradients(gradient, step, bits).square().mean().sqrt()
    assert recorder.scores.mean("weights", "first") == pytest.approx(float(explicit), rel=1e-5)


def test_score_is_invariant_under_a_rescale_that_batch_norm_undoes(batch):
    torch.manual_seed(0)
    model, scaled = Normed(), Normed()
    scaled.load_state_dict(model.state_dict())
    with torch.no_grad():
        scaled.first.weight *= 10
        # Batch norm's epsilon is no longer negligible once variances differ by a hundred.
        scaled.bn.eps, model.bn.eps = 1e-12, 1e-12
    before = scored(model, batch)[0].scores.mean("weights", "first")
    after = scored(scaled, batch)[0].scores.mean("weights", "first")
    assert after == pytest.approx(before, rel=1e-4)


def test_mean_over_batches_equals_running_accumulation(batch):
    torch.manual_seed(0)
    model = Normed()
    workload = extract(model, batch[0][:1])
    start = {layer.name: Precision(4, 4) for layer in workload.multiply_layers}
    quantised = insert_quantizers(model, workload, start, quantizers)
    recorder = BitGradientRecorder(quantised, own_width=True)
    shadow = quantised.layers["second"].shadow
    seen = []
    for scale in (1.0, 2.0, 5.0):
        model.zero_grad()
        nn.functional.cross_entropy(model(batch[0] * scale), batch[1]).backward()
        recorder.close_batch()
        step = max_step(shadow.detach(), symmetric_codes(4))
        seen.append(float(bit_gradients(shadow.grad, step, 4).square().mean().sqrt()))
    assert len(set(seen)) == 3
    assert recorder.scores.batches == 3
    assert recorder.scores.mean("weights", "second") == pytest.approx(sum(seen) / 3, rel=1e-5)


def test_reset_starts_a_new_interval(batch):
    recorder = scored(Normed(), batch)[0]
    recorder.reset()
    assert recorder.scores.batches == 0
    assert recorder.scores.mean("weights", "first") == 0


def test_warm_up_batches_are_not_kept(batch):
    torch.manual_seed(0)
    recorder, quantised, _ = scored(Normed(), batch)
    before = dict(recorder.scores.weights)
    nn.functional.cross_entropy(quantised.module(batch[0]), batch[1]).backward()
    recorder.close_batch(keep=False)
    assert recorder.scores.weights == before
    assert recorder.scores.batches == 1


def test_at_a_common_width_the_score_does_not_depend_on_the_width_in_force(batch):
    # One linear layer under a linear loss: the gradient is the same at every width.
    found = {}
    for own in (True, False):
        for bits in (2, 8):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(6, 3, bias=False))
            workload = extract(model, batch[0][:1])
            quantised = insert_quantizers(model, workload, {"0": Precision(bits, 8)}, quantizers)
            recorder = BitGradientRecorder(quantised, own_width=own)
            model(batch[0]).sum().backward()
            recorder.close_batch()
            found[own, bits] = recorder.scores.mean("weights", "0")
    assert found[False, 2] == pytest.approx(found[False, 8], rel=1e-5)
    # By definition the score falls with the width, by about sqrt(8 / 2) = 2 at these ends.
    assert found[True, 2] > 1.5 * found[True, 8]


def test_missing_bits():
    assert missing(2, 4, "missing_bits") == 2
    assert missing(2, 4, "step") == pytest.approx(1 / 3 - 1 / 15)
    assert missing(4, 4, "step") == 0


def test_table_multiplies_scores_by_missing_bits(batch):
    torch.manual_seed(0)
    recorder, quantised, workload = scored(Normed(), batch)
    columns = [Precision(2, 4), Precision(4, 2), Precision(4, 4)]
    counting = ScoreOptions(law="missing_bits")
    table = table_from_scores(recorder.scores, quantised, workload, columns, counting)
    weight = recorder.scores.mean("weights", "first")
    activation = recorder.scores.mean("activations", "first")
    assert table.layers == ("first", "second")
    np.testing.assert_allclose(table.row("first"), [2 * weight, 2 * activation, 0])
    weighted = table_from_scores(
        recorder.scores,
        quantised,
        workload,
        columns,
        ScoreOptions(law="missing_bits", size_weight="elements", activation_weight=0),
    )
    np.testing.assert_allclose(weighted.row("first"), [2 * weight * 48, 0, 0])


def test_activation_score_does_not_depend_on_how_often_a_batch_is_repeated_beyond_noise(batch):
    torch.manual_seed(0)
    model = Normed()
    single = scored(model, batch)[0].scores.mean("activations", "second")
    torch.manual_seed(0)
    doubled = (batch[0].repeat(4, 1), batch[1].repeat(4))
    repeated = scored(Normed(), doubled)[0].scores.mean("activations", "second")
    # Four copies of each sample: gradients of the mean loss are a quarter, four times as many.
    assert repeated == pytest.approx(single / 2, rel=1e-3)


def test_metric_leaves_the_network_alone_and_repeats_itself(batch):
    torch.manual_seed(0)
    model = Normed().train()
    workload = extract(model, batch[0][:1])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    columns = [Precision(2, 2), Precision(8, 8)]
    first = BitGradient().measure(model, workload, [batch], columns)
    second = BitGradient().measure(model, workload, [batch], columns)
    np.testing.assert_array_equal(first.values, second.values)
    assert (first.values[:, 0] > 0).all()
    assert (first.values[:, 1] == 0).all()
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_both_laws_allocate_alike_where_there_are_two_widths(batch):
    torch.manual_seed(0)
    recorder, quantised, workload = scored(Normed(), batch)
    columns = [Precision(w, a) for w in (2, 4) for a in (2, 4)]
    values = [
        table_from_scores(
            recorder.scores, quantised, workload, columns, ScoreOptions(law=law)
        ).values
        for law in ("missing_bits", "step")
    ]
    np.testing.assert_allclose(values[1], values[0] * (1 / 3 - 1 / 15) / 2)

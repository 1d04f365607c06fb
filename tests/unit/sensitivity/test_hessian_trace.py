from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from hwmpq.errors import TrainingError, UnsupportedError
from hwmpq.precision import Precision, precisions
from hwmpq.sensitivity.hessian_trace import HessianTrace
from hwmpq.sensitivity.hutchinson import RunningMean, curvature, rademacher
from hwmpq.workload.from_torch import extract


class Tiny(nn.Module):
    """23 parameters, trained a little so that the loss curves upwards."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 4, bias=False)
        self.second = nn.Linear(4, 3)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


@pytest.fixture
def batch():
    inputs = torch.randn(12, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0.5)


@pytest.fixture
def tiny(batch):
    torch.manual_seed(3)
    model = Tiny().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()
    return model


def exact_hessian(model, batch, name):
    """The Hessian block of one parameter by brute force."""
    parameters = {key: value.detach() for key, value in model.named_parameters()}

    def loss(weight):
        outputs = torch.func.functional_call(model, {**parameters, name: weight}, (batch[0],))
        return nn.functional.cross_entropy(outputs, batch[1])

    elements = parameters[name].numel()
    hessian = torch.autograd.functional.hessian(loss, parameters[name])
    return hessian.reshape(elements, elements)


def weight_and_gradient(model, batch, name):
    weight = dict(model.named_parameters())[name]
    loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
    return weight, torch.autograd.grad(loss, weight, create_graph=True)[0]


@pytest.mark.parametrize("name", ["first.weight", "second.weight"])
def test_curvature_along_basis_vectors_is_the_diagonal(tiny, batch, name):
    weight, gradient = weight_and_gradient(tiny, batch, name)
    basis = torch.eye(weight.numel(), dtype=torch.float64)
    found = [curvature(gradient, weight, row.reshape(weight.shape)) for row in basis]
    expected = exact_hessian(tiny, batch, name).diagonal().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-14)


def test_mean_over_all_sign_vectors_is_the_trace(tiny, batch):
    # The expectation over Rademacher probes, taken exactly: all 2^8 sign vectors.
    weight, gradient = weight_and_gradient(tiny, batch, "first.weight")
    signs = itertools.product((-1.0, 1.0), repeat=weight.numel())
    found = [
        curvature(gradient, weight, torch.tensor(s, dtype=torch.float64).reshape(weight.shape))
        for s in signs
    ]
    expected = float(exact_hessian(tiny, batch, "first.weight").trace())
    assert np.mean(found) == pytest.approx(expected, rel=1e-9)


def test_estimated_traces_are_near_the_exact_ones(tiny, batch):
    workload = extract(tiny.float(), batch[0][:1].float())
    tiny.double()
    metric = HessianTrace(tolerance=0.0, most_probes=400)
    found = metric.weight_traces(tiny, workload, [batch])
    for name, trace in found.items():
        exact = float(exact_hessian(tiny, batch, f"{name}.weight").trace())
        assert trace.count == 400
        assert trace.mean == pytest.approx(exact, rel=0.1)
        assert abs(trace.mean - exact) < 4 * trace.standard_error


def test_several_batches_weigh_by_their_samples(tiny, batch):
    workload = extract(tiny.float(), batch[0][:1].float())
    tiny.double()
    split = [(batch[0][:2], batch[1][:2]), (batch[0][2:], batch[1][2:])]
    metric = HessianTrace(tolerance=0.0, most_probes=400)
    whole = float(exact_hessian(tiny, batch, "first.weight").trace())
    found = metric.weight_traces(tiny, workload, split)["first"]
    assert found.mean == pytest.approx(whole, rel=0.1)
    first = float(exact_hessian(tiny, split[0], "first.weight").trace())
    assert abs(first - whole) > 0.3 * abs(whole)


class Quadratic(nn.Module):
    """Two classes with logits ``(w . x, 0)``, for which the Hessian is known in closed form."""

    def __init__(self, weight) -> None:
        super().__init__()
        self.fc = nn.Linear(len(weight), 1, bias=False)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([weight]))

    def forward(self, x):
        score = self.fc(x)
        return torch.cat([score, torch.zeros_like(score)], dim=1)


def test_table_equals_the_closed_form_of_logistic_regression():
    # The loss log(1 + exp(-w.x)) of class 0 has Hessian p (1 - p) x x^T by w and p (1 - p) w w^T
    # by x. With one nonzero entry in x and in w, one probe gives the trace exactly.
    weight, x = [0.0, 2.0], torch.tensor([[3.0, 0.0], [1.0, 0.0]])
    model = Quadratic(weight)
    workload = extract(model, x[:1])
    columns = [Precision(2, 2), Precision(2, 3), Precision(3, 2)]
    metric = HessianTrace(most_probes=4)
    table = metric.measure(model, workload, [(x, torch.tensor([0, 0]))], columns)
    # w.x = 0, so p (1 - p) = 1/4. Weights [0, 2] lie on every grid: no error. Inputs are signed
    # with the largest magnitude 3: at 2 bits codes -1..1, so 1 -> 0; at 3 bits (step 1) exact.
    trace_activations = 0.25 * 2.0**2
    at_two_bits = (0.0 + 1.0) / 2  # squared error a sample
    np.testing.assert_allclose(
        table.values,
        [[trace_activations / 2 * at_two_bits, 0, trace_activations / 2 * at_two_bits]],
    )


def test_weight_part_equals_the_closed_form_of_logistic_regression():
    weight, x = [0.5, 2.0], torch.tensor([[0.0, 3.0]])
    model = Quadratic(weight)
    workload = extract(model, x)
    metric = HessianTrace(most_probes=4, activation_weight=0.0)
    table = metric.measure(model, workload, [(x, torch.tensor([0]))], [Precision(2, 8)])
    p = 1 / (1 + np.exp(-6.0))
    # Grid {-2, 0, 2}: 0.5 -> 0, an error of 0.25; mean trace p (1 - p) 9 / 2.
    assert table.values[0, 0] == pytest.approx(p * (1 - p) * 9 / 2 * 0.25, rel=1e-4)


def test_running_mean_settles_by_its_standard_error():
    seen = RunningMean()
    for value in (1.0, 3.0, 2.0, 2.0):
        assert not seen.settled(10.0)
        seen.add(value)
    assert seen.mean == 2
    assert seen.standard_error == pytest.approx(np.std([1, 3, 2, 2], ddof=1) / 2)
    assert seen.settled(0.21)
    assert not seen.settled(0.2)


def test_negative_traces_settle_by_their_magnitude():
    seen = RunningMean()
    for value in (-1.0, -1.0, -1.1, -0.9):
        seen.add(value)
    assert seen.settled(0.1)


def test_probing_stops_once_the_tolerance_is_met(tiny, batch):
    workload = extract(tiny.float(), batch[0][:1].float())
    counts = {}
    for tolerance in (0.5, 0.1):
        metric = HessianTrace(tolerance=tolerance, most_probes=200)
        found = metric.weight_traces(tiny.double(), workload, [batch])
        assert all(t.standard_error <= tolerance * abs(t.mean) for t in found.values())
        counts[tolerance] = found["second"].count
    assert 4 <= counts[0.5] < counts[0.1] < 200


def test_rademacher_probes_are_signs_with_zero_mean():
    signs = rademacher(torch.zeros(100, 100), torch.Generator().manual_seed(0))
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 0.03


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2, bias=False)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(x) + 0 * self.unused(x).detach()


def test_a_layer_that_the_loss_does_not_reach_scores_zero(batch):
    torch.manual_seed(0)
    model, inputs = Linear(), batch[0].float()
    workload = extract(model, inputs[:1])
    table = HessianTrace().measure(
        model, workload, [(inputs, batch[1] % 2)], precisions([2, 8], [2, 8])
    )
    assert np.all(table.row("unused") == 0)
    assert np.all(table.row("fc") > 0)


class Concave(nn.Module):
    """A loss that curves downwards: the score of the right class is a square."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[0.5, 0.2]]))

    def forward(self, x):
        score = 5 * self.fc(x).square()
        return torch.cat([score, torch.zeros_like(score)], dim=1)


def test_a_negative_trace_counts_as_zero_and_is_told():
    model, x = Concave(), torch.tensor([[0.3, 0.1]])
    workload = extract(model, x)
    data = [(x, torch.tensor([0]))]
    metric = HessianTrace()
    assert metric.weight_traces(model, workload, data)["fc"].mean < 0
    table = metric.measure(model, workload, data, [Precision(2, 2)])
    assert table.values[0, 0] == 0
    assert table.meta["negative_traces"] == "activations of fc, weights of fc"


def test_an_operator_without_second_derivative_is_named():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, x):
            return x.clone()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(_ctx, gradient):
            return gradient

    class Stopped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            y = self.fc(x)
            return y if torch.compiler.is_exporting() else Once.apply(y)

    model, x = Stopped(), torch.ones(1, 2)
    workload = extract(model, x)
    with pytest.raises(UnsupportedError, match=r"second derivatives.*fisher"):
        HessianTrace().measure(model, workload, [(x, torch.tensor([0]))], [Precision(4, 4)])


def test_loss_that_is_no_number_is_refused(tiny, batch):
    workload = extract(tiny.float(), batch[0][:1].float())
    inputs = torch.full((2, 2), float("nan"))
    with pytest.raises(TrainingError, match="nan"):
        HessianTrace().measure(tiny, workload, [(inputs, batch[1][:2])], [Precision(4, 4)])

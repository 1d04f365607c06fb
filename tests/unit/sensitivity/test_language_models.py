"""Every metric on the shapes of BERT and Llama: tables, masks, shared key heads, tied heads."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from hwmpq import registry
from hwmpq.models.bert import Bert
from hwmpq.models.llama import Llama
from hwmpq.precision import Precision
from hwmpq.workload.from_torch import extract

COLUMNS = (Precision(2, 2), Precision(2, 8), Precision(8, 2), Precision(8, 8))


def bert():
    return Bert(width=16, heads=2, depth=1, vocabulary=20)


def llama():
    return Llama(width=16, heads=4, shared_heads=2, hidden=24, depth=1, vocabulary=20, tied=True)


@pytest.mark.parametrize("name", registry.entries("metric"))
@pytest.mark.parametrize("make", [bert, llama])
def test_language_models_are_measured(make, name):
    torch.manual_seed(0)
    model = make().eval()
    tokens = torch.randint(0, 20, (8, 5), generator=torch.Generator().manual_seed(1))
    # BERT answers one vector a sample, Llama the scores of its next token.
    labels = tokens[:, :1] % 16 if make is llama else tokens[:, 0] % 16
    workload = extract(model, tokens[:1])
    found = registry.resolve("metric", name)
    small = {"batches": 1, "batch_size": 8, "samples": 8, "most_probes": 4}
    known = {field.name for field in fields(found)}
    metric = replace(found, **{key: value for key, value in small.items() if key in known})
    table = metric.measure(model, workload, [(tokens, labels)], COLUMNS)
    names = {layer.name for layer in workload.multiply_layers}
    assert set(table.layers) == names
    assert {name.rpartition(".")[2] for name in names} >= {"qk", "av"}
    assert np.all(np.isfinite(table.values))
    assert np.all(table.values >= 0)
    flat = table.meta.get("negative_traces", "")
    for layer in table.layers:
        if layer not in flat:
            assert table.at(layer, COLUMNS[0]) > table.at(layer, COLUMNS[-1]), layer

"""Writes torch.json: values and gradients of ops in float64 PyTorch 2.15. Run: python make_torch.py"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)

normal = torch.randn
wide = lambda *shape: 4 * torch.randn(*shape)
positive = lambda *shape: torch.rand(*shape) + 0.1
ids = lambda high, *shape: torch.randint(high, shape)
nearest32 = lambda x: float(torch.tensor(x, dtype=torch.float32))  # graphs hold their scalars in float32

CASES = {
    "gelu": (lambda x: F.gelu(x), dict(x=wide(3, 7))),
    "geluTanh": (lambda x: F.gelu(x, approximate="tanh"), dict(x=wide(3, 7))),
    "silu": (F.silu, dict(x=wide(3, 7))),
    "quickGelu": (lambda x: x * torch.sigmoid(nearest32(1.702) * x), dict(x=wide(3, 7))),
    "tanh": (torch.tanh, dict(x=wide(3, 7))),
    "sigmoid": (torch.sigmoid, dict(x=wide(3, 7))),
    "relu": (torch.relu, dict(x=wide(3, 7))),
    "erf": (torch.erf, dict(x=normal(3, 7))),
    "log": (torch.log, dict(x=positive(3, 7))),
    "softmax": (lambda x: F.softmax(x, -1), dict(x=wide(2, 3, 5))),
    "layerNorm": (lambda x, gain, bias: F.layer_norm(x, (6,), gain, bias, 1e-5), dict(x=normal(2, 3, 6), gain=normal(6), bias=normal(6))),
    "rmsNorm": (lambda x, gain: F.rms_norm(x, (6,), gain, 1e-6), dict(x=normal(2, 3, 6), gain=normal(6))),
    "norm2": (lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True), dict(x=normal(4, 5))),
    "crossEntropy": (lambda x, labels: F.cross_entropy(x, labels.flatten()), dict(x=wide(5, 7), labels=ids(7, 5, 1))),
    "maskedAttention": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        dict(q=normal(2, 3, 4, 5), k=normal(2, 3, 4, 5), v=normal(2, 3, 4, 5)),
    ),
    "linear": (lambda x, w, b: F.linear(x, w, b), dict(x=normal(3, 4), w=normal(5, 4), b=normal(5))),
    "embedding": (lambda table, rows: F.embedding(rows, table), dict(table=normal(6, 3), rows=ids(6, 2, 5))),
    "indexAdd": (lambda base, rows, updates: base.index_add(0, rows.flatten(), updates), dict(base=normal(4, 3), rows=ids(4, 7, 1), updates=normal(7, 3))),
    "scatterAdd": (lambda base, at, updates: base.scatter_add(-1, at, updates), dict(base=normal(3, 5), at=ids(5, 3, 4), updates=normal(3, 4))),
    "logSumExp": (lambda x: torch.logsumexp(x, -1, keepdim=True), dict(x=wide(3, 5))),
}


def packed(x):
    return {"shape": list(x.shape), "integers": not x.is_floating_point(), "data": x.detach().flatten().tolist()}


records = []
for name, (function, inputs) in CASES.items():
    floats = {key: x.requires_grad_() for key, x in inputs.items() if x.is_floating_point()}
    y = function(*inputs.values())
    dy = torch.randn(y.shape)
    gradients = torch.autograd.grad(y, list(floats.values()), dy)
    records.append(
        {
            "name": name,
            "inputs": {key: packed(x) for key, x in inputs.items()},
            "y": packed(y),
            "dy": packed(dy),
            "gradients": {key: packed(g)["data"] for key, g in zip(floats, gradients)},
        }
    )

lines = ",\n".join(json.dumps(record) for record in records)
Path(__file__).with_name("torch.json").write_text(f"[\n{lines}\n]\n")

"""LoftQ's first branch by PEFT's own decomposition: python test/precision/make_loftq.py (needs peft, safetensors, torch).

PEFT's loftq_init quantises by bitsandbytes on a GPU; here NF4's nearest values in blocks do the same on any machine.
"""

import json, os
import numpy as np, torch
from peft.utils.loftq_utils import _low_rank_decomposition
from safetensors.numpy import load_file

HERE = os.path.dirname(os.path.abspath(__file__))
NF4 = np.array([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0], np.float32)

weights = load_file(os.path.join(HERE, "../goldens/cases/llama-untied-patterns/model/model.safetensors"))
out = {}
for name in ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj"):
    weight = weights[f"{name}.weight"].astype(np.float32)
    block = next(b for b in (64, 32, 16) if weight.shape[1] % b == 0)
    rows = weight.reshape(-1, block)
    scale = np.abs(rows).max(1, keepdims=True)
    held = (NF4[np.abs((rows / scale)[..., None] - NF4).argmin(-1)] * scale).reshape(weight.shape)
    found = _low_rank_decomposition(torch.from_numpy(weight - held), reduced_rank=4)
    out[name] = dict(shape=list(weight.shape), product=[round(float(x), 8) for x in (found["L"] @ found["R"]).flatten()])
json.dump(out, open(os.path.join(HERE, "loftq.json"), "w"))

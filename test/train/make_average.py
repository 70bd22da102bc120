"""Writes average.json: a tensor after each of some steps, and what diffusers 0.42.1's EMAModel keeps of it.
Run: python make_average.py"""

import json
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel

generator = torch.Generator().manual_seed(3)
parameter = torch.nn.Parameter(torch.randn(4, generator=generator))
average = EMAModel([parameter], decay=0.6)
start = parameter.detach().tolist()
steps = []
for _ in range(20):
    with torch.no_grad():
        parameter.add_(0.3 * torch.randn(4, generator=generator))
    average.step([parameter])
    steps.append({"values": parameter.detach().tolist(), "average": average.shadow_params[0].tolist()})
text = json.dumps({"decay": 0.6, "start": start, "steps": steps})
(Path(__file__).parent / "average.json").write_text(text + "\n")

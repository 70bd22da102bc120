"""Writes constants.json: transformers' schedules and PyTorch's AdamW, for the tests beside this file.

    python make-constants.py
"""
import json, math, pathlib
import torch
from transformers import get_scheduler

schedules = []
for name, warmup, total in [("constant", 0, 6), ("constant_with_warmup", 3, 8), ("linear", 0, 7), ("linear", 3, 10), ("cosine", 0, 7), ("cosine", 4, 12), ("linear", 5, 5), ("cosine", 9, 6)]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    factors = []
    for _ in range(total):
        factors.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    schedules.append({"name": name.replace("_with_warmup", ""), "warmup": warmup, "total": total, "factors": factors})

torch.manual_seed(7)
shapes = {"a": [3, 4], "b": [5]}
parameters = {k: torch.nn.Parameter(torch.randn(s)) for k, s in shapes.items()}
start = {k: v.detach().flatten().tolist() for k, v in parameters.items()}
settings = {"betas": [0.9, 0.98], "eps": 1e-7, "weightDecay": 0.03, "maxGradNorm": 1.5}
optimizer = torch.optim.AdamW(parameters.values(), lr=1.0, betas=settings["betas"], eps=settings["eps"], weight_decay=settings["weightDecay"])
steps = []
for step in range(8):
    rate = 0.02 / (1 + step)
    gradients = {k: torch.randn(s) * 10 ** (-step % 3) for k, s in shapes.items()}
    for k, p in parameters.items():
        p.grad = gradients[k].clone()
    norm = float(torch.nn.utils.clip_grad_norm_(parameters.values(), settings["maxGradNorm"]))
    optimizer.param_groups[0]["lr"] = rate
    optimizer.step()
    steps.append({
        "rate": rate,
        "gradients": {k: g.flatten().tolist() for k, g in gradients.items()},
        "norm": norm,
        "after": {k: p.detach().flatten().tolist() for k, p in parameters.items()},
    })
out = pathlib.Path(__file__).with_name("constants.json")
out.write_text(json.dumps({"torch": torch.__version__, "schedules": schedules, "adamw": {"shapes": shapes, "start": start, "settings": settings, "steps": steps}}) + "\n")

"""Writes the small PyTorch files of torch-file.test.ts: python make_torch_files.py OUT"""
import sys
from collections import OrderedDict
from pathlib import Path

import torch

out = Path(sys.argv[1])
out.mkdir(exist_ok=True)
torch.manual_seed(0)

wte = torch.arange(12, dtype=torch.float32).reshape(4, 3) / 4
types = OrderedDict(
    (str(dtype).removeprefix("torch."), torch.tensor([[0, 1], [2, 100]]).to(dtype))
    for dtype in [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
)
state = OrderedDict({"wte.weight": wte, "lm_head.weight": wte, "row": wte[1], "scalar": torch.tensor(7.0), "empty": torch.zeros(0, 3)})
state.update(types)
torch.save(state, out / "state.bin")
torch.save(state, out / "legacy.bin", _use_new_zipfile_serialization=False)
torch.save({"model_state_dict": {"a": torch.nn.Parameter(wte)}, "epoch": 3, "name": "x", "lr": 0.5, "betas": (0.9, 0.999), "list": [1, None, True], "big": 2**70}, out / "wrapped.pt")
torch.save(torch.nn.Linear(3, 2).state_dict(), out / "module.pth")
torch.save({"turned": wte.t()}, out / "view.pt")
torch.save(torch.nn.Linear(3, 2), out / "object.pt")
torch.save({"a": wte}, out / "protocol4.pt", pickle_protocol=4)

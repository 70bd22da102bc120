"""Writes combined.json: two small adapters and what PEFT's add_weighted_adapter makes of them. python make_combined.py OUT"""
import json
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
torch.manual_seed(3)


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(7, 6)
        self.first = torch.nn.Linear(6, 5)
        self.second = torch.nn.Linear(5, 4)

    def forward(self, ids):
        return self.second(self.first(self.table(ids)))


def saved(model, name):
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, selected_adapters=[name], save_embedding_layers=False)
        at = Path(folder) / name
        config = json.loads((at / "adapter_config.json").read_text())
        tensors = load_file(at / "adapter_model.safetensors")
    return {"config": {k: v for k, v in config.items() if v}, "tensors": {k: v.tolist() for k, v in sorted(tensors.items())}}


targets = ["table", "first"], ["table", "first", "second"]
model = get_peft_model(Small(), LoraConfig(r=2, lora_alpha=3, target_modules=targets[0]), "a")
model.add_adapter("b", LoraConfig(r=2, lora_alpha=5, target_modules=targets[1]))
for name, parameter in model.named_parameters():
    if "lora_" in name:
        parameter.data = torch.round(torch.randn_like(parameter) * 64) / 64
result = {"a": saved(model, "a"), "b": saved(model, "b"), "weights": [0.7, -0.4], "density": 0.6, "combined": {}}
for kind in ["cat", "linear", "svd", "ties", "magnitude_prune", "ties_svd", "magnitude_prune_svd"]:
    for sign in ["total", "frequency"] if "ties" in kind else ["total"]:
        name = f"{kind} {sign}"
        density = result["density"] if "ties" in kind or "prune" in kind else None
        model.add_weighted_adapter(["a", "b"], result["weights"], name.replace(" ", "_"), combination_type=kind, density=density, majority_sign_method=sign)
        deltas = {}
        for module in ["table", "first", "second"]:
            layer = getattr(model.base_model.model, module)
            delta = layer.get_delta_weight(name.replace(" ", "_"))
            deltas[module] = (delta.T if module == "table" else delta).tolist()
        result["combined"][name] = deltas


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return {k: rounded(v) for k, v in value.items()} if isinstance(value, dict) else value


Path(sys.argv[1]).write_text(json.dumps(rounded(result), separators=(",", ":"), default=str) + "\n")

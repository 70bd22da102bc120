"""Writes files/: a loralib checkpoint, a GGUF adapter by gguf-py, and the updates that they stand for. python make_converted.py OUT"""
import json
import sys
from collections import OrderedDict
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F

out = Path(sys.argv[1])
out.mkdir(exist_ok=True)
torch.manual_seed(5)
updates = {}


def noise(*shape):
    return torch.round(torch.randn(*shape) * 32) / 32


# loralib: a fused layer of 3 slices with the first and last adapted (its zero_pad and grouped convolution), and a plain one.
r, alpha, width = 2, 6, 4
A, B = noise(2 * r, width), noise(2 * 5, r)
delta = F.conv1d(A.unsqueeze(0), B.unsqueeze(-1), groups=2).squeeze(0)
fused = torch.zeros(3, 5, width)
fused[[0, 2]] = delta.view(2, 5, width)
updates["c_attn"] = (fused.view(15, width) * alpha / r).tolist()
C, D = noise(r, 5), noise(3, r)
updates["query"] = (D @ C * alpha / r).tolist()
prefix = "module.transformer.h.0.attn."
state = OrderedDict({prefix + "c_attn.lora_A": A, prefix + "c_attn.lora_B": B, prefix + "query.lora_A": C, prefix + "query.lora_B": D, "module.transformer.ln_f.weight": noise(4)})
torch.save({"model_state_dict": state}, out / "loralib.pt")


# llama.cpp: rows of q and k as convert_hf_to_gguf.py orders them, on the update itself.
def permute(weights, heads):
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


writer = gguf.GGUFWriter(out / "llama.gguf", "llama")
writer.add_type("adapter")
writer.add_string("adapter.type", "lora")
writer.add_float32("adapter.lora.alpha", 3.0)
writer.add_array("general.tags", ["a", "b"])
heads, kv = 4, 2
for name, module, rows, n in [("attn_q", "self_attn.q_proj", 16, heads), ("attn_k", "self_attn.k_proj", 8, kv), ("ffn_down", "mlp.down_proj", 6, None)]:
    a, b = noise(2, 6).numpy(), noise(rows, 2).numpy()
    updates[f"model.layers.0.{module}"] = (1.5 * (b @ a)).tolist()
    writer.add_tensor(f"blk.0.{name}.weight.lora_a", a.astype(np.float16 if n is None else np.float32))
    writer.add_tensor(f"blk.0.{name}.weight.lora_b", b if n is None else permute(b, n))
table, b = noise(2, 9).numpy(), noise(6, 2).numpy()
updates["model.embed_tokens"] = (1.5 * (b @ table)).tolist()
writer.add_tensor("token_embd.weight.lora_a", np.ascontiguousarray(table.T))
writer.add_tensor("token_embd.weight.lora_b", b)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
(out / "updates.json").write_text(json.dumps(updates, separators=(",", ":")) + "\n")

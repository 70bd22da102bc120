"""PEFT's adapters that start from a part of the base, trained on the cases' models: make_starts.py CASES OUT."""
import json
import os
import sys
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

transformers.logging.set_verbosity_error()
cases, out = sys.argv[1:]
for name, case, options in [
    ("llama-pissa", "llama-gqa-tied", dict(init_lora_weights="pissa", target_modules=["q_proj", "down_proj"])),
    ("llama-olora", "llama-gqa-tied", dict(init_lora_weights="olora", target_modules=["q_proj", "down_proj"])),
    ("gpt2-pissa-rslora", "gpt2-c_attn", dict(init_lora_weights="pissa", target_modules=["c_attn"], fan_in_fan_out=True, use_rslora=True)),
]:
    folder, to = f"{cases}/{case}", f"{out}/{name}"
    kind = json.load(open(f"{folder}/model/config.json"))["architectures"][0]
    model = getattr(transformers, kind).from_pretrained(f"{folder}/model", dtype=torch.float32, attn_implementation="eager").eval()
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=6, **options)).eval()
    model.save_pretrained(f"{to}/init")
    rows = [json.loads(line) for line in open(f"{folder}/data.jsonl")]

    def collate(rows):
        longest = max(len(row["input_ids"]) for row in rows)
        pad = lambda values, fill: values + [fill] * (longest - len(values))
        return {
            "input_ids": torch.tensor([pad(row["input_ids"], 0) for row in rows]),
            "attention_mask": torch.tensor([pad([1] * len(row["input_ids"]), 0) for row in rows]),
            "labels": torch.tensor([pad(row["labels"], -100) for row in rows]),
        }

    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=5e-3, weight_decay=0.01)
    losses = []
    for step in range(6):
        loss = model(**collate(rows[2 * step : 2 * step + 2])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.save_pretrained(f"{to}/raw")
    model.save_pretrained(f"{to}/converted", path_initial_model_for_weight_conversion=f"{to}/init")
    with torch.no_grad():
        save_file({"trained.logits": model(**collate(rows[:2])).logits.contiguous()}, f"{to}/expected.safetensors")
    json.dump({"case": case, "losses": losses}, open(f"{to}/facts.json", "w"), indent=1)
    for part in ("init", "raw", "converted"):
        os.remove(f"{to}/{part}/README.md")

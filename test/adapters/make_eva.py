"""EVA's ranks and directions by PEFT itself: python test/adapters/make_eva.py (needs peft, transformers, torch)."""

import json, os
import torch
from peft import EvaConfig, LoraConfig, get_peft_model, initialize_lora_eva_weights
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
CASE = os.path.join(HERE, "../goldens/cases/llama-untied-patterns")
BATCH = 4
CASES = {
    "plain": dict(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"], eva=dict()),
    "patterns": dict(r=3, lora_alpha=6, rank_pattern={"down_proj": 5}, alpha_pattern={"v_proj": 3}, target_modules="all-linear",
                     eva=dict(rho=1.5, tau=0.95, use_label_mask=False, adjust_scaling_factors=False, whiten=True)),
    "dropped": dict(r=1, lora_alpha=2, target_modules="all-linear", eva=dict(rho=3.0, tau=0.9)),
}
rows = [json.loads(line) for line in open(os.path.join(CASE, "data.jsonl"))]


def batches():
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        longest = max(len(row["input_ids"]) for row in part)
        fill = lambda key, value: torch.tensor([row[key] + [value] * (longest - len(row[key])) for row in part])
        mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in part])
        yield dict(input_ids=fill("input_ids", 0), labels=fill("labels", -100), attention_mask=mask)


out = {}
for name, case in CASES.items():
    fields = dict(case)
    eva = fields.pop("eva")
    model = AutoModelForCausalLM.from_pretrained(os.path.join(CASE, "model"), dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", init_lora_weights="eva", eva_config=EvaConfig(**eva), **fields)
    model = get_peft_model(model, config)
    initialize_lora_eva_weights(model, list(batches()), show_progress_bar=False)
    found = model.peft_config["default"]
    start = "base_model.model."
    vectors = {
        key[len(start) : -len(".lora_A.default.weight")]: [[round(float(x), 7) for x in row] for row in tensor]
        for key, tensor in model.state_dict().items()
        if ".lora_A." in key
    }
    out[name] = dict(
        fields={**fields, "eva_config": eva},
        rank_pattern=found.rank_pattern,
        alpha_pattern=found.alpha_pattern,
        vectors=vectors,
    )
    print(name, {k: len(v) for k, v in vectors.items()})
json.dump(out, open(os.path.join(HERE, "eva.json"), "w"))

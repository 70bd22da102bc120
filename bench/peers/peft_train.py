"""LoRA training in PyTorch + PEFT on the rows and settings of bench/peers/train.mjs; prints a line a step and one JSON object.

usage: peft_train.py MODEL DATA TARGETS BATCH STEPS fp32|bf16|fp32-compiled|bf16-compiled THREADS [SEED ADAPTER_FOLDER]
Rows: {"input_ids", "labels"}, {"input_ids", "label"} (sequence classification) or {"prompt", "completion"}; in order, right-padded.
"""
import json
import resource
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

model_path, data, targets, batch_size, steps, precision, threads = sys.argv[1:8]
seed, adapter = sys.argv[8:10] if len(sys.argv) > 8 else ("0", None)
batch_size, steps = int(batch_size), int(steps)
torch.set_num_threads(int(threads))
torch.manual_seed(int(seed))
dtype = torch.bfloat16 if precision.startswith("bf16") else torch.float32
rows = [json.loads(line) for line in open(data)][: batch_size * steps]
classify = "label" in rows[0]
kind, task = (AutoModelForSequenceClassification, "SEQ_CLS") if classify else (AutoModelForCausalLM, "CAUSAL_LM")
model = kind.from_pretrained(model_path, dtype=dtype)
model.config.use_cache = False
pad_id = model.config.pad_token_id or 0
model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=targets.split(","), task_type=task))
model.train()
for module in model.modules():
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0

if "input_ids" not in rows[0]:
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    for row in rows:
        prompt = tokenizer(row["prompt"])["input_ids"]
        completion = tokenizer(row["completion"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        row["input_ids"], row["labels"] = prompt + completion, [-100] * len(prompt) + completion

compute = torch.compile(model) if precision.endswith("compiled") else model
trainable = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trainable, lr=1e-3, weight_decay=0.01)
speeds, losses = [], []
for step in range(steps):
    part = [rows[(step * batch_size + i) % len(rows)] for i in range(batch_size)]
    width = max(len(row["input_ids"]) for row in part)
    pad = lambda key, fill: torch.tensor([row[key] + [fill] * (width - len(row[key])) for row in part])
    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in part])
    begun = time.time()
    labels = torch.tensor([row["label"] for row in part]) if classify else pad("labels", -100)
    loss = compute(input_ids=pad("input_ids", pad_id), attention_mask=mask, labels=labels).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trainable, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    print('{"event": "step"}', flush=True)
    speeds.append(sum(len(row["input_ids"]) for row in part) / (time.time() - begun))
    losses.append(loss.item())
if adapter:
    model.save_pretrained(adapter)
speeds = sorted(speeds[1:])
print(json.dumps({
    "tokensPerSecond": speeds[len(speeds) // 2],
    "peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "lastLoss": losses[-1],
}))

"""Greedy generation in transformers for bench/peers/generate.mjs; prints one JSON object.

usage: hf_generate.py MODEL TOKENS REPEATS fp32|bf16 THREADS PROMPT
"""
import json
import resource
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model_path, tokens, repeats, precision, threads, prompt = sys.argv[1:7]
torch.set_num_threads(int(threads))
dtype = torch.bfloat16 if precision == "bf16" else torch.float32
model = AutoModelForCausalLM.from_pretrained(model_path, dtype=dtype).eval()
ids = AutoTokenizer.from_pretrained(model_path)(prompt, return_tensors="pt")


def timed(count):
    begun = time.time()
    with torch.no_grad():
        out = model.generate(**ids, max_new_tokens=count, min_new_tokens=count, do_sample=False)
    return time.time() - begun, out.shape[1] - ids["input_ids"].shape[1]


timed(4)
first, speeds = [], []
for _ in range(int(repeats)):
    one, _ = timed(1)
    all_, made = timed(int(tokens))
    first.append(1000 * one)
    speeds.append((made - 1) / (all_ - one))
print(json.dumps({
    "firstTokenMs": sorted(first),
    "tokensPerSecond": sorted(speeds),
    "peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))

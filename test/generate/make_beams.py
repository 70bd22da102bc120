"""Writes beams.json: what transformers' beam search gives on small models, for test/generate/beam.test.ts.

Run: python make_beams.py
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

HERE = Path(__file__).parent
CASES = HERE.parent / "goldens" / "cases"
PROMPT = [5, 17, 3, 39, 22, 8, 31]
SETTINGS = [
    {"beams": 4, "lengthPenalty": 1.0, "noRepeatNgram": 0, "end": None},
    {"beams": 10, "lengthPenalty": 0.8, "noRepeatNgram": 4, "end": None},
    {"beams": 3, "lengthPenalty": 0.0, "noRepeatNgram": 2, "end": None},
    {"beams": 10, "lengthPenalty": 0.8, "noRepeatNgram": 4, "end": 9},
    {"beams": 5, "lengthPenalty": 2.0, "noRepeatNgram": 0, "end": 12},
    {"beams": 5, "lengthPenalty": -1.0, "noRepeatNgram": 0, "end": 30},
]

results = []
for name in ["llama-gqa-tied", "gpt2-c_attn"]:
    model = AutoModelForCausalLM.from_pretrained(CASES / name / "model", dtype=torch.float32).eval()
    for i, setting in enumerate(SETTINGS):
        model.generation_config.eos_token_id = setting["end"]
        model.generation_config.pad_token_id = 0
        out = model.generate(
            torch.tensor([PROMPT]),
            attention_mask=torch.ones(1, len(PROMPT), dtype=torch.long),
            do_sample=False,
            max_new_tokens=20,
            num_beams=setting["beams"],
            length_penalty=setting["lengthPenalty"],
            no_repeat_ngram_size=setting["noRepeatNgram"],
            early_stopping=False,
            return_dict_in_generate=True,
            output_scores=True,
        )
        tokens = out.sequences[0, len(PROMPT) :].tolist()
        if setting["end"] in tokens:
            tokens = tokens[: tokens.index(setting["end"]) + 1]
        results.append({"model": name, **setting, "tokens": tokens})
(HERE / "beams.json").write_text(json.dumps({"prompt": PROMPT, "results": results}) + "\n")

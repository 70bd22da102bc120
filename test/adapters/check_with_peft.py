"""Loads adapters that lowrank wrote with PEFT and compares logits: check_with_peft.py CASES WRITTEN NAME..."""
import json
import os
import sys
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file

transformers.logging.set_verbosity_error()
cases, written, *names = sys.argv[1:]
failures = 0


def model_of(name):
    folder = f"{cases}/{name}/model"
    kind = json.load(open(f"{folder}/config.json"))["architectures"][0]
    return getattr(transformers, kind).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def batch_of(name):
    facts = json.load(open(f"{cases}/{name}/case.json"))
    rows = [json.loads(line)["input_ids"] for line in open(f"{cases}/{name}/data.jsonl")][: facts["batch_size"]]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return dict(input_ids=ids, attention_mask=mask), [len(row) for row in rows]


for name in names:
    batch, lengths = batch_of(name)
    with warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("always")
        logits = PeftModel.from_pretrained(model_of(name), f"{written}/{name}").eval()(**batch).logits
        PeftModel.from_pretrained(model_of(name), f"{written}/{name}.fresh")
    with warnings.catch_warnings(record=True) as own:
        warnings.simplefilter("always")
        PeftModel.from_pretrained(model_of(name), f"{cases}/{name}/trained")
    usual = {str(each.message) for each in own}
    told = [str(each.message)[:200] for each in caught if str(each.message) not in usual]
    expected = load_file(f"{cases}/{name}/expected.safetensors")["trained.logits"]
    worst = 0.0
    for row, length in enumerate(lengths):
        skipped = expected.shape[1] - max(lengths) if expected.dim() == 3 else 0
        pick = slice(None) if expected.dim() == 2 else slice(skipped, skipped + length)
        worst = max(worst, float((logits[row][pick] - expected[row][pick]).abs().max()))
    bad = worst > 5e-5 or told
    failures += bool(bad)
    print(f"{name}: {worst:.2g}" + (f" WARNS {told}" if told else ""), flush=True)
    config = [json.load(open(f"{folder}/adapter_config.json")) for folder in (f"{cases}/{name}/trained", f"{written}/{name}")]
    missing = [key for key in config[0] if key not in config[1]]
    more = [key for key in config[1] if key not in config[0]]
    if missing or more:
        failures += 1
        print(f"  fields missing {missing}, not PEFT's {more}")
print(f"{len(names) - failures} adapters agree" if not failures else f"{failures} adapters FAIL")

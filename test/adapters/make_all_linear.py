"""What PEFT targets with all-linear, and saves for a task, on the cases' models: make_all_linear.py CASES OUT."""
import json
import os
import sys
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")
import transformers
from peft import LoraConfig, get_peft_model
from safetensors import safe_open

transformers.logging.set_verbosity_error()
cases, out = sys.argv[1:]
TASKS = {"ForCausalLM": "CAUSAL_LM", "LMHeadModel": "CAUSAL_LM", "ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS"}
facts = {}
for name in ["gpt2-c_attn", "llama-gqa-tied", "phi3", "bert-seqcls", "bert-masked-lm", "roberta-seqcls", "roberta-masked-lm", "distilbert-masked-lm", "electra-seqcls", "electra-masked-lm", "deberta-v1-seqcls", "deberta-v3-style", "qwen2-seqcls"]:
    folder = f"{cases}/{name}/model"
    kind = json.load(open(f"{folder}/config.json"))["architectures"][0]
    task = next((value for end, value in TASKS.items() if kind.endswith(end)), None)
    model = get_peft_model(getattr(transformers, kind).from_pretrained(folder), LoraConfig(task_type=task, target_modules="all-linear"))
    names = {key.split(".lora_A")[0].removeprefix("base_model.model.") for key, _ in model.named_parameters() if ".lora_A." in key}
    facts[name] = {"task": task, "targets": sorted(names)}
json.dump(facts, open(out, "w"), indent=1)

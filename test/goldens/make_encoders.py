"""Golden cases of encoder models, computed by transformers and PEFT on tiny random models.

Usage: make_encoders.py OUT SEED [NAME...]. The cases in `cases/` are of seed 0; other seeds change the sizes too.
A case folder holds model/, adapter/, data.jsonl, case.json and expected.safetensors (logits of the base and with the
adapter, loss and every gradient of the first batch).
"""

import json
import os
import random
import sys

import peft
import torch
import transformers
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    DebertaConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

OUT, SEED = sys.argv[1], int(sys.argv[2])
ONLY = sys.argv[3:]
WIDTH, HEADS, LAYERS, INNER, VOCABULARY = (16, 2, 2, 24, 64) if SEED == 0 else (36, 6, 3, 80, 101)
BATCH = 2

SIZES = dict(
    vocab_size=VOCABULARY,
    hidden_size=WIDTH,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    intermediate_size=INNER,
    max_position_embeddings=80,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
DISTIL = dict(
    vocab_size=VOCABULARY,
    dim=WIDTH,
    n_layers=LAYERS,
    n_heads=HEADS,
    hidden_dim=INNER,
    max_position_embeddings=80,
    dropout=0.0,
    attention_dropout=0.0,
    seq_classif_dropout=0.0,
)
NARROW = dict(embedding_size=WIDTH // 2)

# Name: configuration, kind of head, PEFT's target modules, what is done to the saved checkpoint.
CASES = {
    "bert-masked-lm": (BertConfig(**SIZES), "mlm", ["query", "value"], "older"),
    "roberta-masked-lm": (RobertaConfig(**SIZES, type_vocab_size=1), "mlm", ["query", "value"], None),
    "xlm-roberta-tokencls": (XLMRobertaConfig(**SIZES, num_labels=4), "token", ["query", "key"], None),
    "distilbert-masked-lm": (DistilBertConfig(**DISTIL), "mlm", ["q_lin", "v_lin"], None),
    "distilbert-seqcls": (DistilBertConfig(**DISTIL, num_labels=3), "sequence", ["q_lin", "lin1"], None),
    "electra-masked-lm": (ElectraConfig(**SIZES, **NARROW), "mlm", ["query", "embeddings_project"], None),
    "electra-seqcls": (ElectraConfig(**SIZES, **NARROW, num_labels=3), "sequence", ["query", "value"], None),
    # Absolute positions, types and narrow embeddings beside distances that end at 6, by content alone.
    "deberta-v1-absolute": (
        DebertaConfig(
            **SIZES,
            **NARROW,
            relative_attention=True,
            max_relative_positions=6,
            pos_att_type="c2p",
            position_biased_input=True,
            type_vocab_size=2,
        ),
        "mlm",
        ["in_proj", "pos_proj"],
        None,
    ),
    # Projections of their own for distances without buckets, the newer masked-LM head.
    "deberta-v2-unshared": (
        DebertaV2Config(
            **SIZES,
            relative_attention=True,
            max_relative_positions=10,
            pos_att_type="p2c|c2p",
            position_biased_input=True,
            type_vocab_size=2,
            legacy=False,
        ),
        "mlm",
        ["query_proj", "pos_query_proj", "pos_key_proj"],
        None,
    ),
    # Every projection that the distances share, under buckets, and a wide convolution.
    "deberta-v2-wide-conv": (
        DebertaV2Config(
            **SIZES,
            relative_attention=True,
            position_buckets=8,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
            conv_kernel_size=5,
            conv_act="tanh",
            num_labels=4,
        ),
        "token",
        ["query_proj", "key_proj", "value_proj", "dense"],
        None,
    ),
    "bert-prompt-seqcls": (BertConfig(**SIZES, num_labels=3), "sequence", None, None),
    "bert-bias-all": (BertConfig(**SIZES, num_labels=3), "sequence", None, None),
    "deberta-v2-absolute": (
        DebertaV2Config(**SIZES, relative_attention=False, num_labels=1, problem_type="regression"),
        "sequence",
        ["query_proj", "dense"],
        None,
    ),
}
# Methods other than LoRA on targets alone.
SETTINGS = {
    "bert-prompt-seqcls": lambda: PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3),
    "bert-bias-all": lambda: LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["value"], bias="all"),
}
MODELS = {
    "mlm": AutoModelForMaskedLM,
    "token": AutoModelForTokenClassification,
    "sequence": AutoModelForSequenceClassification,
}
# PEFT's task type would save this head too, since "pre_classifier" ends in "classifier"; here it is said outright.
SAVED = {"distilbert-seqcls": ["pre_classifier", "classifier"]}
TASKS = {"mlm": None, "token": "TOKEN_CLS", "sequence": "SEQ_CLS"}


def rename_older(folder):
    """The spellings of checkpoints that were converted from TensorFlow."""
    path = f"{folder}/model.safetensors"
    tensors = load_file(path)
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    save_file(renamed, path, {"format": "pt"})


def make_row(kind, labels):
    ids = [random.randint(3, VOCABULARY - 1) for _ in range(random.randint(9, 24))]
    if kind == "mlm":
        return {"input_ids": ids, "labels": [t if random.random() < 0.4 else -100 for t in ids[:-1]] + [ids[-1]]}
    if kind == "token":
        return {"input_ids": ids, "labels": [-100] + [random.randrange(labels) for _ in ids[1:]]}
    return {"input_ids": ids, "label": round(random.uniform(-1, 1), 3) if labels == 1 else random.randrange(labels)}


def collate(rows, padding):
    longest = max(len(row["input_ids"]) for row in rows)
    padded = lambda values, fill: values + [fill] * (longest - len(values))
    return {
        "input_ids": torch.tensor([padded(row["input_ids"], padding) for row in rows]),
        "attention_mask": torch.tensor([padded([1] * len(row["input_ids"]), 0) for row in rows]),
        "labels": torch.tensor([row["label"] if "label" in row else padded(row["labels"], -100) for row in rows]),
    }


def make_case(name, config, kind, targets, change):
    torch.manual_seed(SEED * 1000 + len(name))
    random.seed(SEED + len(name))
    folder = f"{OUT}/{name}"
    os.makedirs(folder, exist_ok=True)

    model = MODELS[kind].from_config(config).float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.08)
    model.eval()
    model.save_pretrained(f"{folder}/model")
    if change == "older":
        rename_older(f"{folder}/model")

    rows = [make_row(kind, config.num_labels) for _ in range(BATCH)]
    with open(f"{folder}/data.jsonl", "w") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    batch = collate(rows, config.pad_token_id or 0)

    expected = {}
    with torch.no_grad():
        expected["base.logits"] = model(**batch).logits.contiguous()
    saved = SAVED.get(name)
    task = None if saved else TASKS[kind]
    lora = lambda: LoraConfig(task_type=task, r=4, lora_alpha=8, target_modules=targets, modules_to_save=saved)
    adapted = get_peft_model(model, SETTINGS.get(name, lora)())
    with torch.no_grad():
        for parameter_name, parameter in adapted.named_parameters():
            if "lora_B" in parameter_name:
                parameter.copy_(torch.randn_like(parameter) * 0.05)
    adapted.eval()
    adapted.save_pretrained(f"{folder}/adapter")
    output = adapted(**batch)
    output.loss.backward()
    expected["adapter.logits"] = output.logits.detach().contiguous()
    expected["adapter.loss"] = output.loss.detach().reshape(1)
    for parameter_name, parameter in adapted.named_parameters():
        if parameter.requires_grad and parameter.grad is not None:
            expected["grad." + parameter_name.replace(".default", "")] = parameter.grad.clone().contiguous()
    save_file(expected, f"{folder}/expected.safetensors")
    with open(f"{folder}/case.json", "w") as file:
        facts = {"name": name, "task": task, "peft": peft.__version__, "transformers": transformers.__version__}
        json.dump({**facts, "batch_size": BATCH, "steps": 0, "losses": [], "grad_norms": []}, file, indent=1)
    readme = f"{folder}/adapter/README.md"
    if os.path.exists(readme):
        os.remove(readme)
    print(name, output.loss.item(), flush=True)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    for case, (config, kind, targets, change) in CASES.items():
        if not ONLY or case in ONLY:
            make_case(case, config, kind, targets, change)

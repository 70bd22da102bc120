"""Losses, gradient norms, metrics and weights of TRL's preference trainers on a small model, beside this file.

python -m venv .trl && .trl/bin/pip install torch transformers peft trl && .trl/bin/python make_preferences.py
Made with trl 1.16.0, peft 0.21.2, transformers 5.24, torch 2.15.
"""

import json
import os
import shutil
from pathlib import Path

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

here = Path(__file__).parent
base = here.parent.parent / "goldens/cases/llama-gqa-tied/model"
STEPS, LR, BATCH = 4, 5e-3, 3


def tokenizer():
    size = json.loads((base / "config.json").read_text())["vocab_size"]
    words = {f"w{i}": i for i in range(size - 1)} | {"</s>": size - 1}
    plain = Tokenizer(models.WordLevel(words, unk_token="w0"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="</s>", pad_token="w0", unk_token="w0")


def words(generator, count, size):
    return " ".join(f"w{int(i)}" for i in torch.randint(1, size - 1, (count,), generator=generator))


def rows(size):
    g = torch.Generator().manual_seed(3)
    lengths = [(5, 4, 9), (2, 7, 2), (8, 1, 3), (3, 3, 3), (6, 10, 4), (4, 2, 6)]
    pairs = [
        {"prompt": words(g, p, size), "chosen": " " + words(g, c, size), "rejected": " " + words(g, r, size)}
        for p, c, r in lengths
    ]
    judged = [
        {"prompt": row["prompt"], "completion": row["chosen" if i % 2 else "rejected"], "label": bool(i % 2)}
        for i, row in enumerate(pairs)
    ]
    return pairs, judged


def fresh(scale):
    """An adapter with B zero, or far enough from it that the reference is not the base."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    for name, value in model.named_parameters():
        if "lora_B" in name and scale > 0:
            torch.nn.init.normal_(value.data, std=scale)
    return model


def run(name, make, start):
    trainer = make(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), start, is_trainable=True))
    model = trainer.model
    model.train()
    trained = [p for n, p in model.named_parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LR, weight_decay=0.0)
    batches = list(trainer.get_train_dataloader())
    steps = []
    for step in range(STEPS):
        batch = trainer._prepare_inputs(batches[step % len(batches)])
        trainer._metrics["train"].clear() if hasattr(trainer, "_metrics") else None
        stored = getattr(trainer, "_stored_metrics", None)
        if stored is not None:
            stored["train"].clear()
        optimizer.zero_grad()
        loss = trainer.compute_loss(model, batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        found = stored["train"] if stored is not None else trainer._metrics["train"]
        metrics = {key: float(values[-1]) for key, values in found.items() if key not in ("num_tokens",)}
        steps.append({"loss": loss.item(), "grad_norm": norm.item(), "metrics": metrics})
    weights = {n.replace(".default", ""): [float(f"{v:.8g}") for v in p.detach().flatten().tolist()] for n, p in model.named_parameters() if p.requires_grad}
    return {"name": name, "start": start.name, "steps": steps, "weights": weights}


def main():
    size = json.loads((base / "config.json").read_text())["vocab_size"]
    tokens = tokenizer()
    tokens.save_pretrained(here / "tokenizer")
    for extra in ("special_tokens_map.json",):
        (here / "tokenizer" / extra).unlink(missing_ok=True)
    pairs, judged = rows(size)
    for file, data in (("pairs.jsonl", pairs), ("judged.jsonl", judged)):
        (here / file).write_text("".join(json.dumps(row) + "\n" for row in data))
    for start, scale in (("zero", 0.0), ("moved", 0.2)):
        fresh(scale).save_pretrained(here / start)
        (here / start / "README.md").unlink(missing_ok=True)
        config = here / start / "adapter_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": None}, indent=2) + "\n")

    common = dict(
        output_dir="/tmp/trl-preferences", per_device_train_batch_size=BATCH, use_cpu=True, bf16=False, report_to=[],
        gradient_checkpointing=False, train_sampling_strategy="sequential", beta=0.3, max_length=64,
    )
    dpo = lambda **more: lambda model: DPOTrainer(
        model, args=DPOConfig(**common, **more), train_dataset=Dataset.from_list(pairs), processing_class=tokens)
    kto = lambda **more: lambda model: KTOTrainer(
        model, args=KTOConfig(**common, **more), train_dataset=Dataset.from_list(judged), processing_class=tokens)
    orpo = lambda **more: lambda model: ORPOTrainer(
        model, args=ORPOConfig(**common, **more), train_dataset=Dataset.from_list(pairs), processing_class=tokens)
    cases = [
        ("dpo", dpo(loss_type="sigmoid"), "zero"),
        ("dpo", dpo(loss_type="sigmoid"), "moved"),
        ("hinge", dpo(loss_type="hinge"), "zero"),
        ("ipo", dpo(loss_type="ipo"), "moved"),
        ("kto", kto(desirable_weight=1.5, undesirable_weight=0.75), "moved"),
        ("orpo", orpo(), "moved"),
    ]
    (here / "expected.json").write_text(json.dumps([run(name, make, here / start) for name, make, start in cases]) + "\n")
    shutil.rmtree("/tmp/trl-preferences", ignore_errors=True)


main()

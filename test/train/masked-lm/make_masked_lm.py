"""Whole-model training of masked language models by transformers and PyTorch, on small models, beside this file.

Usage: python make_masked_lm.py. Made with transformers 5.24 and torch 2.15. Writes NAME/model, NAME/expected.safetensors
(every gradient of the first step, every tensor after the last) and NAME/facts.json, and rows.jsonl for all of them.
"""

import json
import random
from pathlib import Path

import torch
import transformers as tf
from safetensors.torch import save_file

here = Path(__file__).parent
STEPS, BATCH, VOCABULARY, IGNORED = 4, 3, 29, -100
LR, BETAS, EPS, DECAY, CLIP = 3e-3, (0.9, 0.98), 1e-6, 0.01, 1.0

SIZES = dict(
    vocab_size=VOCABULARY,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    initializer_range=0.3,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
V3 = dict(
    relative_attention=True,
    position_buckets=4,
    norm_rel_ebd="layer_norm",
    share_att_key=True,
    pos_att_type="p2c|c2p",
    position_biased_input=False,
    type_vocab_size=0,
    max_position_embeddings=24,
    pad_token_id=0,
)
CASES = {
    "bert": lambda: tf.BertForMaskedLM(tf.BertConfig(**SIZES, max_position_embeddings=24, pad_token_id=0)),
    "roberta": lambda: tf.RobertaForMaskedLM(
        tf.RobertaConfig(**SIZES, max_position_embeddings=26, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2)
    ),
    "deberta-v3": lambda: tf.DebertaV2ForMaskedLM(tf.DebertaV2Config(**SIZES, **V3)),
    "deberta-v3-head": lambda: tf.DebertaV2ForMaskedLM(tf.DebertaV2Config(**SIZES, **V3, legacy=False)),
}


def rows():
    draw = random.Random(5)
    out = []
    for _ in range(BATCH * STEPS):
        ids = [draw.randrange(3, VOCABULARY) for _ in range(draw.randrange(5, 17))]
        labels = [IGNORED] * len(ids)
        for at in draw.sample(range(len(ids)), max(1, len(ids) // 4)):
            labels[at] = ids[at]
            ids[at] = VOCABULARY - 1 if draw.random() < 0.8 else draw.randrange(VOCABULARY)
        out.append({"input_ids": ids, "labels": labels})
    return out


def ours(name):
    """The tied bias under the name of the layer that adds it."""
    return {"lm_head.bias": "lm_head.decoder.bias", "cls.predictions.bias": "cls.predictions.decoder.bias"}.get(name, name)


data = rows()
(here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
for name, build in CASES.items():
    torch.manual_seed(2)
    model = build().eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(here / name / "model")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY)
    facts = {"losses": [], "gradNorms": []}
    tensors = {}
    for step in range(STEPS):
        batch = data[step * BATCH : (step + 1) * BATCH]
        longest = max(len(row["input_ids"]) for row in batch)
        pad = lambda values, fill: values + [fill] * (longest - len(values))
        fill = model.config.pad_token_id
        out = model(
            input_ids=torch.tensor([pad(row["input_ids"], fill) for row in batch]),
            attention_mask=torch.tensor([pad([1] * len(row["input_ids"]), 0) for row in batch]),
            labels=torch.tensor([pad(row["labels"], IGNORED) for row in batch]),
        )
        optimizer.zero_grad()
        out.loss.backward()
        if step == 0:
            tensors |= {f"grad.{ours(key)}": p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        facts["losses"].append(out.loss.item())
        facts["gradNorms"].append(norm.item())
    kept = {ours(key): p.detach().clone() for key, p in model.named_parameters()}
    tensors |= {f"trained.{key}": value for key, value in kept.items()}
    save_file(tensors, here / name / "expected.safetensors")
    facts |= {"batchSize": BATCH, "lr": LR, "betas": BETAS, "eps": EPS, "weightDecay": DECAY, "maxGradNorm": CLIP}
    (here / name / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")

"""Where transformers drops out, and at which rates: make_dropout.py CASES OUT.json, CASES the folder test/goldens/cases.

Dropout is made deterministic: every call multiplies by 1 + its rate. So the logits tell every place and every rate.
"""

import json
import sys
from pathlib import Path

import torch
import transformers as tf

CASES, OUT = Path(sys.argv[1]), sys.argv[2]
ENCODER = dict(hidden_dropout_prob=0.11, attention_probs_dropout_prob=0.23)
RATES = {
    "bert-seqcls": ENCODER,
    "bert-tokencls": {**ENCODER, "classifier_dropout": 0.37},
    "roberta-seqcls": {**ENCODER, "classifier_dropout": 0.37},
    "electra-seqcls": ENCODER,
    "distilbert-seqcls": dict(dropout=0.11, attention_dropout=0.23, seq_classif_dropout=0.37),
    "deberta-v1-seqcls": {**ENCODER, "pooler_dropout": 0.07, "cls_dropout": 0.37},
    "deberta-v2-xxl-style": {**ENCODER, "pooler_dropout": 0.07},
    "deberta-v2-wide-conv": ENCODER,
    "gpt2-c_attn": dict(embd_pdrop=0.11, attn_pdrop=0.23, resid_pdrop=0.07),
    "gpt-neox": dict(attention_dropout=0.23, hidden_dropout=0.11),
    "phi": dict(attention_dropout=0.23, embd_pdrop=0.11, resid_pdrop=0.07),
    "phi3": dict(attention_dropout=0.23, embd_pdrop=0.11, resid_pdrop=0.07),
    "llama-gqa-tied": dict(attention_dropout=0.23),
    "gemma2": dict(attention_dropout=0.23),
}


def scaled(x, p=0.5, training=True, inplace=False):
    return x * (1 + p) if training else x


torch.nn.functional.dropout = scaled
out = {}
for name, rates in RATES.items():
    config = tf.AutoConfig.from_pretrained(CASES / name / "model")
    for field, rate in rates.items():
        setattr(config, field, rate)
    model = getattr(tf, config.architectures[0]).from_pretrained(
        CASES / name / "model", config=config, attn_implementation="eager"
    )
    ids = json.loads((CASES / name / "data.jsonl").read_text().splitlines()[0])["input_ids"]
    with torch.no_grad():
        logits = model.float().train()(input_ids=torch.tensor([ids])).logits
    out[name] = {"rates": rates, "ids": ids, "logits": [round(value, 7) for value in logits[:, -1:].flatten().tolist()] if logits.dim() == 3 else logits.flatten().tolist()}
Path(OUT).write_text(json.dumps(out) + "\n")

"""Sentence embeddings and their losses by PyTorch, transformers and PEFT: make_pairs.py FIXTURES OUT, FIXTURES the folder
test/data/fixtures, whose BERT vocabulary the tiny model of OUT/model gets.

OUT/pairs.json: embeddings by every pooling, and what four AdamW steps of LoRA make of rows that are ranked and of rows with
scores, by sentence-transformers' formulas (MultipleNegativesRankingLoss at scale 20, CosineSimilarityLoss).
"""

import json
import random
import shutil
import sys
from pathlib import Path

import torch
import transformers as tf
from peft import LoraConfig, PeftModel, get_peft_model

FIXTURES, OUT = Path(sys.argv[1]), Path(sys.argv[2])
MODEL = OUT / "model"
MODEL.mkdir(parents=True, exist_ok=True)
for name in ("vocab.txt", "tokenizer_config.json"):
    shutil.copy(FIXTURES / "bert" / name, MODEL / name)
tokenizer = tf.BertTokenizer.from_pretrained(MODEL)
torch.manual_seed(3)
random.seed(3)
model = tf.BertModel(
    tf.BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, max_position_embeddings=32),
    add_pooling_layer=False,
)
with torch.no_grad():
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
model.eval().save_pretrained(MODEL)

WORDS = [word for word in tokenizer.get_vocab() if word.isalpha() and len(word) > 2]


def sentence():
    return " ".join(random.choices(WORDS, k=random.randint(2, 7)))


def hidden(net, texts):
    batch = tokenizer(texts, padding=True, truncation=True, max_length=32, return_tensors="pt")
    return net(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1).float()


def mean(net, texts):
    states, mask = hidden(net, texts)
    return (states * mask).sum(1) / mask.sum(1)


TEXTS = [sentence() for _ in range(5)]
states, mask = hidden(model, TEXTS)
last = mask.sum(1).long().squeeze(-1) - 1
weights = mask * torch.arange(1, mask.shape[1] + 1).view(1, -1, 1)
POOLED = {
    "mean_tokens": (states * mask).sum(1) / mask.sum(1),
    "cls_token": states[:, 0],
    "lasttoken": states[torch.arange(len(TEXTS)), last],
    "mean_sqrt_len_tokens": (states * mask).sum(1) / mask.sum(1).sqrt(),
    "weightedmean_tokens": (states * weights).sum(1) / weights.sum(1),
}

RANKED = [{"anchor": sentence(), "positive": sentence(), "negative": sentence()} for _ in range(12)]
SCORED = [{"sentence1": sentence(), "sentence2": sentence(), "score": round(random.uniform(-0.2, 1), 2)} for _ in range(12)]


def ranking(net, rows):
    unit = lambda key: torch.nn.functional.normalize(mean(net, [row[key] for row in rows]))
    scores = unit("anchor") @ torch.cat([unit("positive"), unit("negative")]).T * 20
    return torch.nn.functional.cross_entropy(scores, torch.arange(len(rows)))


def similarity(net, rows):
    cosines = torch.cosine_similarity(mean(net, [row["sentence1"] for row in rows]), mean(net, [row["sentence2"] for row in rows]))
    return torch.nn.functional.mse_loss(cosines, torch.tensor([row["score"] for row in rows]))


adapted = get_peft_model(model, LoraConfig(task_type="FEATURE_EXTRACTION", r=2, lora_alpha=4, target_modules=["query", "value", "output.dense"]))
with torch.no_grad():
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.copy_(torch.randn_like(parameter) * 0.1)
adapted.save_pretrained(OUT / "adapter")
(OUT / "adapter" / "README.md").unlink(missing_ok=True)


def train(rows, loss_of):
    net = PeftModel.from_pretrained(tf.BertModel.from_pretrained(MODEL, add_pooling_layer=False), OUT / "adapter", is_trainable=True).eval()
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    adamw = torch.optim.AdamW(parameters, lr=5e-3, weight_decay=0.01)
    losses, norms = [], []
    for step in range(4):
        loss = loss_of(net, rows[step * 3 : step * 3 + 3])
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, 1.0)))
        losses.append(loss.item())
        adamw.step()
        adamw.zero_grad()
    with torch.no_grad():
        embeddings = mean(net, TEXTS)
    return dict(rows=rows, losses=losses, norms=norms, embeddings=embeddings.flatten().tolist())


facts = dict(
    texts=TEXTS,
    pooled={name: vectors.detach().flatten().tolist() for name, vectors in POOLED.items()},
    ranked=train(RANKED, ranking),
    scored=train(SCORED, similarity),
)
(OUT / "pairs.json").write_text(json.dumps(facts) + "\n")

"""LoRA on a sentence classifier in PyTorch + PEFT, for bench/peers/classify.mjs; prints one JSON object.

usage: peft_classify.py MODEL TRAIN TEST FOLDER SEED BATCH STEPS
Writes FOLDER/init, the adapter that both start from, and FOLDER/theirs, the trained one. Dropout is off.
"""
import json
import sys

import torch
import transformers as tf
from peft import LoraConfig, get_peft_model

model_path, train, test, folder, seed, batch_size, steps = sys.argv[1:8]
batch_size, steps = int(batch_size), int(steps)
torch.set_num_threads(2)
torch.manual_seed(int(seed))
tf.logging.set_verbosity_error()
tokenizer = tf.AutoTokenizer.from_pretrained(model_path)
model = tf.AutoModelForSequenceClassification.from_pretrained(model_path, num_labels=3)
config = LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"])
model = get_peft_model(model, config).eval()  # no dropout
model.save_pretrained(f"{folder}/init")

rows = [json.loads(line) for line in open(train)]
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
adamw = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0)
schedule = tf.get_linear_schedule_with_warmup(adamw, 0, steps)


def run(some):
    batch = tokenizer([row["text"] for row in some], padding=True, truncation=True, max_length=128, return_tensors="pt")
    return model(**batch, labels=torch.tensor([row["label"] for row in some]))


losses = []
for step in range(steps):
    at = step * batch_size % len(rows)
    loss = run(rows[at : at + batch_size]).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    adamw.step()
    schedule.step()
    adamw.zero_grad()
    losses.append(loss.item())
model.save_pretrained(f"{folder}/theirs")
held = [json.loads(line) for line in open(test)]
right = 0
with torch.no_grad():
    for at in range(0, len(held), 50):
        some = held[at : at + 50]
        best = run(some).logits.argmax(-1)
        right += int((best == torch.tensor([row["label"] for row in some])).sum())
print(json.dumps({"losses": losses, "accuracy": right / len(held)}))

"""What scikit-learn and scipy say of random predictions: make_metrics.py OUT. Entities by conlleval's rules, in plain Python."""
import json
import random
import sys

import sklearn.metrics as metrics
from scipy import stats

random.seed(3)
out = {}
labels = [random.randrange(2) for _ in range(60)]
found = [label if random.random() < 0.7 else 1 - label for label in labels]
out["binary"] = dict(labels=labels, found=found, accuracy=metrics.accuracy_score(labels, found), f1=metrics.f1_score(labels, found), macro_f1=metrics.f1_score(labels, found, average="macro"), matthews_correlation=metrics.matthews_corrcoef(labels, found))
labels = [random.randrange(4) for _ in range(80)]
found = [label if random.random() < 0.5 else random.randrange(5) for label in labels]
out["multiclass"] = dict(labels=labels, found=found, accuracy=metrics.accuracy_score(labels, found), macro_f1=metrics.f1_score(labels, found, average="macro"), matthews_correlation=metrics.matthews_corrcoef(labels, found))
out["constant"] = dict(labels=[0, 1, 1], found=[0, 0, 0], accuracy=1 / 3, f1=metrics.f1_score([0, 1, 1], [0, 0, 0], zero_division=0), macro_f1=metrics.f1_score([0, 1, 1], [0, 0, 0], average="macro", zero_division=0), matthews_correlation=metrics.matthews_corrcoef([0, 1, 1], [0, 0, 0]))
values = [round(random.uniform(0, 5), 1) for _ in range(50)]
scores = [value + random.gauss(0, 1) for value in values]
out["regression"] = dict(values=values, scores=scores, mse=metrics.mean_squared_error(values, scores), pearson=stats.pearsonr(values, scores)[0], spearman=stats.spearmanr(values, scores)[0])
names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def spans(tags):
    """Entities as (type, from, to): an I- that continues nothing begins one, as in conlleval."""
    entities, start = set(), None
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if start is not None and (prefix != "I" or kind != start[0]):
            entities.add((start[0], start[1], i))
            start = None
        if prefix != "O" and start is None:
            start = (kind, i)
    return entities


sentences, counts = [], [0, 0, 0]
for _ in range(20):
    want = [random.choice([0, 0, 1, 2, 3, 4]) for _ in range(random.randrange(3, 12))]
    got = [tag if random.random() < 0.8 else random.randrange(5) for tag in want]
    sentences.append(dict(labels=want, found=got))
    a, b = spans([names[i] for i in want]), spans([names[i] for i in got])
    counts = [counts[0] + len(a & b), counts[1] + len(b), counts[2] + len(a)]
precision, recall = counts[0] / counts[1], counts[0] / counts[2]
flat = lambda key: [tag for each in sentences for tag in each[key]]
out["entities"] = dict(names=names, sentences=sentences, accuracy=metrics.accuracy_score(flat("labels"), flat("found")), entity_precision=precision, entity_recall=recall, entity_f1=2 * precision * recall / (precision + recall))
json.dump(out, open(sys.argv[1], "w"))

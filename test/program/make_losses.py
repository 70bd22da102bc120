"""What PyTorch computes for losses with smoothing and for several labels, and scikit-learn for their F1: make_losses.py OUT.json"""

import json
import sys

import sklearn.metrics as metrics
import torch

torch.manual_seed(5)
out = {}


def gradient(scores, loss):
    scores.grad = None
    loss.backward()
    return scores.grad.flatten().tolist()


scores = (torch.randn(5, 7) * 3).requires_grad_()
labels = torch.randint(0, 7, (5,))
loss = torch.nn.functional.cross_entropy(scores, labels, label_smoothing=0.15)
out["smoothed"] = dict(scores=scores.flatten().tolist(), labels=labels.tolist(), loss=loss.item(), gradient=gradient(scores, loss))

scores = (torch.randn(6, 4) * 4).requires_grad_()
hot = torch.randint(0, 2, (6, 4))
loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, hot.float())
found = (scores > 0).int().numpy()
out["several"] = dict(
    scores=scores.flatten().tolist(),
    labels=hot.tolist(),
    loss=loss.item(),
    gradient=gradient(scores, loss),
    accuracy=metrics.accuracy_score(hot.numpy(), found),
    microF1=metrics.f1_score(hot.numpy(), found, average="micro"),
    macroF1=metrics.f1_score(hot.numpy(), found, average="macro", zero_division=0),
)
json.dump(out, open(sys.argv[1], "w"))

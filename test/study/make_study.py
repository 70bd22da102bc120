"""NumPy's values for the rank study: python make_study.py > study.json"""
import json, sys
import numpy as np
rng = np.random.default_rng(3)
def phi(u1, u2, i, j): return float(np.linalg.norm(u1[:i] @ u2[:j].T, "fro") ** 2 / min(i, j))
def right(a): return np.linalg.svd(a, full_matrices=False)[2]
cases = []
for out, width, r1, r2, scale in [(7, 9, 2, 3, 2.0), (24, 16, 4, 8, 0.5), (12, 40, 6, 6, 1.0)]:
    W = rng.normal(size=(out, width)) * np.linspace(3, .1, width)
    A1, B1, A2 = rng.normal(size=(r1, width)), rng.normal(size=(out, r1)) * np.linspace(2, .2, r1), rng.normal(size=(r2, width))
    A2[0] = A1[0] + .3 * A2[0]
    A1, B1, A2, W = [np.asarray(np.asarray(m, np.float32), np.float64) for m in (A1, B1, A2, W)]
    D = scale * B1 @ A1
    s = np.linalg.svd(D, compute_uv=False)[:r1]
    u, _, vt = np.linalg.svd(D); wu, _, wvt = np.linalg.svd(W)
    p = s / s.sum()
    r = max(1, r1 - 1)
    inside = float(np.linalg.norm(u[:, :r].T @ W @ vt[:r].T))
    cases.append({"shape": [out, width], "scaling": scale, "W": W.ravel().tolist(), "A": A1.ravel().tolist(), "B": B1.ravel().tolist(), "r": r1,
                  "A2": A2.ravel().tolist(), "r2": r2, "directions": r,
                  "singularValues": s.tolist(), "effectiveRank": float(np.exp(-(p * np.log(p)).sum())), "stableRank": float((s**2).sum() / s[0]**2),
                  "phi": [[phi(right(A1), right(A2), i, j) for j in range(1, r2 + 1)] for i in range(1, r1 + 1)],
                  "weightNorm": float(np.linalg.norm(W)), "updateNorm": float(np.linalg.norm(D)), "inUpdate": inside,
                  "inWeight": float(np.linalg.norm(wu[:, :r].T @ W @ wvt[:r].T)), "factor": float(np.linalg.norm(D) / inside)})
json.dump(cases, sys.stdout)

"""Reference values of text metrics: python make_scores.py > scores.json
needs: pip install nltk pycocoevalcap sacrebleu, and pymteval.py of github.com/tuetschek/e2e-metrics (metrics/) beside the call's path."""
import json, os, random, sys
sys.path.insert(0, os.environ.get("E2E_METRICS", "."))
from nltk.stem.porter import PorterStemmer
from nltk.translate.meteor_score import meteor_score
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
import sacrebleu
from pymteval import BLEUScore, NISTScore

random.seed(7)  # outputs of fewer than five tokens are left out: pymteval counts negative numbers of n-grams there
here = os.path.dirname(os.path.abspath(__file__))
rows = [json.loads(line) for line in open(os.path.join(here, "../../../examples/quickstart/restaurants/valid.jsonl"))]
texts = [row["completion"] for row in rows]
EXTRA = ["It costs £1,234.50 (or so), doesn't it?", "A well-known 3-star place; rated 4.5 of 5!", "Prices: cheap/moderate & 20-25 \"pounds\".", "Families were welcomed, welcoming and friendly friends rating rated ratings."]

def perturbed(text):
    words = text.split(" ")
    for _ in range(random.randrange(4)):
        i = random.randrange(len(words))
        kind = random.randrange(4)
        if kind == 0 and len(words) > 2: del words[i]
        elif kind == 1: words.insert(i, random.choice(["really", "very", "rated", "priced", "restaurants"]))
        elif kind == 2: j = random.randrange(len(words)); words[i], words[j] = words[j], words[i]
        else: words[i] = words[i] + "s"
    return " ".join(words)

class NoSynonyms:
    def synsets(self, word): return []

def score(cases):
    bleu, nist = BLEUScore(), NISTScore()
    tokens = []
    for case in cases:
        bleu.append(case["text"], case["references"]); nist.append(case["text"], case["references"])
        tokens.append(([t.lower() for t in bleu.tokenize(case["text"])], [[t.lower() for t in bleu.tokenize(r)] for r in case["references"]]))
    gts = {i: [" ".join(r) for r in refs] for i, (_, refs) in enumerate(tokens)}
    res = {i: [" ".join(h)] for i, (h, _) in enumerate(tokens)}
    stem = PorterStemmer(PorterStemmer.MARTIN_EXTENSIONS)
    meteors = [meteor_score(refs, hyp, stemmer=stem, wordnet=NoSynonyms()) for hyp, refs in tokens]
    width = max(len(c["references"]) for c in cases)
    columns = [[(c["references"][i] if i < len(c["references"]) else None) for c in cases] for i in range(width)]
    sacre = sacrebleu.corpus_bleu([c["text"] for c in cases], columns, lowercase=True, tokenize="none" if False else "13a").score
    return {"bleu": 100 * bleu.score(), "sacrebleu": sacre, "nist": nist.score(), "meteor": sum(meteors) / len(meteors),
            "rougeL": float(Rouge().compute_score(gts, res)[0]), "cider": float(Cider().compute_score(gts, res)[0])}

def case(text, count): return {"text": perturbed(text), "references": [text] + [perturbed(random.choice(texts) if random.random() < .3 else text) for _ in range(count - 1)]}

sets = {
    "one reference": [case(t, 1) for t in texts[:12] + EXTRA],
    "several references": [case(t, random.randrange(1, 5)) for t in texts[:20] + EXTRA],
    "short outputs": [case(t, 2) for t in texts[20:30]] + [{"text": "It is cheap, good.", "references": texts[:2]}, {"text": "the the the the the the", "references": texts[2:4]}],
}
json.dump({name: {"texts": cases, "scores": score(cases)} for name, cases in sets.items()}, sys.stdout, indent=1, ensure_ascii=False)

"""Trains DeBERTa-v3's kind of tokenizer: SentencePiece's unigram model (Kudo 2018), as transformers' DebertaV2Tokenizer has it.

Usage: python unigram.py TRAIN.jsonl TOKENIZER.json VOCABULARY. Needs tokenizers 0.22 or newer.
"""

import json
import sys

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

rows, out, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
SPECIALS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]

tokenizer = Tokenizer(models.Unigram())
tokenizer.normalizer = normalizers.Sequence(
    [normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "), normalizers.NFC(), normalizers.Strip(left=False, right=True)]
)
tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")])
tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
tokenizer.post_processor = processors.TemplateProcessing(
    single="[CLS]:0 $A:0 [SEP]:0",
    pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
    special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
)
with open(rows, encoding="utf-8") as file:
    texts = [json.loads(line)["text"] for line in file]
tokenizer.train_from_iterator(
    texts,
    trainers.UnigramTrainer(vocab_size=size, special_tokens=SPECIALS, unk_token="[UNK]", show_progress=False),
)
described = json.loads(tokenizer.to_str())
vocabulary = described["model"]["vocab"]
# As in DeBERTa-v3's own file, the mask is the last token. Scores need no more digits than float32 has.
mask = vocabulary.pop(SPECIALS.index("[MASK]"))
vocabulary = [[piece, round(score, 5)] for piece, score in vocabulary] + [mask]
described["model"]["vocab"] = vocabulary
for token in described["added_tokens"]:
    token["id"] = next(i for i, (piece, _) in enumerate(vocabulary) if piece == token["content"])
assert len(vocabulary) == size, len(vocabulary)
with open(out, "w", encoding="utf-8") as file:
    json.dump(described, file, ensure_ascii=False, separators=(",", ":"))
    file.write("\n")
print(f"unigram: {len(vocabulary)} pieces, e.g. {[piece for piece, _ in vocabulary[5:15]]}")

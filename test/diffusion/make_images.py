"""Writes images.json: PNG files of every kind by Pillow with their pixels laid on white, Pillow's Lanczos resizing, and
what transformers 5.24's CLIP tokenizer makes of texts with pipelines/sd1/tokenizer. Run: python make_images.py"""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import CLIPTokenizer

random = np.random.default_rng(1)
noise = lambda *shape: random.integers(0, 256, shape, dtype=np.uint8)
HERE = Path(__file__).parent


def palette(transparent):
    image = Image.fromarray(noise(5, 7) % 6, "P")
    image.putpalette(noise(18).tobytes())
    return image, {"transparency": b"\x00\x80\xff"} if transparent else {}


IMAGES = {
    "grey": (Image.fromarray(noise(5, 7), "L"), {}),
    "grey and alpha": (Image.fromarray(noise(5, 7, 2), "LA"), {}),
    "rgb": (Image.fromarray(noise(6, 5, 3), "RGB"), {}),
    "rgba": (Image.fromarray(noise(6, 5, 4), "RGBA"), {}),
    "palette": palette(False),
    "palette with transparency": palette(True),
    "one bit": (Image.fromarray(noise(9, 11)).convert("1"), {}),
    "smooth": (Image.fromarray(np.add.outer(np.arange(40), np.arange(30) * 3).astype(np.uint8)).convert("RGB"), {"optimize": True}),
}


def png(image, options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    opened = Image.open(io.BytesIO(file.getvalue())).convert("RGBA")
    white = Image.new("RGBA", opened.size, (255, 255, 255, 255))
    pixels = Image.alpha_composite(white, opened).convert("RGB")
    return {"png": base64.b64encode(file.getvalue()).decode(), "width": image.width, "height": image.height,
            "pixels": base64.b64encode(pixels.tobytes()).decode()}


def resized(size, to):
    image = Image.fromarray(noise(size[1], size[0], 3), "RGB")
    return {"from": size, "to": to, "pixels": base64.b64encode(image.tobytes()).decode(),
            "resized": base64.b64encode(image.resize(to, Image.LANCZOS).tobytes()).decode()}


TEXTS = [
    "", "A red house, near the 2 trees!", "it's   the\n trees' HOUSE", "a!!! (b:1.3) 2024", "Ünïcode – «houses» 日本",
    "<|endoftext|> the", "the house and the tree " * 30, "x'll y've 'S", "e\u0301 \u00e9",
]
tokenizer = CLIPTokenizer.from_pretrained(str(HERE / "pipelines/sd1/tokenizer"))
encode = lambda text: tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids

result = {
    "images": {name: png(*made) for name, made in IMAGES.items()},
    "resized": [resized((12, 9), (7, 5)), resized((5, 6), (16, 8)), resized((30, 4), (3, 4))],
    "texts": [{"text": text, "ids": encode(text)} for text in TEXTS],
}
(HERE / "images.json").write_text(json.dumps(result) + "\n")

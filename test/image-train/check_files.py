"""Whether diffusers loads what `adapter convert` writes: the UNet and the text encoder of ../diffusion/pipelines/sd1 with
its LoRA (linear layers, convolutions, text encoder), as a kohya file and as a diffusers one, beside weights to which the
original file's updates were added by hand. Needs a build, torch, diffusers and PEFT. Run: python check_files.py"""

import subprocess
import tempfile
import warnings
from pathlib import Path

import torch

warnings.filterwarnings("ignore")
import transformers.utils.peft_utils as versions  # its demand for a newer PEFT is not about what is used here

versions.check_peft_version = lambda **_: None
import transformers.integrations.peft as integration

integration.check_peft_version = lambda *_, **__: None
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

HERE = Path(__file__).parent
MODEL = (HERE / "../diffusion/pipelines/sd1").resolve()
CLI = HERE / "../../dist/cli/main.js"


def pipeline():
    return StableDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float32, safety_checker=None)


def outputs(pipe):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 200, (2, 77), generator=generator)
    x = torch.randn(2, 4, 8, 8, generator=generator)
    with torch.no_grad():
        hidden = pipe.text_encoder(ids).last_hidden_state
        context = torch.randn(hidden.shape, generator=generator)
        return hidden, pipe.unet(x, torch.tensor([3, 700]), context).sample


def by_hand():
    pipe, lora, kinds = pipeline(), load_file(MODEL / "lora.safetensors"), {}
    for prefix, model in (("lora_unet_", pipe.unet), ("lora_te_", pipe.text_encoder)):
        for name, module in model.named_modules():
            spelled = name if prefix == "lora_unet_" or name.startswith("text_model") else f"text_model.{name}"
            key = prefix + spelled.replace(".", "_")
            if f"{key}.lora_up.weight" not in lora:
                continue
            up, down = lora[f"{key}.lora_up.weight"].float(), lora[f"{key}.lora_down.weight"].float()
            scale = float(lora[f"{key}.alpha"]) / down.shape[0] if f"{key}.alpha" in lora else 1
            with torch.no_grad():
                module.weight += scale * (up.flatten(1) @ down.flatten(1)).reshape(module.weight.shape)
            kind = f"{prefix}{type(module).__name__}{tuple(module.weight.shape[2:]) or ''}"
            kinds[kind] = kinds.get(kind, 0) + 1
    return pipe, kinds


merged, kinds = by_hand()
base, wanted = outputs(pipeline()), outputs(merged)
print("layers", kinds, "moved by", [float((a - b).abs().max()) for a, b in zip(base, wanted)])
with tempfile.TemporaryDirectory() as folder:
    pipe = pipeline()
    pipe.load_lora_weights(MODEL / "lora.safetensors")
    print("the original file, loaded by diffusers", [float((a - b).abs().max()) for a, b in zip(outputs(pipe), wanted)])
    for to, out in (("kohya", "lora.safetensors"), ("diffusers", "pytorch_lora_weights.safetensors")):
        path = Path(folder) / out
        subprocess.run(
            ["node", CLI, "adapter", "convert", MODEL / "lora.safetensors", "--to", to, "--model", MODEL, "--out", path],
            check=True, stdout=subprocess.DEVNULL,
        )
        pipe = pipeline()
        pipe.load_lora_weights(path)
        off = [float((a - b).abs().max()) for a, b in zip(outputs(pipe), wanted)]
        print(to, "largest difference of text encoder and UNet", off)

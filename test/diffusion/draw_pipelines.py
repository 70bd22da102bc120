"""Draws cases of pipelines/NAME with diffusers and prints the largest difference of a pixel to the images that
make_pipelines.py wrote, as JSON. usage: draw_pipelines.py NAME CASE FOLDER [LORA]
FOLDER is a diffusers folder (merged, or the base with LORA, a file that diffusers loads at the case's weight)."""

import json
import sys
import warnings
from pathlib import Path

import torch

warnings.filterwarnings("ignore")
import transformers.utils.peft_utils as versions  # its demand for a newer PEFT is not about what is used here

versions.check_peft_version = lambda **_: None
import transformers.integrations.peft as integration

integration.check_peft_version = lambda *_, **__: None

import diffusers
from safetensors.torch import load_file

diffusers.logging.set_verbosity_error()
name, case_name, folder, *lora = sys.argv[1:]
own = Path(__file__).parent / "pipelines" / name
cases = json.loads((own / "cases.json").read_text())
case, prompts = cases["cases"][case_name], cases["prompts"]
expected = load_file(own / "expected.safetensors")
pipe = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
pipe.set_progress_bar_config(disable=True)
if lora:
    pipe.load_lora_weights(lora[0], adapter_name="a")
    pipe.set_adapters(["a"], [case["lora"]])
image = pipe(
    prompt=prompts[case["prompt"]], num_inference_steps=case["steps"], guidance_scale=case["guidance"],
    negative_prompt=prompts[case["negative"]] if "negative" in case else None, output_type="np",
    latents=expected[f"{case_name}.latents"], height=case["height"], width=case["width"],
).images
difference = (torch.tensor(image) * 255).round() - expected[f"{case_name}.image"].float()
print(json.dumps({"maxPixelDifference": float(difference.abs().max())}))

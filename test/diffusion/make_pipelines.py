"""Writes pipelines/: tiny pipelines with random weights in float16, a LoRA each as a kohya file, and images that diffusers
0.42.1 makes of them in float32 from given noise. Run: python make_pipelines.py

pipelines/NAME/expected.safetensors holds, for each case of cases.json, NAME.latents (the noise) and NAME.image (bytes,
[count, height, width, 3]), and the picture that image to image starts from.
"""

import json
import shutil
import warnings
from pathlib import Path

import torch

warnings.filterwarnings("ignore")
import transformers.utils.peft_utils as versions  # its demand for a newer PEFT is not about what is used here

versions.check_peft_version = lambda **_: None
import transformers.integrations.peft as integration

integration.check_peft_version = lambda *_, **__: None

import diffusers
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

diffusers.logging.set_verbosity_error()
DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mode()

HERE = Path(__file__).parent / "pipelines"
BASE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
PROMPTS = {
    "plain": "A red house, near the 2 trees!",
    "negative": "blurry, it's bad",
    "long": "the house and the tree " * 30,
}


def tokenizer(folder, pad):
    """Bytes, their forms at a word's end, a few merges, and the two special tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(b) for b in range(33, 127)] + [chr(256 + i) for i in range(40)]
    merges = ["t h", "th e</w>", "h o", "u s", "us e</w>", "ho use</w>", "r e", "re d</w>", "e e", "t r", "tr ee"]
    vocab = letters + [letter + "</w>" for letter in letters] + [merge.replace(" ", "") for merge in merges]
    vocab += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocab)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    made = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token=pad, model_max_length=77)
    return made, len(vocab)


def randomise(model, seed, std=0.05):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * std)
            parameter.copy_(parameter.half().float())  # what the files hold
    return model.eval()


def text_config(vocab, width, **more):
    return CLIPTextConfig(
        vocab_size=vocab, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=3, num_attention_heads=2,
        bos_token_id=vocab - 2, eos_token_id=vocab - 1, pad_token_id=vocab - 1, **more,
    )


def vae():
    return AutoencoderKL(
        block_out_channels=[8, 8], down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        norm_num_groups=4, sample_size=16, scaling_factor=0.5,
    )


def write_lora(pipe, path, seed, names):
    """Random branches of the layers whose names end as given, as kohya writes them; and the same as PEFT names them,
    which diffusers finds whether transformers puts "text_model." before a text encoder's layers or not."""
    generator = torch.Generator().manual_seed(seed)
    tensors, plain = {}, {}
    two = getattr(pipe, "text_encoder_2", None) is not None
    parts = [("lora_unet", "unet"), ("lora_te1" if two else "lora_te", "text_encoder")] + ([("lora_te2", "text_encoder_2")] if two else [])
    for prefix, component in parts:
        for name, module in getattr(pipe, component).named_modules():
            if not name.endswith(names) or not hasattr(module, "weight"):
                continue
            full = name if prefix == "lora_unet" or name.startswith("text_model") else "text_model." + name
            key = f"{prefix}_{full.replace('.', '_')}"
            out, width, *kernel = module.weight.shape
            down = (torch.randn(2, width, *kernel, generator=generator) * 0.3).half().float()
            up = (torch.randn(out, 2, *[1 for _ in kernel], generator=generator) * 0.3).half().float()
            tensors |= {key + ".lora_down.weight": down, key + ".lora_up.weight": up, key + ".alpha": torch.tensor(1.0)}
            plain |= {f"{component}.{name}.lora_A.weight": down, f"{component}.{name}.lora_B.weight": up / 2}
    save_file({k: v.half().contiguous() for k, v in tensors.items()}, path, metadata={"ss_network_dim": "2"})
    return plain


def run(pipe, folder, lora, cases, tensors):
    """Makes the images of the cases."""
    generator = torch.Generator().manual_seed(5)
    own = pipe.scheduler
    for name, case in cases.items():
        pipe.scheduler = type(own).from_config(own.config)
        h, w = case["height"] // 2, case["width"] // 2
        latents = torch.randn(1, 4, h, w, generator=generator)
        tensors[f"{name}.latents"] = latents
        call = dict(
            prompt=PROMPTS[case["prompt"]], num_inference_steps=case["steps"], guidance_scale=case["guidance"],
            negative_prompt=PROMPTS[case["negative"]] if "negative" in case else None, output_type="np",
        )
        chosen = pipe
        if case.get("lora"):
            pipe.load_lora_weights(dict(lora), adapter_name="a")
            pipe.set_adapters(["a"], [case["lora"]])
        if case.get("scheduler") == "dpm++2m-karras":
            chosen.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, use_karras_sigmas=True)
        if case.get("strength"):
            chosen = StableDiffusionImg2ImgPipeline(**pipe.components)
            start = (torch.rand(case["height"], case["width"], 3, generator=generator) * 255).byte()
            tensors[f"{name}.start"] = start
            diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img.randn_tensor = lambda *_, **__: latents
            call |= dict(image=Image.fromarray(start.numpy()), strength=case["strength"])
        else:
            call |= dict(latents=latents, height=case["height"], width=case["width"])
            if "rescale" in case:
                call |= dict(guidance_rescale=case["rescale"])
            if "clipSkip" in case:
                call |= dict(clip_skip=case["clipSkip"])
                pipe.text_encoder.__dict__["text_model"] = pipe.text_encoder  # diffusers looks for it, transformers 5 has it not
        image = torch.tensor(chosen(**call).images)
        tensors[f"{name}.image"] = (image * 255).round().byte()
        if case.get("lora"):
            pipe.delete_adapters(["a"])
        print(folder.name, name, float(image.mean()), float(image.std()))
    (folder / "cases.json").write_text(json.dumps({"prompts": PROMPTS, "cases": cases}, indent=1) + "\n")
    save_file({k: v.contiguous() for k, v in tensors.items()}, str(folder / "expected.safetensors"))


def odd(unet):
    """A size that halving does not divide."""
    sample, context = torch.randn(2, 4, 7, 5), torch.randn(2, 3, 8)
    with torch.no_grad():
        out = unet(sample, torch.tensor([3, 900]), context).sample
    return {"odd.sample": sample, "odd.context": context, "odd.output": out}


def sd1():
    folder = HERE / "sd1"
    shutil.rmtree(folder, ignore_errors=True)
    tokens, vocab = tokenizer(folder / "tokenizer", "<|endoftext|>")
    torch.manual_seed(1)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=8, cross_attention_dim=8, norm_num_groups=4,
        attention_head_dim=2, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    scheduler = PNDMScheduler(**BASE, skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False)
    pipe = StableDiffusionPipeline(
        vae=randomise(vae(), 11), unet=randomise(unet, 12), tokenizer=tokens, scheduler=scheduler,
        text_encoder=randomise(CLIPTextModel(text_config(vocab, 8, hidden_act="quick_gelu")), 13),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    save(pipe, folder)
    lora = write_lora(pipe, folder / "lora.safetensors", 3, ("to_q", "to_v", "to_out.0", "conv1", "proj_in", "ff.net.2", "q_proj", "fc1"))
    run(pipe, folder, lora, {
        "base": dict(prompt="plain", negative="negative", width=16, height=16, steps=5, guidance=5.0),
        "lora": dict(prompt="plain", width=16, height=16, steps=4, guidance=3.0, lora=0.7),
        "wide": dict(prompt="long", width=24, height=16, steps=3, guidance=4.0, rescale=0.7),
        "karras": dict(prompt="plain", width=16, height=16, steps=6, guidance=1.0, scheduler="dpm++2m-karras", clipSkip=1),
        "start": dict(prompt="plain", negative="negative", width=16, height=16, steps=6, guidance=2.0, strength=0.6),
    }, odd(pipe.unet))


def xl():
    folder = HERE / "xl"
    shutil.rmtree(folder, ignore_errors=True)
    tokens, vocab = tokenizer(folder / "tokenizer", "<|endoftext|>")
    tokens_2, _ = tokenizer(folder / "tokenizer_2", "!")
    torch.manual_seed(2)
    unet = UNet2DConditionModel(
        block_out_channels=(4, 8), layers_per_block=1, sample_size=8, cross_attention_dim=16, norm_num_groups=2,
        attention_head_dim=(2, 4), transformer_layers_per_block=(1, 2), use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=6 * 4 + 6,
    )
    pipe = StableDiffusionXLPipeline(
        vae=randomise(vae(), 21), unet=randomise(unet, 22), tokenizer=tokens, tokenizer_2=tokens_2,
        scheduler=EulerDiscreteScheduler(**BASE, steps_offset=1, timestep_spacing="leading"),
        text_encoder=randomise(CLIPTextModel(text_config(vocab, 8, hidden_act="quick_gelu")), 23),
        text_encoder_2=randomise(CLIPTextModelWithProjection(text_config(vocab, 8, hidden_act="gelu", projection_dim=6)), 24),
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    save(pipe, folder)
    lora = write_lora(pipe, folder / "lora.safetensors", 4, ("to_k", "proj_out", "conv2", "v_proj"))
    run(pipe, folder, lora, {
        "base": dict(prompt="plain", width=16, height=16, steps=4, guidance=5.0),
        "negative": dict(prompt="plain", negative="negative", width=24, height=16, steps=4, guidance=5.0, lora=0.5),
    }, {})


def save(pipe, folder):
    pipe.save_pretrained(folder)
    for path in folder.rglob("*.safetensors"):
        from safetensors.torch import load_file

        save_file({k: v.half() for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    for path in folder.rglob("tokenizer.json"):  # the older pair of files is what most pipelines have
        path.unlink()


sd1()
xl()

"""Writes steps-NAME.safetensors: a LoRA of the UNet (attention, feed-forward, convolutions) and the text encoders of
../diffusion/pipelines/NAME (sd1 and xl), and what PyTorch, diffusers 0.42.1 and PEFT 0.21.2 make of it in optimizer steps
at given latents, noise and timesteps, with min-SNR weights, clipping and AdamW. Run: python make_steps.py"""

import warnings
from pathlib import Path

import torch

warnings.filterwarnings("ignore")
import transformers.utils.peft_utils as versions  # its demand for a newer PEFT is not about what is used here

versions.check_peft_version = lambda **_: None
import transformers.integrations.peft as integration

integration.check_peft_version = lambda *_, **__: None

from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from peft import LoraConfig
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection

HERE = Path(__file__).parent
STEPS, B, T, GAMMA, LR, TEXT_LR = 4, 3, 77, 5.0, 0.01, 0.002


def make(name):
    folder = HERE / "../diffusion/pipelines" / name
    xl = name == "xl"
    models = {"unet": UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32),
              "text_encoder": CLIPTextModel.from_pretrained(folder / "text_encoder", torch_dtype=torch.float32)}
    if xl:
        models["text_encoder_2"] = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2", torch_dtype=torch.float32)
    unet, texts = models["unet"], [model for key, model in models.items() if key != "unet"]
    scheduler = DDPMScheduler.from_pretrained(folder / "scheduler")
    generator = torch.Generator().manual_seed(5)
    for model in models.values():
        model.requires_grad_(False)
    unet.add_adapter(
        LoraConfig(r=3, lora_alpha=6, target_modules=["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "conv1", "conv_shortcut"])
    )
    for text in texts:
        text.add_adapter(LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj", "fc1"]))
    tensors, trained = {}, {}
    for component, model in models.items():
        for key, value in model.named_parameters():
            if "lora_" not in key:
                continue
            with torch.no_grad():
                value.copy_(torch.randn(value.shape, generator=generator) * 0.05)
            own = key.replace(".default", "")
            if component != "unet" and not own.startswith("text_model."):
                own = "text_model." + own
            trained[f"{component}.{own}"] = value
            tensors[f"start.{component}.{own}"] = value.detach().clone()

    groups = [
        {"params": [v for k, v in trained.items() if k.startswith("unet.")], "lr": LR},
        {"params": [v for k, v in trained.items() if not k.startswith("unet.")], "lr": TEXT_LR},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    losses, norms = [], []
    vocab = texts[0].config.vocab_size
    for step in range(STEPS):
        latents = torch.randn(B, 4, 8, 8, generator=generator)
        noise = torch.randn(B, 4, 8, 8, generator=generator)
        t = torch.randint(0, 1000, (B,), generator=generator)
        ids = torch.randint(0, vocab - 2, (B, T), generator=generator)
        given = [("latents", latents), ("noise", noise), ("t", t.int()), ("ids", ids.int())]
        more = {}
        if xl:
            # As train_text_to_image_lora_sdxl.py: states before the last layer side by side, and the second one's pooled text.
            ids_2 = torch.randint(0, vocab - 2, (B, T), generator=generator)
            sizes = torch.tensor([[20 + i, 30, i, 2 * i, 16, 16] for i in range(B)])
            ends = torch.randint(5, T, (B,), generator=generator)
            ids_2[torch.arange(B), ends] = vocab - 1
            outputs = [model(each, output_hidden_states=True) for model, each in zip(texts, (ids, ids_2))]
            hidden = torch.cat([each.hidden_states[-2] for each in outputs], -1)
            more = dict(added_cond_kwargs={"text_embeds": outputs[1].text_embeds, "time_ids": sizes})
            given += [("ids_2", ids_2.int()), ("sizes", sizes.int())]
        else:
            hidden = texts[0](ids).last_hidden_state
        predicted = unet(scheduler.add_noise(latents, noise, t), t, hidden, **more).sample
        kind = scheduler.config.prediction_type
        target = noise if kind == "epsilon" else scheduler.get_velocity(latents, noise, t)
        snr = compute_snr(scheduler, t)
        weights = torch.minimum(snr, torch.full_like(snr, GAMMA)) / (snr if kind == "epsilon" else snr + 1)
        loss = (((predicted - target) ** 2).mean(dim=(1, 2, 3)) * weights).mean()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(list(trained.values()), 0.1).detach())
        if step == 0:
            factor = float(torch.clamp(0.1 / (norms[0] + 1e-6), max=1.0))
            for key, value in trained.items():
                if value.grad is not None:
                    tensors[f"gradient.{key}"] = value.grad.clone() / factor
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
        for own, value in given:
            tensors[f"step{step}.{own}"] = value
    for key, value in trained.items():
        tensors[f"end.{key}"] = value.detach().clone()
    tensors["loss"], tensors["norm"] = torch.stack(losses), torch.stack(norms)
    save_file({key: value.contiguous() for key, value in tensors.items()}, HERE / f"steps-{name}.safetensors")
    none = [key for key in trained if f"gradient.{key}" not in tensors]
    print(name, kind, losses, norms, sum(v.numel() for v in tensors.values()), "without gradient:", none)


make("sd1")
make("xl")

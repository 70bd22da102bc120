"""The same image work in diffusers + PEFT, for ratios: LoRA steps of the UNet on one image of 512 px, and one image drawn.
usage: diffusers_images.py PIPELINE_FOLDER train|generate STEPS     (needs: pip install torch diffusers transformers peft)
Prints one line of JSON: seconds a step (the fastest), seconds in all, peak memory in bytes. Beside it:
  lowrank image train --model PIPELINE_FOLDER --data FOLDER_OF_ONE_IMAGE --out OUT --max-steps STEPS --json
  lowrank image generate --model PIPELINE_FOLDER --prompt "a cat" --out a.png --steps STEPS"""
import json, resource, sys, time
import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from transformers import CLIPTextModel

folder, kind, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(2); torch.manual_seed(0)
begun = time.time()
times = []
if kind == "train":
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=torch.float32)
    scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32)
    text = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", torch_dtype=torch.float32)
    with torch.no_grad():
        latents = vae.encode(torch.rand(1, 3, 512, 512) * 2 - 1).latent_dist.sample() * vae.config.scaling_factor
        states = text(torch.randint(0, 100, (1, 77)))[0]
    del vae, text
    unet.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=4, lora_alpha=4, init_lora_weights="gaussian", target_modules=["to_q", "to_k", "to_v", "to_out.0"]), unet)
    trained = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    for _ in range(steps):
        at = time.time()
        noise, t = torch.randn_like(latents), torch.randint(0, 1000, (1,))
        loss = torch.nn.functional.mse_loss(unet(scheduler.add_noise(latents, noise, t), t, states).sample, noise)
        loss.backward(); torch.nn.utils.clip_grad_norm_(trained, 1.0); optimizer.step(); optimizer.zero_grad()
        times.append(time.time() - at)
else:
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    states = torch.randn(1, 77, pipe.text_encoder.config.hidden_size)
    at = time.time()
    pipe(prompt_embeds=states, negative_prompt_embeds=torch.zeros_like(states), num_inference_steps=steps, height=512, width=512)
    times.append(time.time() - at)
print(json.dumps({"kind": kind, "secondsPerStep": min(times), "seconds": time.time() - begun, "peakMemoryBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))

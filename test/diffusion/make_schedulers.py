"""Writes schedulers.json: samples of diffusers 0.42.1's schedulers in every option that is read. Run: python make_schedulers.py

The pseudo-model is e(x, t) = 0.3 x + 0.1 sin(t / 100); the k-th drawn noise is cos((k + 1) (i + 1)) at element i.
"""

import json
from pathlib import Path

import diffusers
import torch

BASE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
START = torch.tensor([[[[0.7, -1.3], [2.1, 0.2]]]])

CASES = {
    "ddim-default": ("DDIMScheduler", {}, 7),
    "ddim-linspace-v": ("DDIMScheduler", dict(BASE, clip_sample=False, timestep_spacing="linspace", prediction_type="v_prediction"), 7),
    "ddim-sample": ("DDIMScheduler", dict(BASE, clip_sample_range=0.8, prediction_type="sample"), 5),
    "ddim-cosine": ("DDIMScheduler", dict(beta_schedule="squaredcos_cap_v2", clip_sample=False, timestep_spacing="trailing"), 9),
    "ddpm-default": ("DDPMScheduler", {}, 6),
    "ddpm-large": ("DDPMScheduler", dict(BASE, variance_type="fixed_large", clip_sample=False, timestep_spacing="trailing", prediction_type="v_prediction"), 6),
    "pndm-v": ("PNDMScheduler", dict(BASE, skip_prk_steps=True, prediction_type="v_prediction", timestep_spacing="trailing"), 8),
    "pndm-one": ("PNDMScheduler", dict(BASE, skip_prk_steps=True, set_alpha_to_one=True, timestep_spacing="linspace"), 6),
    "euler-zsnr": ("EulerDiscreteScheduler", dict(BASE, prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True), 8),
    "euler-sample": ("EulerDiscreteScheduler", dict(BASE, prediction_type="sample", final_sigmas_type="sigma_min"), 5),
    "euler-karras-bounds": ("EulerDiscreteScheduler", dict(BASE, use_karras_sigmas=True, sigma_min=0.1, sigma_max=9.0), 6),
    "ancestral": ("EulerAncestralDiscreteScheduler", dict(BASE, steps_offset=1, timestep_spacing="leading"), 7),
    "ancestral-v": ("EulerAncestralDiscreteScheduler", dict(BASE, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"), 7),
    "dpm-leading": ("DPMSolverMultistepScheduler", dict(BASE, timestep_spacing="leading", steps_offset=1), 9),
    "dpm-trailing-v": ("DPMSolverMultistepScheduler", dict(BASE, timestep_spacing="trailing", prediction_type="v_prediction", rescale_betas_zero_snr=True), 9),
    "dpm-many": ("DPMSolverMultistepScheduler", dict(BASE, final_sigmas_type="sigma_min"), 17),
    "dpm-many-lower": ("DPMSolverMultistepScheduler", dict(BASE, final_sigmas_type="sigma_min", euler_at_final=True), 16),
    "dpm-heun": ("DPMSolverMultistepScheduler", dict(BASE, solver_type="heun", lower_order_final=False, final_sigmas_type="sigma_min"), 8),
    "dpm-one": ("DPMSolverMultistepScheduler", dict(BASE, solver_order=1, prediction_type="sample"), 6),
    "dpm-cosine": ("DPMSolverMultistepScheduler", dict(beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1), 8),
    "dpm-sde": ("DPMSolverMultistepScheduler", dict(BASE, algorithm_type="sde-dpmsolver++", use_karras_sigmas=True), 8),
    "dpm-sde-heun": ("DPMSolverMultistepScheduler", dict(BASE, algorithm_type="sde-dpmsolver++", solver_type="heun"), 8),
    "lcm": ("LCMScheduler", {}, 4),
    "lcm-v": ("LCMScheduler", dict(prediction_type="v_prediction", original_inference_steps=40, clip_sample=True), 7),
}


def run(name, config, steps):
    module = __import__(f"diffusers.schedulers", fromlist=[name])
    scheduler = getattr(module, name)(**config)
    scheduler.set_timesteps(steps)
    count = 0

    def noise(shape, **_):
        nonlocal count
        count += 1
        return torch.cos(count * torch.arange(1, 5)).reshape(shape)

    __import__(scheduler.__module__, fromlist=["x"]).randn_tensor = noise
    x = START * scheduler.init_noise_sigma
    samples = []
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t)
        output = 0.3 * scaled + 0.1 * torch.sin(torch.as_tensor(float(t) / 100))
        x = scheduler.step(output, t, x).prev_sample
        samples.append([float(v) for v in x.flatten()])
    return {
        "config": {"_class_name": name, **config},
        "steps": steps,
        "timesteps": [float(t) for t in scheduler.timesteps],
        "start": [float(v) for v in (START * scheduler.init_noise_sigma).flatten()],
        "samples": samples,
    }


cases = {name: run(*case) for name, case in CASES.items()}
path = Path(__file__).with_name("schedulers.json")
path.write_text(json.dumps(cases) + "\n")
print(diffusers.__version__, len(cases))

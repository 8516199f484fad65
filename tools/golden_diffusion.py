"""Writes model/diffusion/testdata/diffusers.json: schedules, training targets
and sampler steps of diffusers, with a fake network.

    python tools/golden_diffusion.py > model/diffusion/testdata/diffusers.json
"""
import json

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.schedulers import scheduling_ddpm

N = 12
torch.manual_seed(1)


def network(x, t):
    """What the Go test computes too."""
    return 0.5 * x + 0.3 * torch.roll(x, -1, -1) - 0.2 + t / 2000


def sampler(kind, schedule, prediction, steps, eta=0.0):
    common = dict(num_train_timesteps=1000, beta_schedule=schedule, prediction_type=prediction,
                  beta_start=1e-4, beta_end=0.02, timestep_spacing="trailing")
    if kind == "ddpm":
        s = DDPMScheduler(clip_sample=True, **common)
    elif kind == "ddim":
        s = DDIMScheduler(clip_sample=True, set_alpha_to_one=True, **common)
    else:  # dynamic thresholding with a largest value of 1 is static clipping
        s = DPMSolverMultistepScheduler(thresholding=True, sample_max_value=1.0, final_sigmas_type="zero", **common)
    s.set_timesteps(steps)
    x = torch.randn(1, 1, 1, N)
    out = dict(kind=kind, schedule=schedule, prediction=prediction, steps=steps, eta=eta,
               times=[int(t) for t in s.timesteps], start=x.flatten().tolist(), noise=[], path=[])
    for t in s.timesteps:
        z = torch.randn(1, 1, 1, N)
        scheduling_ddpm.randn_tensor = lambda *a, **k: z
        predicted = network(x, int(t))
        if kind == "ddim":
            x = s.step(predicted, t, x, eta=eta, use_clipped_model_output=True, variance_noise=z if eta > 0 else None).prev_sample
        else:
            x = s.step(predicted, t, x).prev_sample
        out["noise"].append(z.flatten().tolist())
        out["path"].append(x.flatten().tolist())
    return out


def targets(schedule):
    s = DDPMScheduler(num_train_timesteps=1000, beta_schedule=schedule)
    rows = []
    for t in (0, 17, 350, 700, 949, 999):
        clean, noise = torch.rand(1, N) * 2 - 1, torch.randn(1, N)
        at = torch.tensor([t])
        rows.append(dict(t=t, clean=clean.flatten().tolist(), noise=noise.flatten().tolist(),
                         noisy=s.add_noise(clean, noise, at).flatten().tolist(),
                         velocity=s.get_velocity(clean, noise, at).flatten().tolist()))
    return dict(schedule=schedule, alpha_bar=s.alphas_cumprod.tolist(), rows=rows)


image = torch.arange(2 * 4 * 6, dtype=torch.float32).reshape(1, 2, 4, 6)
samplers = [
    sampler(kind, schedule, prediction, steps, eta)
    for schedule in ("linear", "squaredcos_cap_v2")
    for prediction in ("epsilon", "v_prediction")
    for kind, steps, eta in (("ddpm", 20, 0), ("ddim", 10, 0), ("ddim", 20, 0.5), ("dpm", 12, 0), ("dpm", 20, 0), ("dpm", 16, 0))
]


def short(v):
    """Nine significant digits hold a float32."""
    if isinstance(v, float):
        return float(f"{v:.9g}")
    if isinstance(v, list):
        return [short(x) for x in v]
    return {k: short(x) for k, x in v.items()} if isinstance(v, dict) else v


print(json.dumps(short(dict(
    schedules=[targets("linear"), targets("squaredcos_cap_v2")],
    samplers=samplers,
    unshuffled=torch.nn.functional.pixel_unshuffle(image, 2).flatten().tolist(),
)), separators=(",", ":")))

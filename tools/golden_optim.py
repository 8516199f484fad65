"""Writes internal/optim/testdata/torch.json: trajectories of torch's optimizers.

    python tools/golden_optim.py > internal/optim/testdata/torch.json
"""
import json
import math

import torch

STEPS, DIM = 25, 6


def gradient(params, step):
    """A gradient that depends on the parameters, with one zero coordinate."""
    g = [0.5 * p * (i + 1) + math.sin(1.0 + step * (i + 1)) for i, p in enumerate(params.tolist())]
    g[3] = 0.0
    return torch.tensor(g, dtype=torch.float32)


def run(make, lr=1e-2):
    p = torch.nn.Parameter(torch.linspace(-1, 1, DIM))
    optimizer = make([p])
    gradients, path = [], []
    for step in range(STEPS):
        p.grad = gradient(p.detach(), step)
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - step / 40)
        gradients.append(p.grad.tolist())
        optimizer.step()
        path.append(p.detach().tolist())
    return {"gradients": gradients, "path": path}


def average(decay):
    path, out = run(lambda ps: torch.optim.SGD(ps, lr=1))["path"], []
    e = torch.linspace(-1, 1, DIM)
    for n, p in enumerate(path):
        d = min(decay, (1 + n) / (10 + n))
        e = d * e + (1 - d) * torch.tensor(p)
        out.append(e.tolist())
    return {"params": path, "average": out}


print(json.dumps({
    "start": torch.linspace(-1, 1, DIM).tolist(),
    "rates": [1e-2 * (1 - step / 40) for step in range(STEPS)],
    "adam": run(lambda ps: torch.optim.Adam(ps, betas=(0.9, 0.99), eps=1e-8)),
    "adamw": run(lambda ps: torch.optim.AdamW(ps, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.1)),
    "sgd": run(lambda ps: torch.optim.SGD(ps, lr=1, momentum=0.9)),
    "ema": average(0.6),
}))

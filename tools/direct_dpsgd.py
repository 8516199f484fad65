"""Train a classifier directly on the private images with DP-SGD: what a site
should use if a classifier is all it needs, and the peer of our synthetic images.

    python tools/direct_dpsgd.py DATA --epsilon 10 --seeds 3

DATA has MNIST's file names. The network is the small tanh CNN of Papernot et
al. 2021 ("Tempered Sigmoid Activations", 26,010 parameters), trained with
Poisson batches, per-example clipping and SGD with momentum; add/remove
adjacency, PLD accounting by dp_accounting. The last step's weights are scored
on the test images. Settings are untuned. Needs torch, numpy, dp_accounting.
"""

import argparse
import gzip
import json
import math
import pathlib
import time

import dp_accounting
import numpy as np
import torch
from dp_accounting import pld
from torch import nn


def idx(folder, name):
    path = pathlib.Path(folder) / name
    raw = path.read_bytes() if path.exists() else gzip.open(f"{path}.gz").read()
    dims = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(dims)).reshape(dims)


def load(folder, split):
    x = torch.tensor(idx(folder, f"{split}-images-idx3-ubyte"), dtype=torch.float32)[:, None] / 127.5 - 1
    return x, torch.tensor(idx(folder, f"{split}-labels-idx1-ubyte"), dtype=torch.long)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, 2, padding=3), nn.Tanh(), nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, 2), nn.Tanh(), nn.MaxPool2d(2, 1),
        nn.Flatten(), nn.Linear(512, 32), nn.Tanh(), nn.Linear(32, 10),
    )


def noise_multiplier(epsilon, delta, q, steps):
    def accountant():
        return pld.PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)

    def event(sigma):
        return dp_accounting.SelfComposedDpEvent(
            dp_accounting.PoissonSampledDpEvent(q, dp_accounting.GaussianDpEvent(sigma)), steps)

    return dp_accounting.calibrate_dp_mechanism(
        accountant, event, epsilon, delta, dp_accounting.LowerEndpointAndGuess(0.3, 1.0), tol=1e-4)


def train(x, y, sigma, args, seed):
    """The weights after args.steps steps of noise multiplier sigma."""
    torch.manual_seed(seed)
    model = network()
    params = dict(model.named_parameters())
    loss = nn.functional.cross_entropy

    def one(p, image, label):
        return loss(torch.func.functional_call(model, p, (image[None],)), label[None])

    per_example = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0, 0))
    momentum = {k: torch.zeros_like(v) for k, v in params.items()}
    for _ in range(args.steps):
        taken = torch.nonzero(torch.rand(len(x)) < args.batch / len(x)).flatten()
        total = {k: torch.zeros_like(v) for k, v in params.items()}
        for part in taken.split(256):
            grads = per_example({k: v.detach() for k, v in params.items()}, x[part], y[part])
            norms = torch.stack([g.flatten(1).norm(dim=1) for g in grads.values()]).norm(dim=0)
            factor = (args.clip / (norms + 1e-6)).clamp(max=1)
            for k, g in grads.items():
                total[k] += torch.einsum("b,b...->...", factor, g)
        with torch.no_grad():
            for k, p in params.items():
                noisy = (total[k] + torch.randn_like(p) * sigma * args.clip) / args.batch
                momentum[k] = 0.9 * momentum[k] + noisy
                p -= args.learning_rate * momentum[k]
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--epsilon", type=float, default=10)
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--clip", type=float, default=0.1)
    parser.add_argument("--learning-rate", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    x, y = load(args.data, "train")
    test_x, test_y = load(args.data, "t10k")
    sigma = noise_multiplier(args.epsilon, args.delta, args.batch / len(x), args.steps)
    accuracies, begin = [], time.process_time()
    for seed in range(1, args.seeds + 1):
        model = train(x, y, sigma, args, seed)
        with torch.no_grad():
            accuracies.append(round(float((model(test_x).argmax(1) == test_y).double().mean()), 4))
    print(json.dumps({
        "epsilon": args.epsilon, "noise_multiplier": round(sigma, 4), "batch": args.batch, "steps": args.steps,
        "clip": args.clip, "learning_rate": args.learning_rate, "parameters": sum(p.numel() for p in network().parameters()),
        "accuracies": accuracies, "mean": round(float(np.mean(accuracies)), 4),
        "cpu_seconds_each": math.ceil((time.process_time() - begin) / args.seeds),
    }))


if __name__ == "__main__":
    main()

"""Draws synthetic images from a dploda run in PyTorch, on a GPU if there is one.

    python examples/python/sample.py RUN/share --base BASE --n 64 --out images.npz

By DDIM, with diffusers' scheduler. `dploda sample` has more samplers and draws the
run's own images; the noise here is PyTorch's, so these are others of the same model.
With --check the noise comes from a file of `dploda export --format check`, and the
images must be dploda's.
"""

import argparse
import json
import pathlib

import numpy as np
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file
from torch.nn import functional as F

from load_adapter import load_adapter

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Model:
    def __init__(self, share, base):
        self.unet, self.traits, meta = load_adapter(share / "adapter.safetensors", base)
        self.plain, _, _ = load_adapter(share / "adapter.safetensors", base, on=False)
        self.unet.to(DEVICE), self.plain.to(DEVICE)
        self.run = json.loads(meta["dploda.sampling"])
        path = share / "prototypes.safetensors"
        self.prototypes = load_file(path) if path.exists() else None

    def request(self, n, generator):
        """Noise, classes and prototypes of n images."""
        c, h, w = self.traits["image"]
        f = self.traits["unshuffle"]
        noise = torch.randn(n, c * f * f, h // f, w // f, generator=generator)
        classes = torch.arange(n) % len(self.run["classes"])
        if self.prototypes is None:
            return noise, classes, None
        cluster = torch.multinomial(self.prototypes["weights"][classes], 1, generator=generator)[:, 0]
        return noise, classes, 2 * self.prototypes["prototypes"][classes, cluster][:, None] - 1

    def predict(self, x, t, classes, prototypes):
        """Classes of -1 and prototypes of zero are none."""
        first, end = self.run["time_range"]
        unet = self.unet if first <= t < end else self.plain  # adapters are off elsewhere
        labels = torch.where(classes < 0, unet.config.num_class_embeds - 1, classes)
        if self.traits["prototype_channel"]:
            x = torch.cat([x, torch.zeros_like(x[:, :1]) if prototypes is None else prototypes], dim=1)
        return unet(x, t, class_labels=labels, return_dict=False)[0]

    @torch.no_grad()
    def sample(self, noise, classes, prototypes, steps, guidance):
        """Images as bytes [n, channels, height, width]."""
        scheduler = DDIMScheduler(
            num_train_timesteps=self.traits["num_train_timesteps"], beta_schedule=self.traits["beta_schedule"],
            prediction_type=self.traits["prediction_type"], timestep_spacing="trailing", clip_sample=True,
        )
        scheduler.set_timesteps(steps)
        x, classes = noise.to(DEVICE), classes.to(DEVICE)
        prototypes = None if prototypes is None else prototypes.to(DEVICE)
        for t in scheduler.timesteps:
            y = self.predict(x, t, classes, prototypes)
            if guidance:  # classifier-free: (1+w) conditional - w unconditional
                y = (1 + guidance) * y - guidance * self.predict(x, t, torch.full_like(classes, -1), None)
            x = scheduler.step(y, t, x, use_clipped_model_output=True).prev_sample
        x = F.pixel_shuffle(x, self.traits["unshuffle"])
        return ((x.clamp(-1, 1) + 1) * 127.5 + 0.5).to(torch.uint8).cpu()


def check(model, path):
    """Ends the program unless dploda's noise gives dploda's images, to a level of 255."""
    c = load_file(path)
    images = model.sample(c["noise"], c["class"].long(), c.get("prototype"), 10, model.run["sample"]["guidance"])
    difference = (images.float() - c["images"]).abs().max().item()
    print(f"largest difference to dploda's images: {difference:g} of 255")
    if difference > 1:
        raise SystemExit(f"these are not the images of {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("share", type=pathlib.Path, help="RUN/share")
    parser.add_argument("--base", required=True, help="the base's folder")
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default="images.npz", help="arr_0: uint8 [n, height, width, channels], arr_1: labels")
    parser.add_argument("--check", help="check.safetensors of `dploda export --format check`")
    args = parser.parse_args()
    model = Model(args.share, args.base)
    if args.check:
        check(model, args.check)
        return
    request = model.request(args.n, torch.Generator().manual_seed(args.seed))
    images = model.sample(*request, args.steps, model.run["sample"]["guidance"])
    np.savez_compressed(args.out, images.permute(0, 2, 3, 1).numpy(), request[1].numpy())
    print(f"{args.n} images of {tuple(images.shape[1:])} in {args.out}, classes {model.run['classes']}")


if __name__ == "__main__":
    main()

"""Attaches what a dploda run trained to its base, in PyTorch.

    python examples/python/load_adapter.py RUN/share --base BASE
    dploda export --format check --run RUN --out check
    python examples/python/load_adapter.py RUN/share --base BASE --check check/check.safetensors

BASE is the folder of the base that the run was built on; pipeline/bases/demo is
builtin:demo. LoDA, LoRA and full fine-tuning are loaded from share/adapter.safetensors
by the code below. For LoRA, `dploda export --format peft` makes a folder that PEFT
loads: give that in the place of RUN/share.
"""

import argparse
import json
import pathlib

import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F

from load_base import load_base, report

PREFIX = "base_model.model."
NONLINEARITIES = {"silu": F.silu, "relu": F.relu, "identity": nn.Identity(), "": nn.Identity()}


class LoDA(nn.Module):
    """Adds (alpha/rank) B(g(A(x))) to what a layer makes of x (arXiv 2406.05257).

    A is a layer like the one adapted, down to rank channels; B is 1x1.
    """

    def __init__(self, layer, a, b, scale, nonlinearity):
        super().__init__()
        self.a, self.b, self.scale, self.nonlinearity = nn.Parameter(a), nn.Parameter(b), scale, nonlinearity
        self.conv = {"stride": layer.stride, "padding": layer.padding} if a.dim() == 4 else None
        layer.register_forward_hook(lambda _, inputs, output: output + self(inputs[0]))

    def forward(self, x):
        if self.conv:
            h = F.conv2d(x, self.a, **self.conv)
            return F.conv2d(self.scale * self.nonlinearity(h), self.b)
        return F.linear(self.scale * self.nonlinearity(F.linear(x, self.a)), self.b)


def load_adapter(path, base, on=True):
    """The base's network with the adapter, dploda.json's facts and the adapter's metadata.

    on=False is the network outside the timesteps in which the adapter was trained: the
    base with the run's classes (see sample.py).
    """
    with safe_open(path, framework="pt") as f:
        meta = f.metadata()
        tensors = {name.removeprefix(PREFIX): f.get_tensor(name).float() for name in f.keys()}
    classes = int(meta["dploda.classes"])  # 0: the base's own
    config = {"num_class_embeds": classes + 1, "ignore_mismatched_sizes": True} if classes else {}
    unet, traits = load_base(base, **config)
    scale = float(meta["dploda.alpha"]) / max(int(meta["dploda.rank"]), 1)
    if not on:
        tensors = {k: v for k, v in tensors.items() if k == "class_embedding.weight"}
    for name in [n for n in tensors if n.endswith(".lora_A.weight")]:
        module = name.removesuffix(".lora_A.weight")
        layer = unet.get_submodule(module)
        layer.loda = LoDA(layer, tensors.pop(name), tensors.pop(module + ".lora_B.weight"), scale, NONLINEARITIES[meta["dploda.nonlinearity"]])
    with torch.no_grad():  # the class embedding, and weights of full fine-tuning
        for name, value in tensors.items():
            unet.get_parameter(name).copy_(value)
    return unet, traits, meta


def load_peft(folder, base):
    """The same from a folder of `dploda export --format peft`, by PEFT itself."""
    from peft import PeftModel

    with safe_open(folder / "adapter_model.safetensors", framework="pt") as f:
        meta = f.metadata()
    classes = int(meta["dploda.classes"])
    config = {"num_class_embeds": classes + 1, "ignore_mismatched_sizes": True} if classes else {}
    unet, traits = load_base(base, **config)
    return PeftModel.from_pretrained(unet, folder).eval(), traits, meta


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("share", type=pathlib.Path, help="RUN/share, or a folder of `dploda export --format peft`")
    parser.add_argument("--base", required=True, help="the base's folder")
    parser.add_argument("--check", help="check.safetensors of `dploda export --format check`")
    args = parser.parse_args()
    if (args.share / "adapter_config.json").exists():
        unet, _, meta = load_peft(args.share, args.base)
    else:
        unet, _, meta = load_adapter(args.share / "adapter.safetensors", args.base)
    run = json.loads(meta.get("dploda.sampling", "{}"))
    print(f"{meta['dploda.kind']} of rank {meta['dploda.rank']}, run {run.get('name')}, classes {run.get('classes')}")
    report(unet, args.check)


if __name__ == "__main__":
    main()

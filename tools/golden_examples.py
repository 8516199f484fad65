"""Writes examples/python/golden with diffusers and torch: a small adapter on builtin:demo.

    python tools/golden_examples.py        # from the repository's root

adapter.safetensors is like that of a run: LoDA on every convolution, with random
values that float16 holds exactly, in the classes "a", "b" and "c". check.safetensors
holds what base and adapter predict by examples/python/load_adapter.py; Go's tests hold
dploda to it.
"""

import json
import pathlib
import subprocess
import sys

import torch
from safetensors.torch import save_file
from torch import nn

sys.path.insert(0, "examples/python")
from load_adapter import PREFIX, load_adapter
from load_base import load_base

BASE = "pipeline/bases/demo"
OUT = pathlib.Path("examples/python/golden")
CLASSES = ["a", "b", "c"]
RANK, ALPHA = 1, 2


def main():
    torch.manual_seed(1)
    half = lambda *shape: torch.randn(shape).half()
    unet, traits = load_base(BASE)
    tensors = {"class_embedding.weight": half(len(CLASSES) + 1, unet.class_embedding.weight.shape[1])}
    for name, module in unet.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            tensors[f"{name}.lora_A.weight"] = half(RANK, *module.weight.shape[1:]) / fan_in**0.5
            tensors[f"{name}.lora_B.weight"] = half(module.out_channels, RANK, 1, 1) / 4
    base = json.loads(subprocess.check_output(["go", "run", "./cmd/dploda", "inspect", "--json", "builtin:demo"]))
    sampling = {
        "format": 1, "name": "golden", "run_id": "00" * 16, "classes": CLASSES, "time_range": [350, 950],
        "sample": {"images": 6, "sampler": "ddim", "steps": 4, "guidance": 0, "eta": 0},
    }
    OUT.mkdir(exist_ok=True)
    save_file({PREFIX + k: v.contiguous() for k, v in tensors.items()}, OUT / "adapter.safetensors", {
        "format": "pt", "dploda.adapter": "1", "dploda.kind": "loda", "dploda.rank": str(RANK), "dploda.alpha": str(ALPHA),
        "dploda.nonlinearity": "silu", "dploda.targets": '["conv"]', "dploda.classes": str(len(CLASSES)),
        "dploda.base_sha256": base["sha256"], "dploda.test_mode": "true", "dploda.sampling": json.dumps(sampling),
    })
    unet, _, _ = load_adapter(OUT / "adapter.safetensors", BASE)
    size = unet.config.sample_size
    check = {
        "sample": half(4, unet.config.in_channels, size, size).float(),
        "timestep": torch.tensor([350.0, 500.0, 777.0, 949.0]),
        "label": torch.tensor([3.0, 0.0, 1.0, 2.0]),
    }
    with torch.no_grad():
        check["prediction"] = unet(check["sample"], check["timestep"], class_labels=check["label"].long(), return_dict=False)[0]
    save_file(check, OUT / "check.safetensors")


if __name__ == "__main__":
    main()

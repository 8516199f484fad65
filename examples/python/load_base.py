"""Opens a dploda base, or an export of `dploda export --format diffusers`, in diffusers.

    python examples/python/load_base.py pipeline/bases/demo
    dploda export --format check --base builtin:demo --out check
    python examples/python/load_base.py pipeline/bases/demo --check check/check.safetensors

A base is a UNet2DModel folder. Beside config.json lies dploda.json, which says what
UNet2DModel's config has no place for:

    image, unshuffle     images [C, H, W] in [-1, 1] go in after pixel_unshuffle(unshuffle)
    prototype_channel    one more input channel: a class prototype in [-1, 1], or zeros
    prediction_type, beta_schedule, num_train_timesteps    as diffusers' schedulers name them
    no_label_row         the last row of the class embedding stands for "no label"
"""

import argparse
import json
import pathlib

import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file


def load_base(folder, **config):
    """The network, in evaluation mode, and what dploda.json says."""
    unet = UNet2DModel.from_pretrained(folder, low_cpu_mem_usage=False, **config).eval()
    path = pathlib.Path(folder, "dploda.json")
    if path.exists():
        return unet, json.loads(path.read_text())
    # A folder made elsewhere: what diffusers' DDPM scheduler does by default.
    size = unet.config.sample_size
    h, w = (size, size) if isinstance(size, int) else size
    return unet, {"image": [unet.config.out_channels, h, w], "unshuffle": 1, "prototype_channel": False,
                  "prediction_type": "epsilon", "beta_schedule": "linear", "num_train_timesteps": 1000}


def compare(unet, path):
    """The largest difference to what dploda predicted on the inputs in a check file."""
    check = load_file(path)
    labels = check["label"].long() if "label" in check else None
    with torch.no_grad():
        y = unet(check["sample"], check["timestep"], class_labels=labels, return_dict=False)[0]
    return (y - check["prediction"]).abs().max().item()


def report(unet, path):
    """Prints the comparison; one beyond rounding ends the program with an error."""
    if path:
        difference = compare(unet, path)
        print(f"largest difference to dploda's predictions: {difference:.2g}")
        if not difference <= 1e-4:
            raise SystemExit(f"this is not the network of {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="a base's folder")
    parser.add_argument("--check", help="check.safetensors of `dploda export --format check`")
    args = parser.parse_args()
    unet, traits = load_base(args.base)
    print(f"{sum(p.numel() for p in unet.parameters())} parameters, {unet.config.num_class_embeds} class rows, {traits}")
    report(unet, args.check)


if __name__ == "__main__":
    main()

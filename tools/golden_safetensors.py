#!/usr/bin/env python3
"""Writes internal/safetensors/testdata/*.safetensors with the Python library.

Usage: python tools/golden_safetensors.py   (needs safetensors and torch)
"""

import os

import torch
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(__file__), "..", "internal", "safetensors", "testdata")


def ramp(*shape):
    n = 1
    for d in shape:
        n *= d
    return (torch.arange(n, dtype=torch.float32) / 8 - 1).reshape(shape).contiguous()


save_file(
    {
        "mid_block.resnets.0.conv1.weight": ramp(2, 3, 1, 1),
        "conv_in.bias": ramp(5),
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 4),
        'quote " & <angle> \u00e9': ramp(1),
    },
    os.path.join(OUT, "python_f32.safetensors"),
    metadata={"format": "pt"},
)

halves = [0.0, -0.0, 1.0, -2.5, 65504.0, 2.0**-24, 1023 * 2.0**-24, 2.0**-14, float("inf"), float("-inf")]
save_file(
    {
        "half": torch.tensor(halves, dtype=torch.float16),
        "brain": torch.tensor([0.0, 1.0, -3.140625, 2.0**127, 2.0**-130], dtype=torch.bfloat16),
        "single": torch.tensor([[1.0, 1e-45], [-3.4028234663852886e38, 0.1]], dtype=torch.float32),
    },
    os.path.join(OUT, "python_mixed.safetensors"),
)

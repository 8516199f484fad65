"""Scores a run's share/samples.npz without dploda: trains a small CNN on it in
PyTorch and prints its accuracy on real test images under MNIST's file names.

    python tools/score_samples.py run/demo/share/samples.npz EXPORTED

EXPORTED is what `dploda demo --export-data EXPORTED` wrote, or MNIST's folder.
Needs numpy and torch.
"""

import gzip
import os
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

EPOCHS, BATCH = 8, 64


def read_idx(folder, name, header):
    with gzip.open(os.path.join(folder, name + ".gz")) as f:
        return np.frombuffer(f.read()[header:], np.uint8).copy()


def to_tensor(images):
    """uint8 [n, h, w] to float [n, 1, h, w] in [-1, 1]."""
    return torch.tensor(images).float()[:, None] / 127.5 - 1


def warp(images):
    """Random rotations, scales and shifts, as the run's own classifier sees."""
    n = len(images)
    angle = (torch.rand(n) - 0.5) * 0.4
    scale = 1 + (torch.rand(n) - 0.5) * 0.2
    affine = torch.zeros(n, 2, 3)
    affine[:, 0, 0], affine[:, 0, 1] = angle.cos() / scale, -angle.sin() / scale
    affine[:, 1, 0], affine[:, 1, 1] = angle.sin() / scale, angle.cos() / scale
    affine[:, :, 2] = (torch.rand(n, 2) - 0.5) * 0.15
    grid = F.affine_grid(affine, images.shape, align_corners=False)
    return F.grid_sample(images + 1, grid, align_corners=False) - 1


def network(classes, side):
    layers, channels = [], 1
    for width in (32, 64, 128):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels, side = width, side // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side * side, classes))


def train(images, labels):
    net = network(int(labels.max()) + 1, images.shape[-1])
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(images))[: len(images) // BATCH * BATCH]
        for batch in order.view(-1, BATCH):
            loss = F.cross_entropy(net(warp(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net


def main(samples, folder):
    torch.manual_seed(0)
    archive = np.load(samples)
    synthetic, labels = to_tensor(archive["arr_0"][..., 0]), torch.tensor(archive["arr_1"])
    side = synthetic.shape[-1]
    real = to_tensor(read_idx(folder, "t10k-images-idx3-ubyte", 16).reshape(-1, side, side))
    truth = torch.tensor(read_idx(folder, "t10k-labels-idx1-ubyte", 8).astype(np.int64))
    net = train(synthetic, labels)
    with torch.no_grad():
        accuracy = (net(real).argmax(1) == truth).float().mean().item()
    print(f"{len(synthetic)} synthetic images, {len(real)} real test images: accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])

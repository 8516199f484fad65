"""Opens the synthetic images of a dploda run as PyTorch data sets.

    python examples/python/load_samples.py RUN/share

RUN/share, or the folder of `dploda sample`, holds samples.npz (arr_0: uint8 images
[n, height, width, channels], arr_1: int64 labels) and images/CLASS/*.png: the same
images twice, for those who like arrays and those who like files.
"""

import argparse
import collections
import pathlib

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset


def from_npz(path):
    """A data set of (float image in [0, 1] [channels, height, width], label)."""
    with np.load(path) as z:
        images, labels = z["arr_0"], z["arr_1"]
    images = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return TensorDataset(images, torch.from_numpy(labels))


class ImageFolder(Dataset):
    """The same from CLASS/*.png, read one by one; torchvision's ImageFolder does it too."""

    def __init__(self, folder):
        self.classes = sorted(p.name for p in pathlib.Path(folder).iterdir() if p.is_dir())
        self.files = [(f, k) for k, name in enumerate(self.classes) for f in sorted(pathlib.Path(folder, name).glob("*.png"))]

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        path, label = self.files[i]
        pixels = torch.from_numpy(np.array(Image.open(path)))  # [height, width] or [height, width, 3]
        pixels = pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)
        return pixels.float() / 255, label


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("share", type=pathlib.Path, help="RUN/share, or a folder of `dploda sample`")
    share = parser.parse_args().share

    for name, data in ("samples.npz", from_npz), ("images", ImageFolder):
        if not (share / name).exists():
            print(f"{share / name} is not there")
            continue
        data = data(share / name)
        batch, labels = next(iter(DataLoader(data, batch_size=64, shuffle=True)))
        counts = collections.Counter(int(label) for _, label in data)
        names = getattr(data, "classes", sorted(counts))  # the folders' are in alphabetical order
        print(f"{name}: {len(data)} images of {tuple(batch.shape[1:])}, mean {batch.mean():.3f}")
        print("  " + ", ".join(f"{names[k]}: {counts[k]}" for k in sorted(counts)))


if __name__ == "__main__":
    main()

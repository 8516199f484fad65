"""Writes the golden files of model/unet and model/adapter with diffusers, peft and torch.

    python tools/golden_unet.py        # from the repository's root

Everything is computed in float64 on weights that float16 holds exactly, so that
the files are small and their rounding is far below the tests' tolerance. Each
variant is a UNet2DModel folder with golden.safetensors beside its weights:

    sample, timestep, label, target, weight   a batch of three examples
    prediction, loss                          loss = weight * mean((prediction - target)^2)
    grad.NAME                                 gradient of the summed loss, all weights trained
    example.N.NAME                            gradient of example N (variant "plain" only)
    time.steps, time.rows                     the sinusoidal embedding in float32

model/adapter/testdata/VARIANT.safetensors holds, for adapters on that base:

    adapter.NAME, prediction, example.N.NAME  lora_A, lora_B and the class embedding
"""

import os
import tempfile

import torch
from diffusers import UNet2DModel
from diffusers.models.embeddings import get_timestep_embedding
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

BATCH = 3
ACTIVATIONS = {"identity": nn.Identity(), "silu": nn.SiLU(), "relu": nn.ReLU()}

# Variants are tiny and, between them, take every branch of the network.
VARIANTS = {
    "plain": dict(
        config=dict(
            sample_size=8, in_channels=2, out_channels=2, block_out_channels=(4, 8), layers_per_block=1,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=2, attention_head_dim=None, num_class_embeds=5,
        ),
        adapter=dict(rank=2, alpha=4, nonlinearity="silu", targets=("conv",), rows=4),
    ),
    "ddpm": dict(  # the original DDPM's layout, not square
        config=dict(
            sample_size=(8, 12), in_channels=3, out_channels=3, block_out_channels=(4, 8), layers_per_block=2,
            down_block_types=("AttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "AttnUpBlock2D"),
            norm_num_groups=2, attn_norm_num_groups=4, attention_head_dim=4, downsample_padding=0,
            freq_shift=1, flip_sin_to_cos=False, norm_eps=1e-6,
        ),
        adapter=dict(rank=2, alpha=2, nonlinearity="identity", targets=("conv", "attention"), rows=3, peft=True),
    ),
    "prototype": dict(  # the demo's base in small: a conditioning channel, several heads
        config=dict(
            sample_size=14, in_channels=5, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=4, attention_head_dim=8, num_class_embeds=4, num_train_timesteps=1000,
        ),
        adapter=dict(rank=3, alpha=1.5, nonlinearity="relu", targets=("conv", "attention", "time"), rows=6),
    ),
    "levels": dict(  # three levels, no attention in the middle, its own time width
        config=dict(
            sample_size=(8, 4), in_channels=1, out_channels=2, block_out_channels=(4, 4, 6), layers_per_block=1,
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D"),
            norm_num_groups=2, attention_head_dim=2, add_attention=False, time_embedding_dim=12,
        ),
        adapter=dict(rank=1, alpha=1, nonlinearity="identity", targets=("attention",), rows=0),
    ),
}


def half(t):
    """The nearest numbers that float16 holds, in float64."""
    return t.half().double()


def make_model(config, seed):
    torch.manual_seed(seed)
    model = UNet2DModel(**config).double()
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 1:  # move norms and biases off their trivial start
                p.add_(0.2 * torch.randn_like(p))
            p.copy_(half(p))
    return model


def make_batch(config, seed):
    g = torch.Generator().manual_seed(seed)
    size = config["sample_size"]
    h, w = size if isinstance(size, tuple) else (size, size)
    randn = lambda *s: half(torch.randn(*s, generator=g, dtype=torch.float64))
    return dict(
        sample=randn(BATCH, config["in_channels"], h, w),
        timestep=torch.tensor([3, 250, 999]),
        target=randn(BATCH, config["out_channels"], h, w),
        weight=torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64),
    )


def predict(model, batch, label):
    kwargs = {} if label is None else {"class_labels": label}
    return model(batch["sample"], batch["timestep"], return_dict=False, **kwargs)[0]


def losses(prediction, batch):
    return batch["weight"] * ((prediction - batch["target"]) ** 2).mean(dim=(1, 2, 3))


def example_gradients(loss, named):
    """Gradients of each example's loss, one after another."""
    out = {}
    for n in range(BATCH):
        grads = torch.autograd.grad(loss[n], [p for _, p in named], retain_graph=True, allow_unused=True)
        for (name, p), g in zip(named, grads):
            out[f"example.{n}.{name}"] = torch.zeros_like(p) if g is None else g
    return out


def write(path, tensors):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    save_file({k: v.detach().float().contiguous() for k, v in tensors.items()}, path)


def write_base(name, model, batch):
    folder = f"model/unet/testdata/{name}"
    model.save_config(folder)
    save_file({k: v.half() for k, v in model.state_dict().items()}, f"{folder}/diffusion_pytorch_model.safetensors")

    rows = model.config.num_class_embeds
    label = None if rows is None else torch.tensor([0, rows - 1, 2])
    prediction = predict(model, batch, label)
    loss = losses(prediction, batch)
    golden = dict(batch, prediction=prediction, loss=loss)
    if label is not None:
        golden["label"] = label
    if name == "plain":
        golden |= example_gradients(loss, list(model.named_parameters()))
    loss.sum().backward()
    golden |= {f"grad.{k}": p.grad for k, p in model.named_parameters()}
    model.zero_grad()

    steps = torch.tensor([0, 1, 17, 500, 999])
    c = model.config
    golden["time.steps"] = steps
    golden["time.rows"] = get_timestep_embedding(steps, c.block_out_channels[0], c.flip_sin_to_cos, c.freq_shift)
    write(f"{folder}/golden.safetensors", golden)


def targets(model, presets):
    for name, m in model.named_modules():
        attention = isinstance(m, nn.Linear) and ".attentions." in name
        if (
            isinstance(m, nn.Conv2d) and "conv" in presets
            or attention and "attention" in presets
            or isinstance(m, nn.Linear) and not attention and "time" in presets
        ):
            yield name, m


def attach_by_hand(model, spec):
    """Adds scale * B(g(A(x))) to each target's output; returns the named parameters."""
    named = []
    g = ACTIVATIONS[spec["nonlinearity"]]
    for name, m in list(targets(model, spec["targets"])):
        r = spec["rank"]
        if isinstance(m, nn.Conv2d):
            a = nn.Conv2d(m.in_channels, r, m.kernel_size, m.stride, m.padding, bias=False)
            b = nn.Conv2d(r, m.out_channels, 1, bias=False)
        else:
            a, b = nn.Linear(m.in_features, r, bias=False), nn.Linear(r, m.out_features, bias=False)
        a.double(), b.double()
        named += [(f"{name}.lora_A.weight", a.weight), (f"{name}.lora_B.weight", b.weight)]
        scale = spec["alpha"] / r
        m.register_forward_hook(lambda m, x, y, a=a, b=b: y + scale * b(g(a(x[0]))))
    return model, named


def attach_with_peft(model, spec):
    """The same through PEFT, which also tells its own names."""
    config = LoraConfig(
        r=spec["rank"], lora_alpha=spec["alpha"], target_modules=[n for n, _ in targets(model, spec["targets"])]
    )
    model = get_peft_model(model, config)
    named = [
        (n.removeprefix("base_model.model.").replace(".default", ""), p)
        for n, p in model.named_parameters()
        if ".lora_" in n
    ]
    return model, named


def write_adapter(name, model, batch, spec):
    torch.manual_seed(7)
    model.requires_grad_(False)
    extra, label = [], None
    if spec["rows"]:
        embedding = nn.Embedding(spec["rows"], model.time_embedding.linear_2.out_features).double()
        extra = [("class_embedding.weight", embedding.weight)]
        model.class_embedding = embedding
        label = torch.tensor([1, spec["rows"] - 1, 0])
    model, named = (attach_with_peft if spec.get("peft") else attach_by_hand)(model, spec)
    named += extra
    with torch.no_grad():
        for n, p in named:
            p.requires_grad_(True)
            p.copy_(half(0.3 * torch.randn_like(p)))
    if spec.get("peft"):
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            saved = load_file(f"{folder}/adapter_model.safetensors")
        save_file({k: v.half() for k, v in saved.items()}, f"model/adapter/testdata/{name}_peft.safetensors")
    prediction = predict(model, batch, label)
    golden = {f"adapter.{n}": p for n, p in named} | dict(prediction=prediction)
    golden |= example_gradients(losses(prediction, batch), named)
    if label is not None:
        golden["label"] = label
    write(f"model/adapter/testdata/{name}.safetensors", golden)


def main():
    torch.set_num_threads(1)
    os.makedirs("model/adapter/testdata", exist_ok=True)
    for seed, (name, v) in enumerate(VARIANTS.items()):
        batch = make_batch(v["config"], 100 + seed)
        model = make_model(v["config"], seed)
        write_base(name, model, batch)
        write_adapter(name, model, batch, v["adapter"])


if __name__ == "__main__":
    main()

"""Writes diffusers pipelines made elsewhere, for the tests of pipeline's LoadBase.

    python tools/golden_base.py                # pipeline/testdata/elsewhere, from the repository's root
    python tools/golden_base.py OUT a b ...    # these pipelines under OUT

Each is a DDPMPipeline's folder as diffusers saves it, its weights kept in half
the bits and attention under its old names where the table says so. Beside it,
golden.safetensors holds in float64's rounding

    sample, timestep, label, prediction       a batch of three examples
    steps, alpha_bar                          the scheduler's alphas_cumprod at some timesteps
"""

import sys

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from golden_unet import make_batch, make_model, predict
from safetensors.torch import load_file, save_file

OLD = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}

PIPELINES = {
    "elsewhere": dict(  # the original DDPM's settings, not square, unconditional
        old=True, dtype=torch.float16, scheduler=dict(beta_schedule="scaled_linear", beta_start=2e-4, beta_end=0.015, num_train_timesteps=500),
        config=dict(in_channels=1, out_channels=1, sample_size=(8, 12), downsample_padding=0, freq_shift=1, flip_sin_to_cos=False, norm_eps=1e-6, attention_head_dim=None),
    ),
    "classes": dict(
        dtype=torch.bfloat16, scheduler=dict(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"),
        config=dict(sample_size=8, num_class_embeds=3, attention_head_dim=2, norm_eps=1e-3, freq_shift=1),
    ),
    "levels": dict(
        old=True, scheduler=dict(beta_end=0.01, num_train_timesteps=300),
        config=dict(
            sample_size=(16, 8), block_out_channels=(4, 6, 8), attn_norm_num_groups=4, flip_sin_to_cos=False,
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
            add_attention=False, downsample_padding=0, time_embedding_dim=10,
        ),
    ),
}
COMMON = dict(
    in_channels=3, out_channels=3, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, attention_head_dim=None,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
)


def old_name(name):
    for new, old in OLD.items():
        name = name.replace(new, old)
    return name


def write(out, name):
    p = PIPELINES[name]
    config = COMMON | p["config"]
    model, scheduler = make_model(config, 11), DDPMScheduler(**p["scheduler"])
    with torch.no_grad():  # what the file's type holds
        for w in model.parameters():
            w.copy_(w.to(p.get("dtype", torch.float32)).double())
    DDPMPipeline(unet=UNet2DModel(**config), scheduler=scheduler).save_pretrained(out)
    weights = {k: v.to(p.get("dtype", torch.float32)) for k, v in model.state_dict().items()}
    if p.get("old"):
        weights = {old_name(k): v for k, v in weights.items()}
    save_file(weights, f"{out}/unet/diffusion_pytorch_model.safetensors", metadata={"format": "pt"})

    batch = make_batch(config, 12)
    steps = torch.tensor([0, 1, 77, 298, 299])
    batch["timestep"] = torch.tensor([3, 150, 299])
    label = torch.tensor([0, 2, 1]) if "num_class_embeds" in config else None
    golden = dict(sample=batch["sample"], timestep=batch["timestep"], prediction=predict(model, batch, label),
                  steps=steps, alpha_bar=scheduler.alphas_cumprod[steps])
    if label is not None:
        golden["label"] = label
    save_file({k: v.detach().float().contiguous() for k, v in golden.items()}, f"{out}/golden.safetensors")
    # diffusers itself reads the old names, and predicts the same.
    again = UNet2DModel.from_pretrained(f"{out}/unet", low_cpu_mem_usage=False).double()
    assert torch.allclose(predict(again, batch, label), golden["prediction"]), name


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        for name in sys.argv[2:]:
            write(f"{sys.argv[1]}/{name}", name)
    else:
        write("pipeline/testdata/elsewhere", "elsewhere")

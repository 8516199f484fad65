"""dploda's work in PyTorch on the CPU: the other side of tools/bench_torch.py.

The network is diffusers' UNet2DModel, the adapters are y + scale * B(silu(A(x)))
on every convolution, as in model/adapter. Everything is float32.
"""

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from opacus import GradSampleModule
from torch import nn
from torch.nn import functional as F

TIMESTEPS = 1000
AT_A_TIME = 8  # examples of a fine-tuning step: the fastest of 4, 8, 16 and 32 at 64 channels
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


class Adapted(nn.Module):
    """A frozen convolution with its adapter. While repeated is set, it holds
    the adapter's weights repeated for each example."""

    repeated = rule = None

    def __init__(self, conv, rank, scale):
        super().__init__()
        self.conv = conv.requires_grad_(False)
        self.A = nn.Conv2d(conv.in_channels, rank, conv.kernel_size, conv.stride, conv.padding, bias=False)
        self.B = nn.Conv2d(rank, conv.out_channels, 1, bias=False)
        self.scale = scale

    def forward(self, x):
        if self.repeated is None:
            return self.conv(x) + self.B(F.silu(self.A(x)) * self.scale)
        a, b = self.repeated
        return self.conv(x) + PerExample.apply(x, a, b, self.A.stride, self.A.padding, self.scale, self.rule)


class PerExample(torch.autograd.Function):
    """B(silu(A(x)) * scale) for weights that are views of one, repeated for
    each example: their gradients are the examples'. x holds the copies of an
    example one after another."""

    @staticmethod
    def forward(ctx, x, a, b, stride, padding, scale, rule):
        h = F.conv2d(x, a[0], None, stride, padding)
        ctx.save_for_backward(x, h, a, b)
        ctx.geometry = stride, padding, scale, rule
        return F.conv2d(F.silu(h).mul_(scale), b[0])

    @staticmethod
    def backward(ctx, dy):
        x, h, a, b = ctx.saved_tensors
        stride, padding, scale, rule = ctx.geometry
        db = rule(F.silu(h).mul_(scale), dy, len(b), (1, 1), (1, 1), (0, 0))
        dh = input_gradient(dy, h, b[0], (1, 1), (0, 0)).mul_(scale)
        dh = torch.ops.aten.silu_backward(dh, h)
        da = rule(x, dh, len(a), a.shape[-2:], stride, padding)
        dx = input_gradient(dh, x, a[0], stride, padding) if ctx.needs_input_grad[0] else None
        return dx, da, db, None, None, None, None


def input_gradient(dy, x, w, stride, padding):
    return torch.ops.aten.convolution_backward(
        dy, x, w, None, stride, padding, (1, 1), False, (0, 0), 1, (True, False, False)
    )[0]


def grouped(x, dy, examples, kernel, stride, padding):
    """The gradient of a convolution's weights for each example, as that of one
    convolution whose groups are the examples."""
    x, dy = (v.unflatten(0, (examples, -1)).transpose(0, 1).flatten(1, 2) for v in (x, dy))
    w = x.new_empty(dy.shape[1], x.shape[1] // examples, *kernel)
    d = torch.ops.aten.convolution_backward(
        dy, x, w, None, stride, padding, (1, 1), False, (0, 0), examples, (False, True, False)
    )[1]
    return d.unflatten(0, (examples, -1))


def unfolded(x, dy, examples, kernel, stride, padding):
    """The same as a batched matrix product over the pixels of an example's
    copies. Where the stride is 1 the output's gradient is unfolded, which for a
    down-projection has far fewer channels than the input."""
    n, c, h, w = x.shape
    out = dy.shape[1]
    if kernel == (1, 1) and stride == (1, 1):
        rows, columns = pixels(dy, examples), pixels(x, examples)
        if out > c:
            return torch.bmm(columns.mT, rows).mT.reshape(examples, out, c, 1, 1)
        return torch.bmm(rows.mT, columns).view(examples, out, c, 1, 1)
    kh, kw = kernel
    if stride == (1, 1):
        top, left = kh - 1 - padding[0], kw - 1 - padding[1]
        shifted = windows(dy, (left, padding[1], top, padding[0]), kernel, stride, (h, w))
        d = torch.bmm(shifted.reshape(examples, -1, kh * kw * out).mT, pixels(x, examples))
        return d.view(examples, kh, kw, out, c).flip(1, 2).permute(0, 3, 4, 1, 2)
    shifted = windows(x, (padding[1], padding[1], padding[0], padding[0]), kernel, stride, dy.shape[2:])
    d = torch.bmm(pixels(dy, examples).mT, shifted.reshape(examples, -1, kh * kw * c))
    return d.view(examples, out, kh, kw, c).permute(0, 1, 4, 2, 3)


def windows(x, padding, kernel, stride, size):
    """The window under each output pixel: a view [n, h, w, kh, kw, channels]."""
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, *padding))
    n, h, w, c = x.stride()
    return x.as_strided((len(x), *size, *kernel, x.shape[3]), (n, stride[0] * h, stride[1] * w, h, w, c))


def pixels(x, examples):
    """[examples * copies, channels, h, w] as [examples, copies * h * w, channels]."""
    return x.permute(0, 2, 3, 1).reshape(examples, -1, x.shape[1])


def network(config, layout):
    keys = {k: v for k, v in config.items() if not k.startswith("_")}
    return UNet2DModel(**keys).to(memory_format=LAYOUTS[layout])


def adapted(config, rank, layout):
    """A network with frozen weights, adapters on all convolutions and a fresh
    class embedding. The layout comes last: a weight of one pixel keeps that of
    an earlier conversion."""
    model = network(config, "contiguous").requires_grad_(False)
    for name, m in list(model.named_modules()):
        if isinstance(m, nn.Conv2d):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, Adapted(m, rank, 1.0))
    model.class_embedding = nn.Embedding(config["num_class_embeds"], model.time_embedding.linear_2.out_features)
    return model.to(memory_format=LAYOUTS[layout])


def trained(model):
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def predict(model, sample, timestep, label):
    return model(sample, timestep, class_labels=label, return_dict=False)[0]


class Batch:
    """Random examples of copies noised images each, one after another."""

    def __init__(self, config, examples, copies, layout):
        n, c, s = examples * copies, config["in_channels"], config["sample_size"]
        self.examples, self.copies = examples, copies
        self.clean = torch.randn(examples, c, s, s).repeat_interleave(copies, 0).to(memory_format=LAYOUTS[layout])
        self.label = torch.randint(config["num_class_embeds"] - 1, (examples,)).repeat_interleave(copies)
        angle = torch.linspace(0, torch.pi / 2, TIMESTEPS)
        self.alpha, self.sigma = angle.cos(), angle.sin()
        self.noised()

    def noised(self):
        """Draws timesteps and noise anew; v-prediction."""
        self.timestep = torch.randint(TIMESTEPS, (len(self.clean),))
        a, s = (v[self.timestep].view(-1, 1, 1, 1) for v in (self.alpha, self.sigma))
        noise = torch.randn_like(self.clean)
        self.sample, self.target = a * self.clean + s * noise, a * noise - s * self.clean
        return self

    def loss(self, model):
        """The sum over the examples of their mean loss."""
        prediction = predict(model, self.sample, self.timestep, self.label)
        return (prediction - self.target).square().mean((1, 2, 3)).sum() / self.copies


# Per-example gradients: each returns {name: [examples, ...]} of a batch.


def by_function(rule):
    """PerExample with a rule for the gradient of weights."""

    def gradients(model, batch):
        layers = {n: m for n, m in model.named_modules() if isinstance(m, Adapted)}
        leaves = {n: p.detach().expand(batch.examples, *p.shape).requires_grad_() for n, p in trained(model).items()}
        for n, m in layers.items():
            m.repeated, m.rule = (leaves[n + ".A.weight"], leaves[n + ".B.weight"]), rule
        owner = torch.arange(batch.examples).repeat_interleave(batch.copies)
        rows = leaves["class_embedding.weight"][owner, batch.label]
        hook = model.class_embedding.register_forward_hook(lambda m, x, y: rows)
        try:
            return dict(zip(leaves, torch.autograd.grad(batch.loss(model), list(leaves.values()))))
        finally:
            hook.remove()
            for m in layers.values():
                m.repeated = None

    return gradients


def by_vmap(model, batch):
    """torch.func: vmap of grad over the examples."""
    params = {n: p.detach() for n, p in trained(model).items()}
    frozen = {n: p for n, p in model.named_parameters() if n not in params}

    def loss(params, sample, timestep, label, target):
        out = torch.func.functional_call(
            model, (params, frozen), (sample, timestep), dict(class_labels=label, return_dict=False)
        )
        return (out[0] - target).square().mean()

    each = [
        v.unflatten(0, (batch.examples, batch.copies)) for v in (batch.sample, batch.timestep, batch.label, batch.target)
    ]
    return torch.func.vmap(torch.func.grad(loss), (None, 0, 0, 0, 0))(params, *each)


def contiguous(module, inputs):
    return tuple(x.contiguous() for x in inputs)


def by_opacus(model, batch):
    """Opacus' hooks: unfold and einsum. Every copy is a sample of its own.

    Opacus 1.6 unfolds as if tensors were contiguous, and where one is not, as
    behind diffusers' attention, its gradients are wrong without a word.
    """
    if not hasattr(model, "autograd_grad_sample_hooks"):
        for m in model.modules():
            if isinstance(m, Adapted):
                m.A.register_forward_pre_hook(contiguous)
                m.B.register_forward_pre_hook(contiguous)
        GradSampleModule(model, loss_reduction="sum")  # hooks the model itself
    for p in trained(model).values():
        p.grad = p.grad_sample = None
    batch.loss(model).backward()
    return {n: p.grad_sample.unflatten(0, (batch.examples, -1)).sum(1) for n, p in trained(model).items()}


GRADIENTS = {
    ("opacus", "contiguous"): by_opacus,
    ("vmap", "contiguous"): by_vmap,
    ("vmap", "channels_last"): by_vmap,
    ("grouped", "contiguous"): by_function(grouped),
    ("grouped", "channels_last"): by_function(grouped),
    ("bmm", "contiguous"): by_function(unfolded),
    ("bmm", "channels_last"): by_function(unfolded),
}


def clipped_sum(gradients, clip):
    """Clips each example's gradient and adds them up."""
    flat = [g.reshape(len(g), -1) for g in gradients.values()]
    norm = sum(g.square().sum(1) for g in flat).sqrt()
    factor = (clip / norm).clamp(max=1)
    return [factor @ g for g in flat]


# The works: each returns a step.


def finetune(config, examples, copies, rank, way, layout):
    """Some examples at a time: all at once no longer fit the caches of wide networks."""
    model, batch = adapted(config, rank, layout), Batch(config, AT_A_TIME, copies, layout)
    gradients = GRADIENTS[way, layout]

    def step():
        total = None
        for _ in range(examples // AT_A_TIME):
            part = clipped_sum(gradients(model, batch.noised()), 1e-3)
            total = part if total is None else [a.add_(b) for a, b in zip(total, part)]

    return step


def pretrain(config, images, layout):
    model, batch = network(config, layout), Batch(config, images, 1, layout)
    params = list(model.parameters())
    average = [p.detach().clone() for p in params]
    optimizer = torch.optim.AdamW(params, 1e-4, weight_decay=0.01, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        batch.noised()
        (batch.loss(model) / images).backward()
        optimizer.step()
        torch._foreach_lerp_(average, params, 1e-3)

    return step


def evaluate(config, images, rank, layout):
    """One network evaluation of sampling with adapters, with an update."""
    model, batch = adapted(config, rank, layout), Batch(config, images, 1, layout)
    x, a, s = batch.sample, 0.8, 0.6

    @torch.inference_mode()
    def step():
        clean = (a * x - s * predict(model, x, batch.timestep, batch.label)).clamp_(-1, 1)
        torch.add(clean, x, alpha=0.5)

    return step


# What is computed.


def layer_flops(model, config):
    """Direct operations of each layer of one image's forward pass, without padding."""
    flops, hooks = {}, []

    def counter(name):
        def hook(m, args, out):
            x = args[0]
            if isinstance(m, nn.Conv2d):
                ones = torch.ones(1, 1, *x.shape[2:]), torch.ones(1, 1, *m.kernel_size)
                live = int(F.conv2d(*ones, None, m.stride, m.padding).sum())
                flops[name] = 2 * m.in_channels * m.out_channels * live
            elif isinstance(m, nn.Linear):
                flops[name] = 2 * m.out_features * x.numel()
            else:
                flops[name] = 4 * x.shape[1] * (x.shape[2] * x.shape[3]) ** 2

        return hook

    for name, m in model.named_modules():
        if isinstance(m, (nn.Conv2d, nn.Linear, Attention)):
            hooks.append(m.register_forward_hook(counter(name)))
    with torch.inference_mode():
        x = Batch(config, 1, 1, "contiguous")
        predict(model, x.sample, x.timestep, x.label)
    for h in hooks:
        h.remove()
    return flops


def flops(config, rank, copies, evaluations):
    """Direct operations of an image in each work: a backward pass does twice
    the forward's, or once where the weights are frozen or nothing below a layer
    is trained."""
    base = layer_flops(network(config, "contiguous"), config)
    first = base["conv_in"] + base["time_embedding.linear_1"]
    forward = layer_flops(adapted(config, rank, "contiguous"), config)
    weights = sum(v for n, v in forward.items() if n.endswith((".A", ".B")))
    below = sum(v for n, v in forward.items() if n in ("conv_in.conv", "conv_in.A") or n.startswith("time_embedding."))
    attention = sum(v for n, v in forward.items() if n.endswith(tuple(f"attentions.{i}" for i in range(9))))
    total = sum(forward.values())
    return {
        "pretrain": 3 * sum(base.values()) - first,
        "finetune": copies * (2 * total - below + weights + attention),
        "sample": evaluations * total,
    }

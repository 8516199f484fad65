"""Compares dploda's CPU engine with PyTorch on the CPU of this machine.

    python tools/bench_torch.py [--filter REGEXP] [--out FILE]   # from the repository's root

needs Linux, Go, torch, diffusers and opacus. It builds dploda and runs `dploda bench
step` and the same work in PyTorch (tools/torch_peer.py) in turn: DP fine-tuning,
pre-training and sampling of U-Nets, on one thread and on two. First it checks
that both sides compute as much, and picks PyTorch's fastest way of each work.

A rate is of the median step of a measurement; the table and the record have the
median and the range of a row's measurements. Ratios are taken within pairs.
Threads that wait for one another suffer from other programs, PyTorch's far more
than their share: a pair beside which others were busy is measured again, and of
all pairs those count beside which others did least.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import version

import torch
import torch_peer as peer

# As in pipeline/works.go. The images of a step come with dploda's rows.
COPIES, RANK, EVALUATIONS = 4, 8, 10
TRIAL = 16  # images of a step while PyTorch's ways are compared
NETS = ("unet32@28", "unet64@28", "unet32@32", "unet64@32")
WORKS = ("finetune", "pretrain", "sample")
THREADS = (1, 2)
QUIET = 0.1  # processors that other programs may use beside a pair
AGAIN = 2  # pairs more, where some were not quiet
WAYS = {
    "finetune": list(peer.GRADIENTS),
    "pretrain": [(layout,) for layout in peer.LAYOUTS],
    "sample": [(layout,) for layout in peer.LAYOUTS],
}


def note(text):
    print(text, file=sys.stderr, flush=True)


def dploda(program, work, net, threads, seconds):
    """The document of one measurement on one thread and on threads."""
    command = [program, "bench", "step", "--json", "--breakdown=false", f"--threads={threads}", f"--seconds={seconds}"]
    done = subprocess.run([*command, f"--filter=^{work}/{net}$"], capture_output=True, text=True)
    if not done.stdout:
        sys.exit(f"dploda bench step failed: {done.stderr.strip()}")
    if done.returncode:  # the yardstick of its shares was disturbed; its times stand
        note(f"  {done.stderr.strip()}")
    return json.loads(done.stdout)


def dploda_rates(row):
    cpu = row["busy"] * row["threads"] * row["seconds_per_step"]
    return {"wall": row["images_per_second"], "cpu": row["images_per_step"] / cpu}


def prepare(work, config, images, way):
    """A step in PyTorch, and how many images it is."""
    if work == "finetune":
        return peer.finetune(config, images, COPIES, RANK, *way), images
    if work == "pretrain":
        return peer.pretrain(config, images, *way), images
    return peer.evaluate(config, images, RANK, *way), images / EVALUATIONS


def torch_rates(step, images, threads, seconds):
    """Images a second of the median step, by the clock and by processor time."""
    torch.set_num_threads(threads)
    wall, cpu, start = [], [], time.perf_counter()
    while not wall or time.perf_counter() - start < seconds:
        w, c = time.perf_counter(), time.process_time()
        step()
        wall.append(time.perf_counter() - w)
        cpu.append(time.process_time() - c)
    return {"wall": images / statistics.median(wall), "cpu": images / statistics.median(cpu)}


def fastest_way(work, config, images):
    """PyTorch's fastest way of a work on one thread, and the figures of all."""
    tried = {}
    for way in WAYS[work]:
        step, n = prepare(work, config, images, way)
        torch.set_num_threads(1)
        step()
        tried[way] = torch_rates(step, n, 1, 0.5)["cpu"]
        note(f"  {work} by {' '.join(way)}: {tried[way]:.1f} images a second of processor time")
    best = max(tried, key=tried.get)
    return best, {"chosen": " ".join(best), "images_per_cpu_second": {" ".join(k): round(v, 2) for k, v in tried.items()}}


def check_gradients(config):
    """All ways of per-example gradients must agree."""
    results = {}
    for way in WAYS["finetune"]:
        torch.manual_seed(1)
        model, batch = peer.adapted(config, RANK, way[1]), peer.Batch(config, 2, 2, way[1])
        results[way] = peer.GRADIENTS[way](model, batch)
    want = results["vmap", "contiguous"]
    for way, got in results.items():
        for name, g in want.items():
            error = ((got[name] - g).norm() / g.norm()).item()
            if not error < 1e-3:
                sys.exit(f"the gradient of {name} by {' '.join(way)} is off by {error:.2g}; the comparison would be void")


def check_flops(document, work, net, threads):
    """Both sides must do the same work. Returns a network's counts."""
    config = document["networks"][net]
    flops = peer.flops(config, RANK, COPIES, EVALUATIONS)[work]
    for row in document["rows"]:
        if abs(row["gflop_per_image"] * 1e9 - flops) > 1:
            sys.exit(f"{work}/{net}: dploda does {row['gflop_per_image']} GFLOP an image and PyTorch {flops / 1e9}")
    if document["rows"][-1]["threads"] != threads:
        sys.exit(f"{work}/{net}: dploda measured no {threads} threads")
    return flops / 1e9


def spread(values):
    digits = lambda v: float(f"{v:.4g}")
    return {"median": digits(statistics.median(values)), "min": digits(min(values)), "max": digits(max(values))}


def others():
    """Processor seconds that other programs have used."""
    with open("/proc/stat") as f:
        user, nice, system, idle, wait, *rest = (int(v) for v in f.readline().split()[1:9])
    own = os.times()
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK") - sum(own[:4])


def compare(program, work, net, way, args):
    """The rows of a work on a network, one for each count of threads."""
    most, pairs, step = max(THREADS), [], None
    while len(pairs) < args.pairs + AGAIN and sum(p["others"] < QUIET for p in pairs) < args.pairs:
        clock, busy = time.perf_counter(), others()
        document = dploda(program, work, net, most, args.seconds)
        ours = {row["threads"]: row for row in document["rows"]}
        if step is None:
            gflop = check_flops(document, work, net, most)
            step, images = prepare(work, document["networks"][net], ours[1]["images_per_step"], way)
            torch.set_num_threads(most)
            step()
        pair = {t: (dploda_rates(ours[t]), torch_rates(step, images, t, args.seconds)) for t in THREADS}
        pairs.append({"others": (others() - busy) / (time.perf_counter() - clock), **pair})
    pairs = sorted(pairs, key=lambda p: p["others"])[: args.pairs]
    for t in THREADS:
        row = {"work": work, "net": net, "threads": t, "gflop_per_image": gflop}
        row["others"] = round(max(0, *(p["others"] for p in pairs)), 2)
        for clock, unit in (("wall", "images_per_second"), ("cpu", "images_per_cpu_second")):
            a, b = ([p[t][side][clock] for p in pairs] for side in (0, 1))
            row[unit] = {"dploda": spread(a), "torch": spread(b), "ratio": spread([x / y for x, y in zip(a, b)])}
        yield row


def line(row):
    def cell(s):
        return f"{s['median']:8.4g} ({s['min']:.4g}..{s['max']:.4g})"

    wall, cpu = row["images_per_second"], row["images_per_cpu_second"]
    return (
        f"{row['work']:9} {row['net']:10} {row['threads']:7}  {cell(wall['dploda']):26} {cell(wall['torch']):26}"
        f" {cell(wall['ratio']):24} {cpu['ratio']['median']:6.3g} {row['others']:7}"
    )


HEAD = f"{'work':9} {'net':10} threads  {'dploda, images/s':>18} {'PyTorch, images/s':>26} {'ratio':>17} {'by processor time':>31}  others"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="", help="compare only work/network, such as finetune/unet32@28, that this matches")
    parser.add_argument("--pairs", type=int, default=3, help="measurements of each side (3)")
    parser.add_argument("--seconds", type=float, default=1, help="least time of a measurement, at least one step (1)")
    parser.add_argument("--json", action="store_true", help="print the record instead of the table")
    parser.add_argument("--out", help="write the record to this file")
    args = parser.parse_args()
    try:
        rows = [(w, n) for n in NETS for w in WORKS if re.search(args.filter, f"{w}/{n}")]
    except re.error as e:
        parser.error(f"--filter {args.filter!r} is not a regular expression: {e}")
    if not rows:
        parser.error(f"--filter {args.filter!r} matches no row, such as finetune/unet32@28")
    if args.pairs < 1:
        parser.error(f"--pairs is {args.pairs}; it must be at least 1")
    if not args.seconds > 0:
        parser.error(f"--seconds is {args.seconds}; it must be above 0")
    if os.cpu_count() < max(THREADS):
        parser.error(f"the comparison needs {max(THREADS)} processors, and this machine has {os.cpu_count()}")

    warnings.simplefilter("ignore", UserWarning)  # vmap's and Opacus', about speed
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "dploda")
        subprocess.run(["go", "build", "-o", program, "./cmd/dploda"], check=True)
        first = dploda(program, "finetune", NETS[0], 1, 0.1)
        config = first["networks"][NETS[0]]
        check_gradients(config)
        note(f"PyTorch's ways, {NETS[0]}, one thread:")
        ways, tried = {}, {}
        for work in WORKS:
            if any(w == work for w, _ in rows):
                ways[work], tried[work] = fastest_way(work, config, TRIAL)
        record = {
            "command": "python tools/bench_torch.py",
            "pairs": args.pairs, "seconds": args.seconds, "rank": RANK, "copies": COPIES, "evaluations": EVALUATIONS,
            "machine": first["machine"], "cpu": first["cpu"], "level": first["level"], "peak_gflops": first["peak_gflops"],
            "versions": {
                "go": first["go"], "python": platform.python_version(),
                **{p: version(p) for p in ("torch", "diffusers", "opacus")},
            },
            "torch_ways": {"net": NETS[0], "images": TRIAL, **tried},
            "rows": [],
        }
        for work, net in rows:
            note(f"{work}/{net}")
            for row in compare(program, work, net, ways[work], args):
                record["rows"].append(row)
                note("  " + line(row))
            if args.out:
                with open(args.out, "w") as f:
                    f.write(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1) if args.json else "\n".join([HEAD, *map(line, record["rows"])]))


if __name__ == "__main__":
    main()

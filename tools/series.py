"""Runs a config with several seeds and records what comes out: the headline
figures of docs/results are means of such runs.

    python tools/series.py examples/mnist.yaml --data DIR --seeds 3 --out run/series --record mnist.json

Every run has its own privacy noise and Poisson samples (they have no seed); the
seed sets adapters, sampling and the classifier. A finished run is kept: the
same command goes on. Needs dploda on the PATH (or in DPLODA) and nothing else.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess

KEYS = ["classifier_accuracy", "base_accuracy", "public_only_accuracy", "real_accuracy", "nearest_centroid_accuracy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="run/series")
    parser.add_argument("--record", required=True)
    args = parser.parse_args()
    reports = []
    for seed in range(1, args.seeds + 1):
        out = pathlib.Path(args.out) / f"{pathlib.Path(args.config).stem}-{seed}"
        report = out / "share" / "report.json"
        if not report.exists():
            subprocess.run([os.environ.get("DPLODA", "dploda"), "run", args.config, "--data", args.data, "--out", out],
                           env={**os.environ, "DPLODA_SEED": str(seed)}, check=True)
        reports.append(json.loads(report.read_text()))
    record = {"config": pathlib.Path(args.config).name, "seeds": args.seeds,
              "epsilon_spent": max(r["epsilon_spent"] for r in reports), "runs": reports}
    for key in KEYS:
        values = [r[key] for r in reports if r.get(key) is not None]
        if values:
            record[key] = {"mean": round(statistics.mean(values), 4), "least": min(values), "most": max(values)}
    alone = [r["prototypes"]["accuracy"] for r in reports if r.get("prototypes")]
    if alone:
        record["prototypes_alone"] = {"mean": round(statistics.mean(alone), 4), "least": min(alone), "most": max(alone)}
    record["minutes"] = [round(sum(r["seconds"].values()) / 60, 1) for r in reports]
    pathlib.Path(args.record).write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({k: v for k, v in record.items() if k != "runs"}, indent=1))


if __name__ == "__main__":
    main()

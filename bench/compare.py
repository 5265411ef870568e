#!/usr/bin/env python3
"""Times `ift bench` beside a PyTorch trainer on the same rows, in turn, and prints a table of medians and ranges.

    bench/compare.py --ift target/release/ift --peer "python torch_peer.py WORK" --work WORK [--methods sft ift]
                     [--rows 8] [--steps 3] [--rounds 3]

WORK holds `model/` and `rows.jsonl`. The peer is any command that accepts `--method`, `--dtype`, `--rows`, `--steps` and further
flags given in `--peer` itself, and prints one JSON object with `tokens_per_second`, `step_seconds`, `peak_rss_gib` and
`first_loss`. Nothing else should run on the machine meanwhile.
"""
import argparse
import json
import shlex
import statistics
import subprocess

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--ift", default="target/release/ift")
parser.add_argument("--peer", required=True)
parser.add_argument("--work", required=True)
parser.add_argument("--methods", nargs="+", default=["sft", "ift"])
parser.add_argument("--rows", type=int, default=8)
parser.add_argument("--steps", type=int, default=3)
parser.add_argument("--rounds", type=int, default=3)
options = parser.parse_args()


def run(command):
    """The last line of a command's standard output, as JSON."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def column(results, key):
    values = sorted(r[key] for r in results)
    return statistics.median(values), values[0], values[-1]


print("| method | who | tokens/s, median (range) | step, s | peak, GiB | first loss |")
print("|---|---|---|---|---|---|")
for method in options.methods:
    ours = [options.ift, "bench", "--model", f"{options.work}/model", "--rows", f"{options.work}/rows.jsonl", "--method", method,
            "--rows-per-step", str(options.rows), "--steps", str(options.steps)]
    theirs = shlex.split(options.peer) + ["--method", method, "--dtype", "f32", "--rows", str(options.rows),
                                          "--steps", str(options.steps)]
    results = {"ift": [], "peer": []}
    for _ in range(options.rounds):
        results["ift"].append(run(ours))
        results["peer"].append(run(theirs))
    for who, list_ in results.items():
        speed, low, high = column(list_, "tokens_per_second")
        print(f"| {method} | {who} | {speed:.1f} ({low:.1f}–{high:.1f}) | {column(list_, 'step_seconds')[0]:.2f} "
              f"| {column(list_, 'peak_rss_gib')[2]:.2f} | {list_[0]['first_loss']:.5f} |", flush=True)
    ratios = sorted(a["tokens_per_second"] / b["tokens_per_second"] for a, b in zip(results["ift"], results["peer"]))
    memory = column(results["ift"], "peak_rss_gib")[2] / column(results["peer"], "peak_rss_gib")[2]
    print(f"| {method} | ratio | {statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f}) | | {memory:.2f} | |", flush=True)

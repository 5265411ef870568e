#!/usr/bin/env python3
"""Times `ift bench` beside a PyTorch trainer on the same rows, in turn, and prints a table of medians and ranges.

    bench/compare.py --peer "python torch_peer.py WORK --sort" --work WORK [--ift target/release/ift] [--methods sft ift]
                     [--dtypes f32 bf16] [--pads batch 1024] [--rows 8] [--steps 3] [--rounds 3]

WORK holds `model/` and `rows.jsonl`. The peer is any command that accepts `--method`, `--dtype`, `--pad`, `--rows`, `--steps` and
further flags given in `--peer` itself, and prints one JSON object with `tokens_per_second`, `step_seconds`, `peak_rss_gib` and
`first_loss`. Every entry of `--pads` is a peer of its own: `batch` pads to the longest row of a micro-batch, a number to that
many tokens, as the authors' loader does (1024). Nothing else should run on the machine meanwhile.
"""
import argparse
import json
import shlex
import statistics
import subprocess
import sys

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--ift", default="target/release/ift")
parser.add_argument("--peer", required=True)
parser.add_argument("--work", required=True)
parser.add_argument("--methods", nargs="+", default=["sft", "ift"])
parser.add_argument("--dtypes", nargs="+", default=["f32"], choices=["f32", "bf16"])
parser.add_argument("--pads", nargs="*", default=["batch"])
parser.add_argument("--rows", type=int, default=8)
parser.add_argument("--steps", type=int, default=3)
parser.add_argument("--rounds", type=int, default=3)
options = parser.parse_args()


def run(command):
    """The last line of a command's standard output, as JSON; what it prints besides goes to standard error."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"`{shlex.join(command)}` ended with {done.returncode}:\n{done.stderr[-2000:]}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    print(json.dumps(result), file=sys.stderr, flush=True)
    return result


def column(results, key):
    values = sorted(r[key] for r in results)
    return statistics.median(values), values[0], values[-1]


def spread(values, digits=1):
    values = sorted(values)
    return f"{statistics.median(values):.{digits}f} ({values[0]:.{digits}f}–{values[-1]:.{digits}f})"


print("| method | numbers | who | tokens/s, median (range) | step, s | peak, GiB | first loss | of the arithmetic's peak |")
print("|---|---|---|---|---|---|---|---|")
for dtype in options.dtypes:
    for method in options.methods:
        count = ["--steps", str(options.steps), "--method", method]
        ours = [options.ift, "bench", "--model", f"{options.work}/model", "--rows", f"{options.work}/rows.jsonl", "--precision",
                dtype, "--rows-per-step", str(options.rows), "--profile", *count]
        commands = {"ift": ours}
        for pad in options.pads:
            commands[f"peer, {pad}"] = [*shlex.split(options.peer), "--dtype", dtype, "--pad", pad, "--rows", str(options.rows), *count]
        results = {who: [] for who in commands}
        for _ in range(options.rounds):
            for who, command in commands.items():
                results[who].append(run(command))
        for who, runs in results.items():
            share = spread([100 * r["gflops"] / r["peak_gflops"] for r in runs]) + " %" if who == "ift" else ""
            print(f"| {method} | {dtype} | {who} | {spread([r['tokens_per_second'] for r in runs])} "
                  f"| {column(runs, 'step_seconds')[0]:.2f} | {column(runs, 'peak_rss_gib')[2]:.2f} "
                  f"| {runs[0]['first_loss']:.5f} | {share} |", flush=True)
            if who != "ift":
                ratios = [a["tokens_per_second"] / b["tokens_per_second"] for a, b in zip(results["ift"], runs)]
                memory = column(results["ift"], "peak_rss_gib")[2] / column(runs, "peak_rss_gib")[2]
                print(f"| {method} | {dtype} | ift / {who} | {spread(ratios, 2)} | | {memory:.2f} | | |", flush=True)

#!/usr/bin/env python3
"""Times `ift bench` and a PyTorch trainer on the same rows, in turn, and prints a table.

    ift new bench/smollm2-135m.toml --set output=WORK/model     # once: a model and rows
    bench/make_rows.py WORK/rows.jsonl
    bench/compare.py --work WORK [--ift target/release/ift] [--methods sft ift dpo]
                     [--dtypes f32 bf16] [--pads batch 1024] [--micros 1 2 4]
                     [--rows 8] [--steps 3] [--rounds 3] [--peer COMMAND]

In every round `ift` and then each setting of the peer runs once. For each entry of `--pads` the
table has the micro-batch of `--micros` with the highest median of tokens per second: the peer's
best. `batch` pads to the longest row of a micro-batch, a number to that many tokens, as the
authors' loader does (1024). Numbers are medians, with the range in parentheses.

The peer is `bench/torch_peer.py WORK --sort` with this Python unless `--peer` says otherwise: any
command that accepts `--method`, `--dtype`, `--pad`, `--micro`, `--rows` and `--steps` and prints
one JSON object with `tokens_per_second`, `step_seconds`, `peak_rss_gib` and `first_loss`. Nothing
else should run on the machine meanwhile.
"""
import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

described = dict(formatter_class=argparse.RawDescriptionHelpFormatter)
parser = argparse.ArgumentParser(description=__doc__, **described)
parser.add_argument("--ift", default="target/release/ift")
parser.add_argument("--peer")
parser.add_argument("--work", required=True)
parser.add_argument("--methods", nargs="+", default=["sft", "ift"], choices=["sft", "ift", "dpo"])
parser.add_argument("--dtypes", nargs="+", default=["f32"], choices=["f32", "bf16"])
parser.add_argument("--pads", nargs="*", default=["batch"])
parser.add_argument("--micros", nargs="+", type=int, default=[1, 2, 4])
parser.add_argument("--rows", type=int, default=8)
parser.add_argument("--steps", type=int, default=3)
parser.add_argument("--rounds", type=int, default=3)
options = parser.parse_args()
torch_peer = str(Path(__file__).with_name("torch_peer.py"))
peer = [sys.executable, torch_peer, options.work, "--sort"]
if options.peer:
    peer = shlex.split(options.peer)


def run(command):
    """The last line that a command prints, as JSON, also printed to standard error."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"`{shlex.join(command)}` ended with {done.returncode}:\n{done.stderr[-2000:]}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    print(json.dumps(result), file=sys.stderr, flush=True)
    return result


def values(results, key):
    return [result[key] for result in results]


def spread(numbers, digits=1):
    low, high, middle = min(numbers), max(numbers), statistics.median(numbers)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def line(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def measure(method, dtype):
    """Results of `ift`, and of the peer by pad and micro-batch, over all rounds."""
    same = ["--method", method, "--steps", str(options.steps)]
    ours = [options.ift, "bench", "--model", f"{options.work}/model"]
    ours += ["--rows", f"{options.work}/rows.jsonl", "--rows-per-step", str(options.rows)]
    ours += ["--precision", dtype, "--profile", *same]
    commands = {"ift": ours}
    for pad in options.pads:
        for micro in options.micros:
            settings = ["--dtype", dtype, "--pad", pad, "--micro", str(micro)]
            commands[pad, micro] = [*peer, *settings, "--rows", str(options.rows), *same]
    results = {name: [] for name in commands}
    for _ in range(options.rounds):
        for name, command in commands.items():
            results[name].append(run(command))
    return results


def report(method, dtype, name, results, share=""):
    line(
        method,
        dtype,
        name,
        spread(values(results, "tokens_per_second")),
        f"{statistics.median(values(results, 'step_seconds')):.2f}",
        f"{max(values(results, 'peak_rss_gib')):.2f}",
        f"{results[0]['first_loss']:.5f}",
        share,
    )


line("method", "precision", "program", "tokens/s", "step, s", "peak, GiB", "first loss", "of peak")
line(*["---"] * 8)
for dtype in options.dtypes:
    for method in options.methods:
        results = measure(method, dtype)
        ours = results["ift"]
        share = spread([100 * r["gflops"] / r["peak_gflops"] for r in ours]) + " %"
        report(method, dtype, "ift", ours, share)
        for pad in options.pads:
            speeds = {m: values(results[pad, m], "tokens_per_second") for m in options.micros}
            micro = max(speeds, key=lambda m: statistics.median(speeds[m]))
            best, name = results[pad, micro], f"peer, pad {pad}, micro-batch {micro}"
            report(method, dtype, name, best)
            pairs = zip(values(ours, "tokens_per_second"), values(best, "tokens_per_second"))
            ratio = spread([a / b for a, b in pairs], 2)
            memory = max(values(ours, "peak_rss_gib")) / max(values(best, "peak_rss_gib"))
            line(method, dtype, f"ift / {name}", ratio, "", f"{memory:.2f}", "", "")

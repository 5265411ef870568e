#!/usr/bin/env python3
"""The training step of `ift bench` in PyTorch and transformers: a yardstick for speed and memory.

    pip install torch transformers safetensors        # README's table: torch 2.8.0
    bench/torch_peer.py WORK --method ift --micro 2 --sort

WORK holds `model/` (a Hugging Face folder) and `rows.jsonl`, whose rows have `input_ids` and
`labels` (-100 where nothing is learned), and for DPO `chosen_ids`, `chosen_labels`, `rejected_ids`
and `rejected_labels`. It does what a careful user of transformers would do: padded micro-batches,
PyTorch's fused attention, gradients accumulated over the micro-batches of a step, clipping at 10,
RMSprop with a learning rate of 5e-7. Losses are those of docs/METHODS.md with their defaults.

Prints one JSON object: the settings, the median of the timed steps (`step_seconds`), tokens without
padding for each second (`tokens_per_second`; a pair counts its prompt twice), the loss of the
first step (`first_loss`), and peak memory in GiB. The first step warms up and is not timed.
"""
import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM

IGNORED = -100


def parse():
    described = dict(formatter_class=argparse.RawDescriptionHelpFormatter)
    parser = argparse.ArgumentParser(description=__doc__, **described)
    parser.add_argument("dir", type=Path, help="the folder WORK")
    parser.add_argument("--method", choices=["sft", "ift", "dpo"], default="ift")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--pad", default="batch",
                        help="`batch`: to the longest row of a micro-batch; or a number of tokens")
    parser.add_argument("--sort", action="store_true", help="sort a step's rows by length")
    parser.add_argument("--attn", choices=["sdpa", "eager"], default="sdpa")
    parser.add_argument("--micro", type=int, default=4, help="rows in a micro-batch")
    parser.add_argument("--rows", type=int, default=16, help="rows in an optimizer step")
    parser.add_argument("--steps", type=int, default=3, help="timed steps, after one that warms up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


class Batch:
    """Rows side by side, padded at the right: `ids`, `mask` and targets, each [rows, width]."""

    def __init__(self, rows, ids, labels, options):
        longest = max(len(row[ids]) for row in rows)
        width = longest if options.pad == "batch" else int(options.pad)
        pad = lambda values, filler: values[:width] + [filler] * (width - len(values))
        tensor = lambda lists: torch.tensor(lists, device=options.device)
        self.ids = tensor([pad(row[ids], 0) for row in rows])
        self.mask = tensor([pad([1] * len(row[ids]), 0) for row in rows])
        self.targets = tensor([pad(row[labels], IGNORED) for row in rows])

    def nats(self, model, **inputs):
        """-log p of each target, zero elsewhere, as [rows, width - 1]."""
        logits = model(attention_mask=self.mask, **inputs).logits[:, :-1].float()
        flat, targets = logits.flatten(0, 1), self.targets[:, 1:]
        nats = nn.functional.cross_entropy(
            flat, targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        return nats.view_as(targets)

    def counts(self):
        return (self.targets[:, 1:] != IGNORED).sum(1)


def sft(model, _, rows, options):
    batch = Batch(rows, "input_ids", "labels", options)
    return (batch.nats(model, input_ids=batch.ids).sum(1) / batch.counts()).sum()


def ift(model, _, rows, options, share=0.2, gamma=0.95):
    batch = Batch(rows, "input_ids", "labels", options)
    with torch.no_grad():
        table = model.get_input_embeddings()
        own = table(batch.ids)
        predicted = model(inputs_embeds=own, attention_mask=batch.mask).logits.argmax(-1)
        ahead = batch.ids.clone()
        is_target = batch.targets[:, 1:] != IGNORED
        ahead[:, 1:][is_target] = predicted[:, :-1][is_target]
        mixed = own.lerp(table(ahead), share)
    nats = batch.nats(model, inputs_embeds=mixed)
    # Discounted sums of the losses from each target on: C[t] = l[t] + gamma * C[t + 1].
    position = torch.arange(nats.shape[1], device=nats.device, dtype=nats.dtype)
    gap = position[:, None] - position
    weights = nats @ torch.tril(gamma ** gap.clamp(min=0)) * is_target
    # Scaled to sum to the count, then divided by it.
    return ((nats * weights).sum(1) / weights.sum(1)).sum()


def dpo(model, reference, rows, options, beta=0.1):
    gain = 0
    for side, sign in (("chosen", 1), ("rejected", -1)):
        batch = Batch(rows, f"{side}_ids", f"{side}_labels", options)
        with torch.no_grad():
            known = batch.nats(reference, input_ids=batch.ids).sum(1)
        gain = gain + sign * (known - batch.nats(model, input_ids=batch.ids).sum(1))
    return -nn.functional.logsigmoid(beta * gain).sum()


LOSSES = {"sft": sft, "ift": ift, "dpo": dpo}


def tokens_of(row, options):
    """Tokens of a row that are computed on, without padding."""
    names = ["chosen_ids", "rejected_ids"] if options.method == "dpo" else ["input_ids"]
    most = None if options.pad == "batch" else int(options.pad)
    return sum(len(row[name][:most]) for name in names)


def load(options):
    dtype = torch.float32 if options.dtype == "f32" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(
        options.dir / "model", dtype=dtype, attn_implementation=options.attn
    )
    model.config.use_cache = False
    return model.to(options.device)


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = load(options).train()
    reference = load(options).eval() if options.method == "dpo" else None
    optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-7)
    rows = [json.loads(line) for line in (options.dir / "rows.jsonl").open()]
    on_gpu = options.device != "cpu"
    seconds, losses, tokens = [], [], 0
    for step in range(options.steps + 1):
        at = step * options.rows
        taken = [rows[(at + i) % len(rows)] for i in range(options.rows)]
        if options.sort:
            taken.sort(key=lambda row: tokens_of(row, options))
        start, total = time.perf_counter(), 0.0
        for first in range(0, len(taken), options.micro):
            micro = taken[first : first + options.micro]
            loss = LOSSES[options.method](model, reference, micro, options) / len(taken)
            loss.backward()
            total += loss.item()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if on_gpu:
            torch.cuda.synchronize()
        losses.append(total)
        if step > 0:
            seconds.append(time.perf_counter() - start)
            tokens += sum(tokens_of(row, options) for row in taken)
    peak_gpu = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None
    print(json.dumps({
        "peer": "torch",
        "method": options.method,
        "dtype": options.dtype,
        "pad": options.pad,
        "sort": options.sort,
        "attn": options.attn,
        "rows": options.rows,
        "micro": options.micro,
        "step_seconds": round(statistics.median(seconds), 3),
        "tokens_per_second": round(tokens / sum(seconds), 1),
        "first_loss": round(losses[0], 5),
        "peak_rss_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "peak_gpu_gib": peak_gpu and round(peak_gpu, 2),
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()

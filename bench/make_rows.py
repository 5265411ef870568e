#!/usr/bin/env python3
"""Writes rows of random tokens to time steps on. Needs Python alone.

    bench/make_rows.py WORK/rows.jsonl [--vocabulary 49152] [--rows 64] [--seed 0]

Lengths are log-normal (median 350 tokens, sigma 0.6) between 16 and 1024; the answer is 30 to 70 %
of a row. Each row also is a pair: the same prompt with a second answer of 0.6 to 1.4 times the
length. The same seed gives the same file.
"""
import argparse
import json
import math
import random
from pathlib import Path

LEAST, MOST = 16, 1024

described = dict(formatter_class=argparse.RawDescriptionHelpFormatter)
parser = argparse.ArgumentParser(description=__doc__, **described)
parser.add_argument("file", type=Path)
parser.add_argument("--vocabulary", type=int, default=49152)
parser.add_argument("--rows", type=int, default=64)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()
draw = random.Random(options.seed)


def tokens(count):
    # The first three ids are special tokens in most vocabularies.
    return [draw.randrange(3, options.vocabulary) for _ in range(count)]


with options.file.open("w") as file:
    for _ in range(options.rows):
        length = min(max(round(draw.lognormvariate(math.log(350), 0.6)), LEAST), MOST)
        prompt = tokens(round(length * draw.uniform(0.3, 0.7)))
        answer = tokens(length - len(prompt))
        other = tokens(min(max(round(len(answer) * draw.uniform(0.6, 1.4)), 4), MOST - len(prompt)))
        row = {}
        for ids, labels, continuation in [
            ("input_ids", "labels", answer),
            ("chosen_ids", "chosen_labels", answer),
            ("rejected_ids", "rejected_labels", other),
        ]:
            row[ids] = prompt + continuation
            row[labels] = [-100] * len(prompt) + continuation
        file.write(json.dumps(row) + "\n")

#!/usr/bin/env python3
"""Makes and checks the golden numbers in this folder with PyTorch and transformers, in float64.

    pip install torch transformers safetensors        # made with torch 2.8.0, transformers 5.24.0

    make_golden.py check [FAMILY ...]                 # recompute, compare with the files
    make_golden.py write FAMILY ...                   # recompute, write the files
    make_golden.py new FAMILY --config FILE --seed N  # draw weights for a new family, then write

Inputs are `batches.json` (rows of token ids, shared by all families), and for each family its
`config.json`, `model.safetensors` (the policy) and `ref/model.safetensors` (the reference model of
the methods on pairs). Outputs are `cases.json` (methods on single answers), `pairs.json` (methods
on pairs) and, for the family in `ALL_VARIANTS`, `grads_f32.safetensors` (whole gradients).
The weights of the six families here were drawn once and are stored, so this script takes them as
they are: what it makes is every number that the tests compare with.

How it gets float64: transformers asks for float32 inside norms, rotary tables and the softmax of
attention, whatever dtype the model has. `Float64` turns each such request into one for float64 and
stops if a narrower floating-point tensor appears all the same. Weights are float32 on disk, and
widening them is exact. Each row runs alone, so nothing is padded.

Notation: a row has tokens x[0..n]; target t means that position t - 1 predicts x[t]. Lists in the
files are indexed by t - 1 and padded with zeros to the longest row of the batch.
"""
import argparse
import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

HERE = Path(__file__).resolve().parent
IGNORED = -100
# One family holds every variant of IFT and the direction of every gradient; the others hold the
# settings below, which touch all code that depends on the architecture.
ALL_VARIANTS = "llama"
PROJECTIONS = (0.7, 2.3)

# name -> (lambda, gamma, source of the weights, norm, side)
SETTINGS = {
    "default": (0.2, 0.95, "loss", "L1", "left"),
    "sft_equiv": (0.0, 0.0, "loss", "L1", "left"),
    "lam1_gamma1": (1.0, 1.0, "loss", "L1", "left"),
    "lam.2_gamma0": (0.2, 0.0, "loss", "L1", "left"),
}
MORE_SETTINGS = {
    "mask_right_log": (0.2, 0.95, "mask", "log", "right"),
    "logps_left_log": (0.2, 0.95, "logps", "log", "left"),
    "loss_right_softmax": (0.2, 0.95, "loss", "softmax", "right"),
    "logps_right_L2": (0.2, 0.95, "logps", "L2", "right"),
    "mask_left_L1": (0.2, 0.95, "mask", "L1", "left"),
    "loss_left_softmax": (0.2, 0.95, "loss", "softmax", "left"),
}
PAIR_CASES = ["dpo", "cdpo", "ipo_sum", "ipo_avg", "orpo", "simpo", "kto", "tdpo2", "tdpo1"]


class Float64(TorchFunctionMode):
    """Makes every request for float32 one for float64, and refuses results that are narrower."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        wide = lambda v: torch.float64 if v is torch.float32 else v
        args = tuple(wide(a) for a in args)
        kwargs = {name: wide(value) for name, value in (kwargs or {}).items()}
        result = args[0].double() if function is torch.Tensor.float else function(*args, **kwargs)
        narrow = isinstance(result, torch.Tensor) and result.is_floating_point()
        if narrow and result.dtype is not torch.float64:
            sys.exit(f"{getattr(function, '__name__', function)} gave {result.dtype}")
        return result


def load(folder):
    """The model in a folder, in float64, with eager attention."""
    config = AutoConfig.from_pretrained(folder)
    stored = {name: t.double() for name, t in load_file(folder / "model.safetensors").items()}
    with Float64():
        make = AutoModelForCausalLM.from_config
        model = make(config, dtype=torch.float64, attn_implementation="eager")
        missing, unexpected = model.load_state_dict(stored, strict=False)
        model.tie_weights()
    if unexpected or set(missing) - {"lm_head.weight"}:
        sys.exit(f"{folder}: missing tensors {missing}, unexpected tensors {unexpected}")
    if "lm_head.weight" in missing and not config.tie_word_embeddings:
        sys.exit(f"{folder}: no `lm_head.weight`, and `tie_word_embeddings` is false")
    model.config.use_cache = False
    return model.eval()


class Row:
    """Token ids [n], and which of the targets 1..n count, as a mask [n - 1] of 0 and 1."""

    def __init__(self, ids, labels, attention):
        length = sum(attention)
        self.ids = torch.tensor(ids[:length])
        self.is_target = torch.tensor(labels[:length]) != IGNORED
        self.mask = self.is_target[1:].double()
        self.count = self.mask.sum()


def rows_of(batch):
    return [Row(*row) for row in zip(batch["input_ids"], batch["labels"], batch["attention_mask"])]


def log_softmax(model, **inputs):
    """Log-probabilities [n, vocabulary] of a row, from token ids or embeddings [n, hidden]."""
    with Float64():
        return model(**{name: x[None] for name, x in inputs.items()}).logits[0].log_softmax(-1)


def target_log_probs(all_log_probs, row):
    """Log-probability of each target, zero where a token is none: [n - 1]."""
    chosen = all_log_probs[:-1].gather(1, row.ids[1:, None])[:, 0]
    return chosen * row.mask


def gradients_of(model, loss):
    """Gradients by parameter name; a parameter that the loss does not reach has none."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def summary(gradients, projections):
    """Norms; and sums with two cosines as weights, which see the direction that a norm does not."""
    result = {"norms": {name: g.norm().item() for name, g in gradients.items()}}
    if projections:
        result["projections"] = {name: project(g) for name, g in sorted(gradients.items())}
    return result


def project(gradient):
    flat = gradient.flatten()
    index = torch.arange(len(flat), dtype=torch.float64)
    return [(flat * (frequency * index).cos()).sum().item() for frequency in PROJECTIONS]


def padded(lists, width):
    return [values.tolist() + [0] * (width - len(values)) for values in lists]


# ------------------------------------------------------------------ methods on single answers


def sft_loss(model, rows):
    """Mean over rows of the mean over targets."""
    losses = []
    for row in rows:
        log_probs = target_log_probs(log_softmax(model, input_ids=row.ids), row)
        losses.append(-log_probs.sum() / row.count)
    return torch.stack(losses).mean()


class LookAhead:
    """The first pass of IFT over a batch: greedy predictions, and the tokens to mix in."""

    def __init__(self, model, rows):
        self.model, self.rows, self.argmax, self.further = model, rows, [], []
        for row in rows:
            with torch.no_grad():
                best = log_softmax(model, input_ids=row.ids).argmax(-1)
            further = row.ids.clone()
            at = row.is_target.clone()
            at[0] = False  # nothing predicts the first token
            further[at] = best[at.nonzero()[:, 0] - 1]
            self.argmax.append(best)
            self.further.append(further)

    def log_probs(self, share):
        """Log-probabilities of the targets, from inputs that mix in `share` of the prediction.
        The embedding table is a constant here: it learns through a tied head alone."""
        table = self.model.get_input_embeddings()
        result = []
        for row, further in zip(self.rows, self.further):
            with torch.no_grad(), Float64():
                mixed = (1 - share) * table(row.ids) + share * table(further)
            log_probs = log_softmax(self.model, inputs_embeds=mixed)
            result.append(target_log_probs(log_probs, row))
        return result


def relation_weights(log_probs, rows, gamma, source, norm, side):
    """Weights of the targets of each row, which sum to their count. `right` adds the smallest
    discounted sum of the whole batch to every one, which couples its rows."""
    if gamma == 0:
        return [torch.ones_like(values) for values in log_probs]
    sums = []
    for values, row in zip(log_probs, rows):
        item = {"mask": row.mask, "loss": -values / row.count, "logps": -values}[source]
        t = torch.arange(len(item))
        distance = t[None, :] - t[:, None] if side == "left" else t[:, None] - t[None, :]
        discount = torch.where(distance >= 0, gamma ** distance.clamp(min=0).double(), 0.0)
        sums.append(discount @ item)
    if side == "right":
        fill = 1e6
        sums = [torch.where(row.mask > 0, s, fill) for s, row in zip(sums, rows)]
        smallest = torch.cat([s[s != 0] for s in sums]).min()
        sums = [s + smallest for s in sums]
    weights = []
    for s, row in zip(sums, rows):
        rising = {
            "L1": lambda v: v,
            "L2": lambda v: v**2,
            "log": lambda v: (v + 1).log(),
            # Normalised below, so the denominator may run over any positions.
            "softmax": lambda v: v.exp(),
        }
        if side == "left":
            w = rising[norm](s)
        elif norm == "softmax":
            w = (1 / s).exp()
        else:
            w = 1 / rising[norm](s)
        w = torch.where(row.mask > 0, w, 0.0)
        weights.append(w * row.count / w.sum())
    return weights


def ift_loss(log_probs, rows, gamma, source, norm, side, detached=False):
    """Mean over rows of `Σ w·(−log p) / count`, and the weights."""
    seen = [values.detach() for values in log_probs] if detached else log_probs
    weights = relation_weights(seen, rows, gamma, source, norm, side)
    each = zip(log_probs, weights, rows)
    losses = [-(values * w * row.mask).sum() / row.count for values, w, row in each]
    return torch.stack(losses).mean(), weights


def single_cases(family, model, batches):
    """The content of `cases.json`, and whole gradients by `case/parameter`."""
    cases, whole = {}, {}
    settings = SETTINGS | (MORE_SETTINGS if family == ALL_VARIANTS else {})
    for batch_name in ("b0", "b1"):
        rows = rows_of(batches["sft"][batch_name])
        width = max(len(row.ids) for row in rows)

        def add(name, loss, about):
            gradients = gradients_of(model, loss)
            named = name in ("b0.sft", "b0.ift.default")
            cases[name] = about | {"loss": loss.item()} | summary(gradients, named)
            if named:
                whole.update({f"{name}/{p}": g.float() for p, g in gradients.items()})

        add(f"{batch_name}.sft", sft_loss(model, rows), {})
        ahead = LookAhead(model, rows)
        for name, (share, gamma, source, norm, side) in settings.items():
            about = {"lambda": share, "gamma": gamma, "type": source, "norm": norm, "side": side}
            values = ahead.log_probs(share)
            loss, weights = ift_loss(values, rows, gamma, source, norm, side)
            lists = {"weights": padded(weights, width - 1), "logps": padded(values, width - 1)}
            name = f"{batch_name}.ift.{name}"
            add(name, loss, about | {"detached": False} | lists)
            if gamma > 0:
                detached = ift_loss(ahead.log_probs(share), rows, gamma, source, norm, side, True)
                add(f"{name}.detached", detached[0], about | {"detached": True})
        cases[f"{batch_name}.ift.argmax"] = padded(ahead.argmax, width)
        cases[f"{batch_name}.ift.input_ids_further"] = padded(ahead.further, width)
        combos = cases[f"{batch_name}.combos"] = {}
        with torch.no_grad():
            values = ahead.log_probs(0.2)
        for source in ("loss", "logps", "mask"):
            for side in ("left", "right"):
                for norm in ("L1", "L2", "softmax", "log"):
                    for gamma in (0.95, 1.0):
                        loss, weights = ift_loss(values, rows, gamma, source, norm, side)
                        entry = combos[f"{source}|{side}|{norm}|{gamma}"] = {"loss": loss.item()}
                        if gamma < 1:
                            entry["weights"] = padded(weights, width - 1)
    return cases, whole


# ------------------------------------------------------------------ methods on pairs


class Scores:
    """What both models say about the answers of one side: sums, means and KL(ref ‖ policy)."""

    def __init__(self, model, reference, rows):
        self.count = torch.stack([row.count for row in rows])
        sums, reference_sums, divergences = [], [], []
        for row in rows:
            policy_all = log_softmax(model, input_ids=row.ids)
            with torch.no_grad():
                reference_all = log_softmax(reference, input_ids=row.ids)
            sums.append(target_log_probs(policy_all, row).sum())
            reference_sums.append(target_log_probs(reference_all, row).sum())
            each = (reference_all.exp() * (reference_all - policy_all)).sum(-1)[:-1]
            divergences.append((each * row.mask).sum())
        self.sum, self.reference = torch.stack(sums), torch.stack(reference_sums)
        self.divergence = torch.stack(divergences)
        self.mean = self.sum / self.count
        self.gain = self.sum - self.reference  # log of policy over reference


def pair_losses(name, chosen, rejected, kl):
    """Losses of the pairs (KTO: of the answers), rewards of both sides, and further numbers."""
    beta, more = 0.1, {}
    rewards = [beta * chosen.gain, beta * rejected.gain]
    h = chosen.gain - rejected.gain
    if name == "dpo":
        losses = -F.logsigmoid(beta * h)
    elif name == "cdpo":
        noise = 0.1  # share of pairs whose order is taken to be wrong
        losses = -(1 - noise) * F.logsigmoid(beta * h) - noise * F.logsigmoid(-beta * h)
    elif name == "ipo_sum":
        losses = (h - 1 / (2 * beta)) ** 2
    elif name == "ipo_avg":
        mean = chosen.gain / chosen.count - rejected.gain / rejected.count
        losses = (mean - 1 / (2 * beta)) ** 2
    elif name == "orpo":
        beta = 0.25
        odds = lambda side: side.mean - torch.log1p(-side.mean.exp())
        log_odds = odds(chosen) - odds(rejected)
        losses = -chosen.mean - beta * F.logsigmoid(log_odds)
        rewards = [beta * chosen.mean, beta * rejected.mean]
        more = {"log_odds": log_odds.tolist(), "sft_part": (-chosen.mean).tolist()}
    elif name == "simpo":
        beta, margin = 2.0, 1.6
        losses = -F.logsigmoid(beta * (chosen.mean - rejected.mean) - margin)
        rewards = [beta * chosen.mean, beta * rejected.mean]
    elif name == "kto":
        point = kl.gain.mean().detach()
        clamped = point.clamp(min=0)
        good = 1 - torch.sigmoid(beta * (chosen.gain - clamped))
        bad = 1 - torch.sigmoid(beta * (clamped - rejected.gain))
        losses = torch.cat([good, bad])
        more = {"kl": clamped.item(), "kl_unclamped": point.item()}
        more |= {"policy_kl_logps": kl.sum.tolist(), "ref_kl_logps": kl.reference.tolist()}
    elif name in ("tdpo1", "tdpo2"):
        if name == "tdpo1":
            shift = rejected.divergence - chosen.divergence
        else:
            shift = 0.5 * (rejected.divergence - chosen.divergence.detach())
        losses = -F.logsigmoid(beta * (h - shift))
        rewards = [beta * (side.gain + side.divergence) for side in (chosen, rejected)]
        more = {"kl_chosen": chosen.divergence.tolist()}
        more |= {"kl_rejected": rejected.divergence.tolist()}
    return losses, rewards, more


def pair_cases(family, model, reference, batches):
    """The content of `pairs.json`."""
    rows = {side: rows_of(batches["pref"][side]) for side in ("chosen", "rejected", "kl")}
    cases = {}
    for name in PAIR_CASES:
        score = lambda side: Scores(model, reference, rows[side])
        with torch.no_grad():
            kl = score("kl")
        chosen, rejected = score("chosen"), score("rejected")
        losses, (good, bad), more = pair_losses(name, chosen, rejected, kl)
        gradients = gradients_of(model, losses.mean())
        cases[f"pref.{name}"] = {
            "loss": losses.mean().item(),
            "losses": losses.tolist(),
            "chosen_rewards": good.tolist(),
            "rejected_rewards": bad.tolist(),
            "margins": (good - bad).tolist(),
            **more,
            **summary(gradients, name == "dpo" or family == ALL_VARIANTS),
        }
    sides = {"chosen": chosen, "rejected": rejected}
    cases["policy"] = {f"{name}_logps": side.sum.tolist() for name, side in sides.items()}
    known = {f"ref_{name}_logps": side.reference.tolist() for name, side in sides.items()}
    cases["reference"] = known
    return cases


# ------------------------------------------------------------------ comparing, writing, drawing


class Differences:
    """The largest difference of each kind of number, and whether all are small enough."""

    # Projections and whole gradients are stored with the rounding of f32.
    ALLOWED = {"projections": 1e-7, "gradients": 1e-7}

    def __init__(self):
        self.worst, self.compared, self.wrong = {}, 0, []

    def number(self, kind, where, found, expected, scale):
        difference = abs(found - expected) / scale
        self.compared += 1
        if not difference <= self.ALLOWED.get(kind, 1e-9):  # also true of NaN
            self.wrong.append(f"{where}: {found} instead of {expected}")
        if not difference <= self.worst.get(kind, 0.0):
            self.worst[kind] = difference

    def tree(self, kind, where, found, expected, scale=None):
        """Two JSON values of the same shape. `kind` is the name of the field that holds them."""
        if isinstance(expected, dict):
            if set(found) != set(expected):
                self.wrong.append(f"{where}: other fields, {set(found) ^ set(expected)}")
            for name in set(found) & set(expected):
                fields = ("norms", "projections", "losses")
                inner = kind if kind in fields else name
                self.tree(inner, f"{where} {name}", found[name], expected[name], scale)
        elif isinstance(expected, list):
            if len(found) != len(expected):
                self.wrong.append(f"{where}: {len(found)} values instead of {len(expected)}")
            for i, (f, e) in enumerate(zip(found, expected)):
                self.tree(kind, f"{where}[{i}]", f, e, scale)
        elif isinstance(expected, float):
            self.number(kind, where, found, expected, scale or max(abs(expected), 1.0))
        else:
            self.compared += 1
            if found != expected:
                self.wrong.append(f"{where}: {found} instead of {expected}")


def mask_lists(cases, batches):
    """Sets what no row predicts to zero: at padding, and where weights are not of a target."""
    for batch_name in ("b0", "b1"):
        rows = rows_of(batches["sft"][batch_name])

        def visit(value, name):
            for key, inner in value.items():
                here = name or key
                if isinstance(inner, dict):
                    visit(inner, here)
                elif here.startswith(batch_name) and key in ("weights", "logps"):
                    value[key] = [
                        [v if t < len(row.mask) and row.mask[t] > 0 else 0.0
                         for t, v in enumerate(values)]
                        for values, row in zip(inner, rows)
                    ]

        visit(cases, "")
        for key in ("argmax", "input_ids_further"):
            name = f"{batch_name}.ift.{key}"
            cut = [values[: len(row.ids)] for values, row in zip(cases[name], rows)]
            cases[name] = cut
    return cases


def compare(folder, batches, cases, whole, pairs):
    """Compares with the files of a family; true if everything agrees."""
    read = lambda name: json.loads((folder / name).read_text())
    differences = Differences()
    stored = {"cases": read("cases.json"), "pairs": read("pairs.json")}
    for name, found in (("cases", mask_lists(cases, batches)), ("pairs", pairs)):
        expected = mask_lists(stored[name], batches) if name == "cases" else stored[name]
        for case, numbers in found.items():
            projections = isinstance(numbers, dict) and numbers.pop("projections", None)
            wanted = expected.get(case)
            kept = wanted.pop("projections", None) if isinstance(wanted, dict) else None
            differences.tree(case.split(".")[-1], f"{folder.name} {case}", numbers, wanted)
            for parameter, sums in (kept or {}).items():
                where, size = f"{folder.name} {case} {parameter}", numbers["norms"][parameter]
                differences.tree("projections", where, projections[parameter], sums, size)
        if extra := set(expected) - set(found):
            differences.wrong.append(f"{folder.name}: cases that nobody makes, {extra}")
    gradients = folder / "grads_f32.safetensors"
    if gradients.exists():
        for name, expected in load_file(gradients).items():
            if name not in whole:
                differences.wrong.append(f"{folder.name}: {name} is not made")
                continue
            off = (whole[name].double() - expected.double()).norm().item()
            size = max(expected.double().norm().item(), 1e-30)
            differences.number("gradients", f"{folder.name} {name}", off, 0.0, size)
    worst = ", ".join(f"{kind} {value:.0e}" for kind, value in sorted(differences.worst.items()))
    print(f"{folder.name}: {differences.compared} numbers, largest differences: {worst}")
    for line in differences.wrong[:10]:
        print(f"  WRONG {line}")
    return differences.compared > 0 and not differences.wrong


def write(folder, cases, whole, pairs):
    for name, content in (("cases.json", cases), ("pairs.json", pairs)):
        (folder / name).write_text(json.dumps(content, separators=(",", ":")) + "\n")
    if folder.name == ALL_VARIANTS:
        save_file(whole, folder / "grads_f32.safetensors")
    print(f"wrote {folder}")


def draw(folder, config_file, seed):
    """A new family: random weights around their usual values, and a reference model nearby."""
    config = AutoConfig.from_pretrained(config_file)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:  # norms and biases: vary them, else nothing tests them
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    model.save_pretrained(folder / "ref")
    for extra in folder.rglob("generation_config.json"):
        extra.unlink()


def main():
    described = dict(formatter_class=argparse.RawDescriptionHelpFormatter)
    parser = argparse.ArgumentParser(description=__doc__, **described)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("check", "write"):
        command = commands.add_parser(name)
        command.add_argument("families", nargs="*" if name == "check" else "+")
    command = commands.add_parser("new")
    command.add_argument("families", nargs=1, metavar="FAMILY")
    command.add_argument("--config", required=True, help="a config.json of a tiny model")
    command.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    logging.set_verbosity_error()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # one order of every sum
    batches = json.loads((HERE / "batches.json").read_text())
    present = sorted(path.parent.name for path in HERE.glob("*/model.safetensors"))
    good = True
    for family in options.families or present:
        folder = HERE / family
        if options.command == "new":
            if folder.exists():
                parser.error(f"{folder} exists")
            draw(folder, options.config, options.seed)
        elif family not in present:
            parser.error(f"no family `{family}` here, but {', '.join(present)}")
        model, reference = load(folder), load(folder / "ref")
        cases, whole = single_cases(family, model, batches)
        pairs = pair_cases(family, model, reference, batches)
        if options.command == "check":
            good &= compare(folder, batches, cases, whole, pairs)
        else:
            write(folder, cases, whole, pairs)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

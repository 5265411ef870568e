"""Writes into expressions.json what transformers' chat templates make of each template in it.

Needs transformers and jinja2. Each entry is [template, text], or [template, null] if the template is refused.
"""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def render(template):
    try:
        return render_jinja_template([MESSAGES], chat_template=template, **SPECIAL)[0][0]
    except Exception:
        return None


path = Path(__file__).parent / "expressions.json"
entries = [[template, render(template)] for template, _ in json.loads(path.read_text())]
lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
path.write_text(f"[\n{lines}\n]\n")

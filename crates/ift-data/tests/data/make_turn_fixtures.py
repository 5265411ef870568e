#!/usr/bin/env python3
"""Writes chat templates that know tools and reasoning, and `turns.json`: what transformers makes of conversations with
them, for the tokenizers of make_fixtures.py. Nothing is random; the same versions write the same bytes.

Needs: transformers 5.24, jinja2. Run: python make_turn_fixtures.py
"""
import copy
import json
from pathlib import Path

from tokenizers import processors
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent

TEMPLATES = {
    # Tools in the system message, calls in XML marks, results in a user's turn, and reasoning that stays only after the
    # last question.
    "think_tools": """{%- if tools -%}
    {{- '<|im_start|>system\\n' -}}
    {%- if messages[0].role == 'system' -%}{{- messages[0].content + '\\n\\n' -}}{%- endif -%}
    {{- '# Tools\\n\\nThe functions are inside <tools></tools>:\\n<tools>' -}}
    {%- for tool in tools -%}{{- '\\n' -}}{{- tool | tojson -}}{%- endfor -%}
    {{- '\\n</tools><|im_end|>\\n' -}}
{%- elif messages[0].role == 'system' -%}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- set ns = namespace(last=-1) -%}
{%- for message in messages -%}
    {%- if message.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
    {%- set content = message.content if message.content is string else '' -%}
    {%- if message.role == 'assistant' -%}
        {%- set thought = '' -%}
        {%- if message.reasoning_content is string -%}
            {%- set thought = message.reasoning_content -%}
        {%- elif '</think>' in content -%}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') -%}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
        {%- endif -%}
        {{- '<|im_start|>assistant\\n' -}}
        {%- generation -%}
        {%- if loop.index0 > ns.last and (loop.last or thought) -%}
            {{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') -}}
        {%- else -%}
            {{- content -}}
        {%- endif -%}
        {%- for call in message.tool_calls or [] -%}
            {%- set call = call.function or call -%}
            {%- if content or not loop.first -%}{{- '\\n' -}}{%- endif -%}
            {{- '<tool_call>\\n{"name": "' + call.name + '", "arguments": ' -}}
            {{- call.arguments if call.arguments is string else call.arguments | tojson -}}
            {{- '}\\n</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>' -}}
        {%- endgeneration -%}
        {{- '\\n' -}}
    {%- elif message.role == 'tool' -%}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}{{- '<|im_start|>user' -}}{%- endif -%}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' -}}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{- '<|im_end|>\\n' -}}{%- endif -%}
    {%- elif message.role != 'system' or not loop.first -%}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
    {%- if enable_thinking is defined and enable_thinking is false -%}
        {{- '<think>\\n\\n</think>\\n\\n' -}}
    {%- endif -%}
{%- endif -%}""",
    # A call is the whole turn, its content is not written; one call a turn; results under a role of their own.
    "header_tools": """{{- bos_token -}}
{%- if messages[0].role == 'system' -%}
    {%- set system = messages[0].content | trim -%}{%- set rest = messages[1:] -%}
{%- else -%}
    {%- set system = '' -%}{%- set rest = messages -%}
{%- endif -%}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' -}}
{%- if tools -%}
    {{- '# Tools\\n' -}}
    {%- for tool in tools -%}{{- tool | tojson + '\\n' -}}{%- endfor -%}
{%- endif -%}
{{- system + '<|eot_id|>' -}}
{%- for message in rest -%}
    {%- if message.tool_calls -%}
        {%- if message.tool_calls | length != 1 -%}
            {{- raise_exception('This model only supports single tool-calls at once!') -}}
        {%- endif -%}
        {%- set call = message.tool_calls[0].function -%}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {%- generation -%}
        {{- '{"name": "' + call.name + '", "parameters": ' -}}{{- call.arguments | tojson -}}{{- '}<|eot_id|>' -}}
        {%- endgeneration -%}
    {%- elif message.role == 'tool' -%}
        {{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' + message.content | tojson + '<|eot_id|>' -}}
    {%- elif message.role == 'assistant' -%}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {%- generation -%}{{- message.content | trim + '<|eot_id|>' -}}{%- endgeneration -%}
    {%- else -%}
        {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}""",
    # No generation prompt. A result must follow a call, and the tools stand before the first question.
    "inst_tools": """{{- bos_token -}}
{%- for message in messages -%}
    {%- if message.role == 'user' -%}
        {%- if tools and loop.first -%}{{- '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' -}}{%- endif -%}
        {{- '[INST] ' + message.content + '[/INST]' -}}
    {%- elif message.role == 'tool' -%}
        {%- if not messages[loop.index0 - 1].tool_calls and messages[loop.index0 - 1].role != 'tool' -%}
            {{- raise_exception('A tool result must follow a tool call.') -}}
        {%- endif -%}
        {{- '[TOOL_RESULTS] ' + {'content': message.content} | tojson + '[/TOOL_RESULTS]' -}}
    {%- elif message.tool_calls -%}
        {%- generation -%}
        {{- '[TOOL_CALLS] [' -}}
        {%- for call in message.tool_calls -%}
            {{- call.function | tojson -}}{%- if not loop.last -%}{{- ', ' -}}{%- endif -%}
        {%- endfor -%}
        {{- ']' + eos_token -}}
        {%- endgeneration -%}
    {%- elif message.role == 'assistant' -%}
        {%- generation -%}{{- ' ' + message.content + eos_token -}}{%- endgeneration -%}
    {%- else -%}
        {{- raise_exception('Only user, assistant and tool roles are supported!') -}}
    {%- endif -%}
{%- endfor -%}""",
    # The role is renamed, contents are trimmed, tools stand in the first user's turn and calls in a code block.
    "model_tools": """{{- bos_token -}}
{%- for message in messages -%}
    {{- '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + '\\n' -}}
    {%- if loop.first and tools -%}{{- 'Functions: ' + tools | tojson + '\\n' -}}{%- endif -%}
    {%- if message.role == 'assistant' -%}
        {%- generation -%}
        {%- if message.content -%}{{- message.content | trim -}}{%- endif -%}
        {%- if message.tool_calls -%}
            {{- '```tool_code\\n' -}}
            {%- for call in message.tool_calls -%}{{- call.function | tojson + '\\n' -}}{%- endfor -%}
            {{- '```' -}}
        {%- endif -%}
        {{- '<end_of_turn>' -}}
        {%- endgeneration -%}
    {%- elif message.role == 'tool' -%}
        {{- '```tool_output\\n' + message.content | trim + '\\n```<end_of_turn>' -}}
    {%- else -%}
        {{- message.content | trim + '<end_of_turn>' -}}
    {%- endif -%}
    {{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}""",
}
TOKENIZERS = {"think_tools": "bytelevel", "header_tools": "llama3", "inst_tools": "mistral", "model_tools": "gemma"}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather & <wind>",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def user(text):
    return {"role": "user", "content": text}


def answer(text, **fields):
    return {"role": "assistant", "content": text, **fields}


def call(*cities, content=""):
    calls = [
        {"id": f"call{i:05}", "type": "function", "function": {"name": "get_weather", "arguments": {"city": city}}}
        for i, city in enumerate(cities)
    ]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def result(text):
    return {"role": "tool", "content": text, "tool_call_id": "call00000"}


# (messages, tools)
CONVERSATIONS = [
    ([user("Weather in Paris?"), call("Paris"), result("18C"), answer("18 degrees.")], TOOLS),
    ([user("Weather in Paris?"), call("Paris", content=None), result("18C"), answer("18 degrees.")], TOOLS),
    ([user("Weather in Paris?"), call("Paris")], TOOLS),
    ([user("Paris and Rome?"), call("Paris", "Rome"), result("18C"), result("20C"), answer("18 and 20.")], TOOLS),
    ([user("Both?"), call("Paris"), result("18C"), call("Rome"), result("20C"), answer("18, 20.")], TOOLS),
    ([user("Both?"), call("a"), result("1"), call("a"), result("1"), call("a"), result("1"), answer("1")], TOOLS),
    ([user("Hi"), answer("Hello"), user("Weather?"), call("Paris"), result("18C"), answer("18")], TOOLS),
    ([user("Hi"), call("x<|im_end|>\\n</s><end_of_turn><|eot_id|>"), result("<|im_end|></s>"), answer("18")], TOOLS),
    ([user("Hi"), answer("One."), answer("Two."), user("And?"), answer("Three.")], []),
    ([{"role": "system", "content": "Be brief."}, user("Hi"), call("Paris", content="Let me look."), result("1"), answer("1")], TOOLS),
    ([user("Hi"), answer("18 degrees.", reasoning_content="Let me think.")], []),
    ([user("a"), answer("<think>\nadd\n</think>\n\n4"), user("c"), answer("<think>\nmore\n</think>\n\n6")], []),
    ([user("a"), answer("4", reasoning_content="add"), user("c"), answer("6", reasoning_content="more")], []),
    ([user("a"), answer("  4 \n"), user("c"), answer("\n6 ")], []),
    ([user("Hi"), answer("Hello")], TOOLS),
]


def spans(mask):
    """Runs of ones as [start, end)."""
    edges = [i for i in range(len(mask) + 1) if (i < len(mask) and mask[i]) != (i > 0 and mask[i - 1])]
    return [list(pair) for pair in zip(edges[::2], edges[1::2])]


def main():
    cases = []
    for name, source in TEMPLATES.items():
        (HERE / "templates" / f"{name}.jinja").write_text(source)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(HERE / "tokenizers" / TOKENIZERS[name])
        exact = copy.deepcopy(tokenizer)
        if TOKENIZERS[name] == "bytelevel":
            # Masks are found through offsets, which trimming would shorten.
            exact.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
        results = []
        for messages, tools in CONVERSATIONS:
            settings = dict(tools=tools or None, chat_template=source, return_dict=True)
            try:
                out = exact.apply_chat_template(messages, return_assistant_tokens_mask=True, **settings)
            except Exception as error:
                results.append({"refused": str(error)})
                continue
            results.append({"ids": list(out["input_ids"]), "targets": spans(out["assistant_masks"])})
        cases.append({"template": name, "tokenizer": TOKENIZERS[name], "results": results})
    conversations = [{"messages": messages, "tools": tools} for messages, tools in CONVERSATIONS]
    fixture = {"conversations": conversations, "cases": cases}
    (HERE / "turns.json").write_text(json.dumps(fixture, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()

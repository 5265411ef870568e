//! The templates that a recipe can name.

/// Templates that can be named in a configuration: (name, source).
pub(crate) const BUILT_IN_TEMPLATES: [(&str, &str); 3] =
    [("zephyr", ZEPHYR), ("chatml", CHATML), ("llama3", LLAMA3)];

/// The template of the IFT authors: `<|role|>`, a new line, the content, and the EOS token of the
/// tokenizer.
const ZEPHYR: &str = "{%- for message in messages -%}
{%- if message.role not in ['system', 'user', 'assistant'] -%}
{{- raise_exception('role `' + message.role + '` is not known; \
    expected system, user or assistant') -}}
{%- endif -%}
{{- '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}";

const CHATML: &str = "{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}";

const LLAMA3: &str = "{{- bos_token -}}
{%- for message in messages -%}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' \
    + message.content | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}\
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}";

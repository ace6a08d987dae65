"""The table of all code blocks: each runs, or says why it cannot run here."""

from __future__ import annotations

from guides.blocks import Block

_INSTALL = "installs other programs"
_OTHER = "another vendor's program"
_REFERENCE = "a program of the reference repository; `ossia {}` does its work"
_REMOTE = "a remote service"
_OUTPUT = "no code: what a program prints"

_LOAD = 'from transformers import AutoTokenizer\ntokenizer = AutoTokenizer.from_pretrained("openai/gpt-oss-20b")'
_GENERATE = "from transformers import AutoModelForCausalLM, AutoTokenizer"
_DECODE = "print(tokenizer.decode("
_ONE_COMMAND = (("\n-H", " -H"), ("\n-d", " -d"))
_STREAMED_RESPONSE = (
    "event: response.created",
    "event: response.output_text.delta",
    "data: [DONE]",
)
_PLUS = tuple((f"+ {line}", line) for line in ("#", "attn", "use"))

BLOCKS = (
    Block(guide="000", name="install", fence=0, kind="shell", cannot=_INSTALL),
    Block(guide="000", name="pipeline", fence=1, shows=("'role': 'assistant'",)),
    Block(guide="000", name="generate", fence=2, shows=("<|start|>assistant",)),
    Block(guide="000", name="serve", fence=3, kind="server"),
    Block(
        guide="000", name="chat", fence=4, kind="client", typed="How many rs are in the word 'strawberry'?\n",
        shows=("3 rs",),
    ),
    Block(guide="000", name="curl", fence=5, kind="client", shows=_STREAMED_RESPONSE),
    Block(guide="000", name="chat template", fence=6, shows=("<|channel|>",)),
    Block(guide="000", name="install harmony", fence=7, kind="shell", cannot=_INSTALL),
    Block(guide="000", name="harmony", fence=8, shows=('"role": "assistant"', '"channel"')),
    Block(guide="000", name="distributed", fence=9, shows=("Model response:",)),
    Block(
        guide="000", name="torchrun", fence=10, kind="shell",
        cannot="four GPUs; several processes come with their own feature",
    ),
    Block(
        guide="002", name="inference providers chat", first="import os", last="print(completion",
        cannot=f"{_REMOTE}; and the guide means `completion.choices`, not `completion.decisions`",
    ),
    Block(
        guide="002", name="inference providers responses", first="import os", last="print(response)",
        occurrence=1, cannot=_REMOTE,
    ),
    Block(
        guide="002", name="install", first='pip install --upgrade transformers kernels speed up "triton>=3.4"',
        last="pip", kind="shell", cannot=f"{_INSTALL}; and the guide means `accelerate`, not `speed up`",
    ),
    Block(guide="002", name="generate", first=_GENERATE, last=_DECODE, shows=("<|channel|>analysis",)),
    Block(
        guide="002", name="flash attention", first=_GENERATE, last=_DECODE, occurrence=1,
        mended=_PLUS[:2], shows=("<|channel|>analysis",),
    ),
    Block(
        guide="002", name="use_kernels", first=_GENERATE, last=_DECODE, occurrence=2,
        mended=(_PLUS[0], _PLUS[2]), shows=("<|channel|>analysis",),
    ),
    Block(guide="002", name="tensor parallel", first=_GENERATE, last="print(\"Model response", occurrence=3, shows=("Model response:",)),
    Block(guide="002", name="llama.cpp", first="# MacOS", last="# Then, access", kind="shell", cannot=_OTHER),
    Block(guide="002", name="vllm serve", first="vllm serve openai/gpt-oss-120b --tensor-parallel-size 2", last="vllm", kind="server", mended=((" --tensor-parallel-size 2", ""),)),
    Block(
        guide="002", name="vllm offline", first="from vllm import LLM", last="output = ",
        mended=(("tensor_parallel_size=2", "tensor_parallel_size=1"),),
    ),
    Block(guide="002", name="serve", first="transformers serve", last="transformers", occurrence=1, kind="server"),
    Block(
        guide="002", name="curl responses", first="# responses API", last="-d", kind="client",
        mended=_ONE_COMMAND, shows=_STREAMED_RESPONSE,
    ),
    Block(
        guide="002", name="curl chat", first="# completions API", last="-d", kind="client",
        mended=_ONE_COMMAND, shows=("chat.completion.chunk", "data: [DONE]"),
    ),
    Block(guide="002", name="lighteval", first="git clone https://github.com/huggingface/lighteval", last="--remove-reasoning-tags", kind="shell", cannot=f"{_OTHER}, and a download"),
    Block(guide="002", name="thinking", first="chat = [", last="inputs = ", before=_LOAD),
    Block(guide="002", name="model identity", first="chat = [", last=")", occurrence=1, before=_LOAD),
    Block(
        guide="002", name="tools", first="def get_current_weather(location: str):", last=")", before=_LOAD,
        mended=(
            ("\n\"\"\"\nReturns", "\n    \"\"\"\n    Returns"), ("\nArgs:\nlocation:", "\n    Args:\n        location:"),
            ("\n\"\"\"\nreturn", "\n    \"\"\"\n    return"), ("[weather_tool]", "[get_current_weather]"),
        ),
    ),
    Block(
        guide="002", name="tool result", first="tool_call_message = {", last="chat.append(tool_result_message)",
        before="chat = [{'role': 'user', 'content': 'weather?'}]\ndef get_current_weather(location): return 'Terrestrial.'",
    ),
    Block(guide="003", name="pipeline", fence=0, flattened=True, shows=("'role': 'assistant'",)),
    Block(guide="003", name="vllm", fence=1, kind="shell", cannot=f"{_INSTALL}; {_OTHER}"),
    Block(guide="003", name="ollama", fence=2, kind="shell", cannot=_OTHER),
    Block(guide="003", name="lm studio", fence=3, kind="shell", cannot=_OTHER),
    Block(guide="003", name="install", fence=4, kind="shell", cannot=_INSTALL),
    Block(guide="003", name="install from source", fence=5, kind="shell", cannot=_INSTALL),
    Block(guide="003", name="download", fence=6, kind="shell", cannot=_REFERENCE.format("pull")),
    Block(guide="003", name="install torch", fence=7, kind="shell", cannot=_INSTALL),
    Block(guide="003", name="torch generate", fence=8, kind="shell", cannot=_REFERENCE.format("generate")),
    Block(guide="003", name="install triton", fence=9, kind="shell", cannot=_INSTALL),
    Block(guide="003", name="triton generate", fence=10, kind="shell", cannot=_REFERENCE.format("generate")),
    Block(guide="003", name="install metal", fence=11, kind="shell", cannot=_INSTALL),
    Block(guide="003", name="metal weights", fence=12, kind="shell", cannot="Apple hardware"),
    Block(guide="003", name="metal download", fence=13, kind="shell", cannot="Apple hardware"),
    Block(guide="003", name="metal generate", fence=14, kind="shell", cannot="Apple hardware"),
    Block(guide="003", name="chat usage", fence=15, kind="shell", cannot=_OUTPUT),
    Block(guide="003", name="server usage", fence=16, kind="shell", cannot=_OUTPUT),
    Block(guide="003", name="codex settings", fence=17, kind="shell", cannot=f"settings of {_OTHER}"),
    Block(guide="003", name="codex", fence=18, kind="shell", cannot=_OTHER),
    Block(
        guide="003", name="browser", fence=19,
        cannot="a remote service (Exa), an undefined name (use_browser_tool), and comments that have swallowed the code behind them",
    ),
    Block(
        guide="003", name="python tool", fence=20,
        cannot="a Docker container, an undefined name (use_python_tool), and comments that have swallowed the code behind them",
    ),
    Block(guide="004", name="pipeline", fence=0),
    Block(
        guide="004", name="generate", fence=1, shows=("<|channel|>",),
        mended=(('"openai/gpt-oss-20b" device_map', '"openai/gpt-oss-20b", device_map'),),
    ),
    Block(guide="004", name="run", fence=2, kind="shell", mended=((" --device 0", ""),), shows=("Plants create energy",)),
    Block(guide="004", name="cache scan", fence=3, kind="shell", cannot=_OTHER),
    Block(guide="004", name="cache scan output", fence=4, kind="shell", cannot=_OUTPUT),
)  # fmt: skip

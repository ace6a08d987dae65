"""The unpacked demo is an ordinary folder: transformers reads it and says the same."""

from __future__ import annotations

import torch
import transformers

from ossia.api.runtime import Runtime
from ossia.demo.unpack import demo_folder
from ossia.engine.config import EngineConfig
from ossia.types import Request, SamplingParams

PROMPTS = [
    "How many rs are in the word 'strawberry'?",
    "How many e's are in nevertheless?",
    "count the s in mississippi",
    "How many letters are in 'keyboard'?",
    "Spell banana.",
    "What is 17 + 25?",
    "345 - 87",
    "What is 12 minus 40?",
    "Add 999 and 1.",
    "What is 7 times 8?",
    "What is the capital of France?",
    "What colour is grass?",
    "Hello!",
    "Who are you?",
    "Thanks!",
    "Are you ChatGPT?",
    "Explain quantum mechanics clearly and concisely.",
    "Write a poem about the sea.",
    "¿Qué hora es?",
    "x",
]
NEW_TOKENS = 32
STOP_IDS = (199999, 200002, 200012)


def test_greedy_text_is_the_same_on_twenty_prompts():
    folder = demo_folder()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    chats = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    inputs = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    expand = transformers.Mxfp4Config(dequantize=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, quantization_config=expand
    ).eval()
    with torch.inference_mode():
        generated = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)
    expected = [_cut(row) for row in generated[:, inputs["input_ids"].shape[1] :].tolist()]
    del model

    config = EngineConfig(max_sequences=len(PROMPTS), max_context=1024)
    runtime = Runtime.load(str(folder), device="cpu", dtype="float32", config=config)
    sampling = SamplingParams(temperature=0.0, max_tokens=NEW_TOKENS, stop_token_ids=STOP_IDS)
    requests = [
        Request(request_id=str(idx), prompt_ids=tuple(ids[mask.bool()].tolist()), sampling=sampling)
        for idx, (ids, mask) in enumerate(
            zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
        )
    ]
    actual = [result.continuations[0].token_ids for result in runtime.engine.generate(requests)]
    texts = [
        (tokenizer.decode(a), tokenizer.decode(e)) for a, e in zip(actual, expected, strict=True)
    ]
    assert [ours for ours, _ in texts] == [theirs for _, theirs in texts]


def _cut(ids: list[int]) -> list[int]:
    """Up to the first stop token, it included; what follows in a batch is padding."""
    for idx, token_id in enumerate(ids):
        if token_id in STOP_IDS:
            return ids[: idx + 1]
    return ids

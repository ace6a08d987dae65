"""LLM: vLLM's offline API, over Ossia's engine."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch

from ossia.api.loading import load_module
from ossia.api.model_source import find_model
from ossia.api.offline.chat_loop import ChatLoop
from ossia.api.offline.checkpoint_sampling import CheckpointSampling
from ossia.api.offline.completion import Completion
from ossia.api.offline.llm_options import LLMOptions
from ossia.api.offline.llm_prompts import PromptIds, read_prompts
from ossia.api.offline.request_output import RequestOutput
from ossia.api.offline.sampling_params import SamplingParams
from ossia.api.progress import progress_bar
from ossia.api.reply import Reply
from ossia.api.tokenizing.pretrained_tokenizer import PreTrainedTokenizer
from ossia.api.tokenizing.tokenizer_files import TokenizerFiles, find_tokenizer
from ossia.engine.core import EngineCore
from ossia.engine.sync_engine import SyncEngine
from ossia.errors import RequestError
from ossia.model.heads import CausalLM
from ossia.tokenizer import special

Chat = Sequence[Mapping[str, Any]]
Params = SamplingParams | Sequence[SamplingParams] | None
_REFUSED = {
    "encode": "use pipeline('text-classification') or GptOssModel",
    "embed": "use GptOssModel, which gives hidden states",
    "classify": "use pipeline('text-classification')",
    "score": "use prompt_logprobs",
    "reward": "use pipeline('text-classification')",
    "beam_search": "use GptOssForCausalLM.generate(num_beams=...)",
}


class LLM:
    """A model that continues many prompts side by side.

    Args:
        model: A folder, a hub id, `demo`, or `random:20b|120b|tiny`.
        tokenizer: The name of another model whose tokenizer to use, or a tokenizer.
        dtype: What floating-point weights become; "auto" keeps the checkpoint's.
        seed: Makes all requests without a seed of their own repeatable, in order.
        revision: Branch, tag or commit of a hub id.
        tokenizer_revision: The same for the tokenizer.
        hf_token: Access token of the hub.
        download_dir: Where hub files are kept.
        device: "auto", "cpu", "cuda", "cuda:N" or another of torch's.
        options: vLLM's other arguments, `LLMOptions` says which: `max_model_len`, `max_num_seqs`,
            `gpu_memory_utilization`, `enable_prefix_caching`, `kv_cache_memory_bytes`, ...
            And `cpu_weights`, `cpu_activations`, `fp8_weights`, `fp8_prefill` and `deterministic`, as
            `EngineConfig` has them.

    Raises:
        RequestError: an argument is unknown or asks for what is not supported; names it.
        OssiaError: what loading a model raises.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        tokenizer: str | PreTrainedTokenizer | None = None,
        dtype: Any = "auto",  # noqa: ANN401  (torch's or a name)
        seed: int | None = None,
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        hf_token: str | bool | None = None,
        download_dir: str | Path | None = None,
        device: str | torch.device = "auto",
        **options: Any,  # noqa: ANN401  (vLLM's)
    ) -> None:
        chosen = LLMOptions.of(options)
        token = hf_token if isinstance(hf_token, str) else None
        source = find_model(
            str(model), revision=revision, cache_dir=download_dir, token=token, download=True
        )
        if isinstance(tokenizer, PreTrainedTokenizer):
            self._tokenizer = tokenizer
        else:
            files = (
                TokenizerFiles.of_source(source)
                if tokenizer is None
                else find_tokenizer(tokenizer, revision=tokenizer_revision, token=hf_token)
            )
            self._tokenizer = PreTrainedTokenizer(files, name_or_path=str(tokenizer or model))
        network = load_module(CausalLM, source, dtype=dtype, device=device)
        self._sampling = CheckpointSampling.of(source, network.config.vocab_size)
        if chosen.generation_config == "vllm":
            self._sampling = CheckpointSampling(self._sampling.eos_ids)
        engine_config = chosen.engine_for(network.config.vocab_size)
        self._engine = SyncEngine(EngineCore(network, engine_config))
        self._seeds = None if seed is None else random.Random(seed)
        self._numbers = count()

    def get_tokenizer(self) -> PreTrainedTokenizer:
        """The tokenizer."""
        return self._tokenizer

    def get_default_sampling_params(self) -> SamplingParams:
        """What holds where no sampling is given: the checkpoint's, and vLLM's 16 tokens."""
        return SamplingParams(**self._sampling.defaults)

    def generate(
        self,
        prompts: Any = None,  # noqa: ANN401  (see read_prompts)
        sampling_params: Params = None,
        *,
        use_tqdm: bool | Callable[..., Any] = True,
        prompt_token_ids: Any = None,  # noqa: ANN401
        lora_request: None = None,
        priority: Sequence[int] | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
    ) -> list[RequestOutput]:
        """Continue prompts, all side by side.

        Args:
            prompts: A text, ids, a `{"prompt": text}` or `{"prompt_token_ids": ids}` mapping, or a
                list of these.
            sampling_params: For all, or a list with one for each.
            use_tqdm: Whether a bar is shown in a terminal.
            prompt_token_ids: vLLM's older way to give ids.
            lora_request: Not supported.
            priority: One for each prompt; lower runs first.
            tokenization_kwargs: For the tokenizer, such as `{"split_special_tokens": True}`: names
                of special tokens in a text prompt are the tokens otherwise.

        Returns:
            One output for each prompt, in their order.

        Raises:
            RequestError: a prompt that cannot be served; then none is.
            EngineClosedError: the engine failed.
        """
        _refuse("lora_request", lora_request)
        given = prompts if prompt_token_ids is None else prompt_token_ids
        read = read_prompts(given, self._tokenizer, tokenization_kwargs or {})
        return self._run(read, sampling_params, priority, bool(use_tqdm))

    def chat(
        self,
        messages: Chat | Sequence[Chat],
        sampling_params: Params = None,
        use_tqdm: bool | Callable[..., Any] = True,
        lora_request: None = None,
        chat_template: str | None = None,
        chat_template_content_format: str = "auto",
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        tools: Sequence[Any] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        mm_processor_kwargs: None = None,
        *,
        tool_choice: str = "auto",
        **variables: Any,  # noqa: ANN401  (the template's)
    ) -> list[RequestOutput]:
        """Answer chats, all side by side; `outputs[0].reply` holds the parts of each answer.

        With a Python function among the tools, its calls are run and the model goes on with the
        results until it has answered. With tools given as JSON schemas alone, the answer ends at
        the call.

        Args:
            messages: A chat, or a list of chats.
            sampling_params: For all, or a list with one for each. Without any, the checkpoint's
                sampling, up to the end of the context.
            use_tqdm: Whether a bar is shown in a terminal.
            lora_request: Not supported.
            chat_template: One in place of the checkpoint's.
            chat_template_content_format: Makes no difference: templates take both forms.
            add_generation_prompt: Begin the assistant's reply.
            continue_final_message: Go on inside the last message.
            tools: Functions with type hints and a docstring, or JSON schemas.
            chat_template_kwargs: Further variables of the template.
            mm_processor_kwargs: Not supported.
            tool_choice: With functions: "auto", "none", "required" or a function's name.
            variables: The same, by name: `reasoning_effort`, `model_identity`, `builtin_tools`.

        Returns:
            One output for each chat, in their order.

        Raises:
            RequestError: a chat that cannot be served, or an argument that is not supported.
            HarmonyError: the template refuses a chat.
            EngineClosedError: the engine failed.
        """
        _refuse("lora_request", lora_request)
        _refuse("mm_processor_kwargs", mm_processor_kwargs)
        if chat_template_content_format not in ("auto", "string", "openai"):
            _refuse("chat_template_content_format", chat_template_content_format)
        if not messages:
            raise RequestError("there is no message", field="messages")
        chats: list[Any] = [messages] if isinstance(messages[0], Mapping) else list(messages)
        variables = {**(chat_template_kwargs or {}), **variables}
        if not any(callable(tool) for tool in tools or ()):
            if tool_choice != "auto":
                raise RequestError("it holds for functions; give some", field="tool_choice")
            variables |= {
                "tools": tools,
                "chat_template": chat_template,
                "add_generation_prompt": add_generation_prompt and not continue_final_message,
                "continue_final_message": continue_final_message,
            }
            _refuse_structured_turns(sampling_params, variables)
            prompts = [self._chat_prompt(chat, variables) for chat in chats]
            return self._replies(self._run(prompts, sampling_params, None, bool(use_tqdm), True))
        if chat_template is not None or continue_final_message or not add_generation_prompt:
            raise RequestError(
                "functions are run on whole turns in harmony; to write the prompt yourself, give "
                "JSON schemas instead",
                field="tools",
            )
        loop = ChatLoop(self._engine, self._tokenizer.tokenizer, tools or (), tool_choice)
        params = self._params(sampling_params, len(chats), is_chat=True)
        with progress_bar("chats", len(chats), shown=bool(use_tqdm)) as advance:
            return loop.run(chats, params, variables, advance)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if name in _REFUSED:
            raise RequestError(f"is not supported; {_REFUSED[name]}", field=name)
        raise AttributeError(f"LLM has no {name!r}")

    def _run(
        self,
        prompts: Sequence[PromptIds],
        sampling_params: Params,
        priority: Sequence[int] | None,
        shows: bool,
        is_chat: bool = False,
    ) -> list[RequestOutput]:
        all_params = self._params(sampling_params, len(prompts), is_chat=is_chat)
        ranks = list(priority or [0] * len(prompts))
        if len(ranks) != len(prompts):
            raise RequestError(f"{len(ranks)} for {len(prompts)} prompts", field="priority")
        completions = [
            self._completion(*each, is_chat)
            for each in zip(prompts, all_params, ranks, strict=True)
        ]
        running = {one.request_id: one for one in completions}
        with progress_bar("prompts", len(prompts), shown=shows) as advance:
            for output in self._engine.stream_all([one.request() for one in running.values()]):
                one = running[output.request_id]
                was_finished = one.is_finished
                one.push(output)
                if one.is_finished and not was_finished:
                    if output.finish_reason is None:
                        self._engine.abort(output.request_id)
                    advance(1, 1)
                else:
                    advance(0, 1)
        return [one.output() for one in running.values()]

    def _chat_prompt(self, chat: Any, arguments: Mapping[str, Any]) -> PromptIds:  # noqa: ANN401
        ids = self._tokenizer.apply_chat_template(
            chat, sanitize_control_tokens=True, return_dict=False, **arguments
        )
        return PromptIds(ids)

    def _replies(self, outputs: list[RequestOutput]) -> list[RequestOutput]:
        """The same with the parts of each reply."""
        for output in outputs:
            for one in output.outputs:
                ids = one.token_ids
                one.reply = Reply.of(self._tokenizer.tokenizer, output.prompt_token_ids, ids)
                if one.finish_reason == "stop" and ids and ids[-1] == special.CALL:
                    one.finish_reason = "tool_calls"
        return outputs

    def _params(self, given: Params, number: int, *, is_chat: bool) -> list[SamplingParams]:
        if given is None:
            params = self.get_default_sampling_params()
            if is_chat:
                params.max_tokens = None
            return [params] * number
        if isinstance(given, SamplingParams):
            return [given] * number
        if len(given) != number:
            raise RequestError(f"{len(given)} for {number} prompts", field="sampling_params")
        return list(given)

    def _completion(
        self, prompt: PromptIds, params: SamplingParams, priority: int, is_chat: bool
    ) -> Completion:
        ids = prompt.ids
        if params.truncate_prompt_tokens is not None:
            most = self._engine.core.admission.max_context - 1
            cut = params.truncate_prompt_tokens
            ids = ids[-(most if cut == -1 else cut) :]
        seed = None if self._seeds is None else self._seeds.getrandbits(63)
        return Completion(
            f"{next(self._numbers)}",
            self._tokenizer.tokenizer,
            prompt.text,
            ids,
            params,
            params.to_engine(eos_ids=self._sampling.eos_ids, seed=seed),
            end_id=self._tokenizer.eos_token_id,
            priority=priority,
            is_chat=is_chat,
        )


def _refuse_structured_turns(params: Params, variables: Mapping[str, Any]) -> None:
    """Where the template or the caller decides what a turn begins with, nobody can follow it."""
    given = [params] if isinstance(params, SamplingParams) else params or ()
    if all(one.structured_outputs is None for one in given):
        return
    for name in ("tools", "builtin_tools", "chat_template", "continue_final_message"):
        if variables.get(name):
            message = f"is not supported with {name} unless functions are run; leave one out"
            raise RequestError(message, field="structured_outputs")
    if not variables["add_generation_prompt"]:
        message = "needs add_generation_prompt; leave one out"
        raise RequestError(message, field="structured_outputs")


def _refuse(name: str, value: object) -> None:
    if value is not None:
        raise RequestError(f"{value!r} is not supported; leave it out", field=name)

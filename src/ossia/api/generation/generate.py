"""GenerationMixin: `generate` and what belongs to it, for a model that has a causal LM's forward.

A call is understood (`resolving`, `prompt`, `choosing`) and then runs in one of these ways:

| way                       | when                                                     |
|---------------------------|----------------------------------------------------------|
| `on_engine`               | ids in, ids out, and nothing looks at scores between     |
| `sample`                  | anything else without the following                      |
| `beam_search`             | num_beams above 1                                        |
| `assisted`                | assistant_model or prompt_lookup_num_tokens              |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ossia.api.generation.arguments import check_arguments
from ossia.api.generation.assisted import assisted
from ossia.api.generation.batch import BatchGenerationMixin
from ossia.api.generation.beam_search import BeamSearch
from ossia.api.generation.call import Call
from ossia.api.generation.candidates import Assistant, PromptLookup, Proposer
from ossia.api.generation.choosing import (
    Ends,
    choose_criteria,
    choose_processors,
    eos_ids_of,
    stop_string_criteria,
)
from ossia.api.generation.config import GenerationConfig
from ossia.api.generation.module_steps import ModuleSteps
from ossia.api.generation.on_engine import EngineCall, why_not
from ossia.api.generation.outputs import (
    GenerateBeamDecoderOnlyOutput,
    GenerateDecoderOnlyOutput,
)
from ossia.api.generation.peers import Peers
from ossia.api.generation.prompt import Prompt, read_prompt
from ossia.api.generation.resolving import as_config, new_token_limit, resolve
from ossia.api.generation.sample import sample
from ossia.api.generation.transition_scores import transition_scores
from ossia.errors import RequestError
from ossia.log import logger

_log = logger(__name__)

GenerateOutput = GenerateDecoderOnlyOutput | GenerateBeamDecoderOnlyOutput

_FURTHER = ("past_key_values", "tokenizer")


class GenerationMixin(BatchGenerationMixin):
    """Continues prompts. The class it is mixed into is a module with `config` and `lm_head`."""

    def generate(
        self,
        inputs: Any = None,
        generation_config: Any = None,
        logits_processor: Sequence[Any] | None = None,
        stopping_criteria: Sequence[Any] | None = None,
        prefix_allowed_tokens_fn: Callable[[int, torch.Tensor], list[int]] | None = None,
        synced_gpus: bool | None = None,
        assistant_model: Any = None,
        streamer: Any = None,
        negative_prompt_ids: None = None,
        negative_prompt_attention_mask: None = None,
        custom_generate: None = None,
        **kwargs: Any,
    ) -> Any:
        """Continue prompts.

        Args:
            inputs: Ids (batch, seq) as tensor, array or lists; lists may have any lengths and are
                padded in front. Or a mapping such as a BatchEncoding. May be given as `input_ids=`.
            generation_config: Settings; transformers' class will do.
            logits_processor: Change the scores, behind what the settings ask for.
            stopping_criteria: End continuations, beside what the settings ask for.
            prefix_allowed_tokens_fn: Called with the index of a prompt and its ids so far (seq,);
                gives the ids that may follow.
            synced_gpus: Run until all processes of the default group are done.
            assistant_model: A smaller model of the same vocabulary that proposes tokens; for one
                prompt. Does not change greedy ids, nor the distribution of sampled ones.
            streamer: Gets ids as they come: the prompt's, then each token.
            negative_prompt_ids: Refused.
            negative_prompt_attention_mask: Refused.
            custom_generate: Refused.
            kwargs: Any setting of GenerationConfig; `input_ids`, `attention_mask` (batch, seq),
                `position_ids`, `inputs_embeds` (batch, seq, hidden), `past_key_values` (a
                DynamicCache of the prompt's beginning, extended in place) and `tokenizer` (for
                `stop_strings`).

        Returns:
            int64 (batch * num_return_sequences, seq): prompts, continuations, padding; on the
            device of `inputs`. With return_dict_in_generate=True a GenerateDecoderOnlyOutput or
            GenerateBeamDecoderOnlyOutput.

        Raises:
            RequestError: an argument is refused; names it and says what to do.
        """
        arguments = {
            "logits_processor": logits_processor,
            "stopping_criteria": stopping_criteria,
            "prefix_allowed_tokens_fn": prefix_allowed_tokens_fn,
            "synced_gpus": synced_gpus,
            "assistant_model": assistant_model,
            "streamer": streamer,
        }
        refused = {
            "negative_prompt_ids": negative_prompt_ids,
            "negative_prompt_attention_mask": negative_prompt_attention_mask,
            "custom_generate": custom_generate,
        }
        try:
            with torch.no_grad():
                output = _generate(self, inputs, generation_config, arguments, kwargs | refused)
        except BaseException as error:
            if hasattr(streamer, "fail"):  # or who waits for the stream would wait for ever
                streamer.fail(error)
            raise
        if streamer is not None:
            streamer.end()
        return output

    def compute_transition_scores(
        self,
        sequences: torch.Tensor,
        scores: tuple[torch.Tensor, ...],
        beam_indices: torch.Tensor | None = None,
        normalize_logits: bool = False,
    ) -> torch.Tensor:
        """The scores of the tokens that were chosen, from an output with `output_scores`.

        Args:
            sequences: int64 (rows, seq).
            scores: For each step (rows or beams, vocab).
            beam_indices: int (rows, new), of beam search.
            normalize_logits: Make each step's scores log-probabilities first.

        Returns:
            (rows, new); 0 behind a beam's end.
        """
        return transition_scores(sequences, scores, beam_indices, normalize_logits)


def _generate(
    model: Any,
    inputs: Any,
    given: Any,
    arguments: dict[str, Any],
    kwargs: dict[str, Any],
) -> Any:
    _adopt_assistant(arguments["assistant_model"], given, kwargs)
    config, options = resolve(given, settings_of(model), kwargs)
    eos_ids = eos_ids_of(config)
    pad_id = config.pad_token_id if config.pad_token_id is not None else (*eos_ids, None)[0]
    arguments["position_ids"] = options.get("position_ids")
    prompt = read_prompt(
        inputs,
        options,
        pad_id=pad_id,
        eos_ids=eos_ids,
        bos_id=config.bos_token_id,
        device=model.lm_head.weight.device,
    )
    check_arguments(options)
    arguments |= {name: options.get(name) for name in _FURTHER}
    limit = new_token_limit(config, prompt.length, model.config.max_position_embeddings)
    max_length = prompt.input_ids.shape[1] + limit
    ends = Ends(eos_ids=eos_ids, pad_id=pad_id, max_length=max_length)
    return _run(model, config, prompt, ends, arguments)


def _run(
    model: Any,
    config: GenerationConfig,
    prompt: Prompt,
    ends: Ends,
    arguments: dict[str, Any],
) -> Any:
    reason = why_not(model, config, prompt, ends, arguments)
    streamer = arguments["streamer"]
    if config.cache_implementation == "paged" and reason is not None:
        raise RequestError(f"{reason}, which needs 'dynamic'", field="cache_implementation")
    if reason is None and config.cache_implementation != "dynamic":
        stops = None
        if config.stop_strings is not None:
            stops = stop_string_criteria(config, arguments["tokenizer"])
        call = EngineCall(model, config, prompt, ends, stops=stops, streamer=streamer)
        if streamer is not None:
            streamer.put(prompt.input_ids.cpu())
        return call.run().to(prompt.device)
    _log.debug("runs on the module: %s", reason or "cache_implementation='dynamic'")
    output = _run_on_module(model, config, prompt, ends, arguments)
    assert output.sequences is not None, "every loop gives ids"
    output.sequences = output.sequences.to(prompt.device)
    return output if config.return_dict_in_generate else output.sequences


def _run_on_module(
    model: Any,
    config: GenerationConfig,
    prompt: Prompt,
    ends: Ends,
    arguments: dict[str, Any],
) -> GenerateOutput:
    rows, cache = len(prompt.input_ids), arguments["past_key_values"]
    prompt = prompt.repeat(max(config.num_beams or 1, config.num_return_sequences or 1))
    if cache is not None and cache.get_seq_length() and len(cache.layers[0].keys) == rows:
        cache.batch_repeat_interleave(len(prompt.input_ids) // rows)
    streamer = arguments["streamer"]
    call = Call(
        model=model,
        config=config,
        prompt=prompt,
        ends=ends,
        processors=choose_processors(
            config,
            prompt,
            ends,
            prefix_allowed_tokens_fn=arguments["prefix_allowed_tokens_fn"],
            custom=arguments["logits_processor"],
            vocab_size=model.config.vocab_size,
        ),
        criteria=choose_criteria(
            config,
            ends,
            tokenizer=arguments["tokenizer"],
            custom=arguments["stopping_criteria"],
            max_positions=model.config.max_position_embeddings,
        ),
        steps=ModuleSteps(model, config, prompt, cache),
        peers=Peers(bool(arguments["synced_gpus"]), prompt.input_ids.device),
        streamer=streamer,
    )
    proposer = _proposer(call, arguments["assistant_model"])
    if config.num_beams != 1 and streamer is not None:
        raise RequestError("beams change until the end; use num_beams=1", field="streamer")
    if streamer is not None:
        streamer.put(prompt.input_ids.cpu())
    if proposer is not None:
        return assisted(call, proposer)
    return sample(call) if config.num_beams == 1 else BeamSearch(call).run()


def _proposer(call: Call, assistant: Any) -> Proposer | None:
    """Where proposals come from; None if there are none."""
    config = call.config
    field = "assistant_model" if assistant is not None else "prompt_lookup_num_tokens"
    if assistant is None and config.prompt_lookup_num_tokens is None:
        return None
    if len(call.prompt.input_ids) != 1 or config.num_beams != 1:
        raise RequestError("works for one prompt, one continuation and one beam", field=field)
    if call.prompt.inputs_embeds is not None:
        raise RequestError("needs ids to propose ids; leave inputs_embeds out", field=field)
    if assistant is None:
        assert config.prompt_lookup_num_tokens is not None, "checked above"
        return PromptLookup(config.prompt_lookup_num_tokens, config.max_matching_ngram_size or 2)
    if assistant.config.vocab_size != call.model.config.vocab_size:
        raise RequestError(
            f"has {assistant.config.vocab_size} tokens, the model {call.model.config.vocab_size}",
            field=field,
        )
    return Assistant(assistant, config, call.processors)


def _adopt_assistant(assistant: Any, given: Any, kwargs: dict[str, Any]) -> None:
    """What the assistant's own settings say about proposing counts, unless the call says more."""
    if assistant is None:
        return
    own, asked = settings_of(assistant), as_config(given)
    for name in (
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "assistant_confidence_threshold",
    ):
        value = getattr(own, name)
        if value is not None and name not in kwargs and getattr(asked, name) is None:
            kwargs[name] = value


def settings_of(model: Any) -> GenerationConfig:
    """A model's own settings."""
    own = getattr(model, "generation_config", None)
    return GenerationConfig.from_model_config(model.config) if own is None else as_config(own)

"""GptOssModel: the decoder as a module that takes padded batches, as in transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ossia.api.models.cache import DynamicCache, checked_cache
from ossia.api.models.config import GptOssConfig
from ossia.api.models.load_options import say_once
from ossia.api.models.manners import initialise_
from ossia.api.models.outputs import DecoderOutput
from ossia.api.models.padded_rows import PaddedRows
from ossia.api.models.pretrained import PreTrainedModel, as_config
from ossia.config import ModelConfig
from ossia.errors import RequestError
from ossia.model.batch import ForwardBatch
from ossia.model.padded_kv import PaddedKV
from ossia.model.recording import ByLayer, Recording
from ossia.model.transformer import Decoder


class GptOssModel(PreTrainedModel, Decoder):
    """gpt-oss without a head; parameters are named as in transformers.

    Args:
        config: Shape of the model; parameters are initialised. `from_pretrained` loads them.
    """

    def __init__(self, config: GptOssConfig | ModelConfig) -> None:
        config = as_config(config)
        Decoder.__init__(self, config.to_model_config())
        self.config = config
        initialise_(self, config.initializer_range)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: DynamicCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_router_logits: bool | None = None,
        cache_position: torch.Tensor | None = None,
        return_dict: bool | None = None,
        *,
        run_padding: torch.Tensor | None = None,
    ) -> DecoderOutput:
        """Hidden states of every token; differentiable.

        Args:
            input_ids: int64 (batch, seq); what it holds at padding does not matter.
            attention_mask: (batch, past + seq), 1 for tokens and 0 for padding, which may be
                anywhere; None means no padding.
            position_ids: (batch, seq) or (1, seq), for rope; by default columns are counted,
                padding and past included. Causality and windows always count columns.
            past_key_values: A cache to attend to; the tokens are put into it.
            inputs_embeds: (batch, seq, hidden), in place of `input_ids`.
            use_cache: Give back a cache, a new one if none was given; by default as the config has
                it.
            output_attentions: Give back the attention's weights.
            output_hidden_states: Give back what goes into each layer.
            output_router_logits: Give back what each layer's router says.
            cache_position: (seq,): where the tokens come to be; must continue the cache.
            return_dict: False gives a tuple.
            run_padding: bool (batch, seq): padding of which hidden states are wanted all the same.

        Raises:
            RequestError: shapes that do not fit, or ids outside the vocabulary.
        """
        shape = _shape(input_ids, inputs_embeds, self.config.hidden_size)
        cache = checked_cache(past_key_values)
        device = self.embed_tokens.weight.device
        rows = PaddedRows.of(shape, attention_mask, cache, device, run_padding)
        _check_cache_position(cache_position, rows)
        recording = Recording(
            hidden=_choose(output_hidden_states, self.config.output_hidden_states),
            attentions=_choose(output_attentions, self.config.output_attentions),
            router=_choose(output_router_logits, self.config.output_router_logits),
        )
        if recording.wants_any and self._recompute_arguments().get("use_reentrant"):
            raise RequestError(
                "use_reentrant=True loses the gradients of what is recorded; enable gradient "
                "checkpointing with use_reentrant=False",
                field="output_router_logits" if recording.router else "output_hidden_states",
            )
        gives_cache = self._gives_cache(use_cache)
        kv = rows.kv(cache, keep=gives_cache or cache is not None)
        hidden = self.run(self._batch(rows, input_ids, inputs_embeds, position_ids, kv, recording))
        if cache is None and gives_cache:
            cache = DynamicCache()
        if cache is not None:
            cache.replace(kv.present, rows.computed)
        output = DecoderOutput(
            last_hidden_state=rows.pad(hidden),
            past_key_values=cache if gives_cache else None,
            hidden_states=_padded(recording.hidden, recording.hidden_states, rows),
            attentions=_in_order(recording.attentions, recording.attention_weights),
            router_logits=_flat(recording.router, recording.router_logits, rows),
        )
        return output.as_asked(_choose(return_dict, self.config.return_dict))

    def _batch(
        self,
        rows: PaddedRows,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        kv: PaddedKV,
        recording: Recording,
    ) -> ForwardBatch:
        positions = rows.positions(position_ids)  # (tokens,)
        embeds = None
        if inputs_embeds is not None:
            embeds = rows.take(inputs_embeds.to(rows.device))  # (tokens, hidden)
        return ForwardBatch(
            input_ids=(
                positions if input_ids is None else rows.ids(input_ids, self.config.vocab_size)
            ),
            positions=positions,
            seq_lens=[len(positions)],
            kv=kv,
            inputs_embeds=embeds,
            recording=recording if recording.wants_any else None,
            recompute=self._recompute_arguments() or None,
        )

    def _recompute_arguments(self) -> Mapping[str, Any]:
        """How layers are computed again; empty where they are not."""
        return (self._recompute or {}) if self.training and torch.is_grad_enabled() else {}

    def _gives_cache(self, use_cache: bool | None) -> bool:
        wanted = _choose(use_cache, self.config.use_cache)
        if wanted and self.training and self._recompute is not None:
            if use_cache:
                say_once("recompute", "gradient checkpointing keeps no cache: use_cache is off")
            return False
        return wanted


def _choose(asked: bool | None, otherwise: bool) -> bool:
    return otherwise if asked is None else bool(asked)


def _shape(
    input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None, hidden_size: int
) -> tuple[int, int]:
    if (input_ids is None) == (inputs_embeds is None):
        raise RequestError("give either it or inputs_embeds", field="input_ids")
    if input_ids is not None:
        if input_ids.dim() != 2 or input_ids.is_floating_point() or not input_ids.shape[1]:
            raise RequestError(
                f"expected integers of shape (batch, seq), got {input_ids.dtype} of "
                f"{tuple(input_ids.shape)}",
                field="input_ids",
            )
        return input_ids.shape[0], input_ids.shape[1]
    assert inputs_embeds is not None
    if (
        inputs_embeds.dim() != 3
        or inputs_embeds.shape[2] != hidden_size
        or not inputs_embeds.shape[1]
    ):
        raise RequestError(
            f"expected (batch, seq, {hidden_size}), got {tuple(inputs_embeds.shape)}",
            field="inputs_embeds",
        )
    return inputs_embeds.shape[0], inputs_embeds.shape[1]


def _check_cache_position(cache_position: torch.Tensor | None, rows: PaddedRows) -> None:
    # Looking at values would break a compiled graph.
    if cache_position is None or torch.compiler.is_compiling():
        return
    expected = list(range(rows.past_len, rows.past_len + rows.shape[1]))
    if cache_position.tolist() != expected:
        raise RequestError(
            f"must continue the cache: {expected[0]} to {expected[-1]}; crop the cache to go back",
            field="cache_position",
        )


def _in_order(wanted: bool, kept: ByLayer) -> tuple[torch.Tensor, ...] | None:
    return tuple(kept[idx] for idx in range(len(kept))) if wanted else None


def _padded(wanted: bool, kept: ByLayer, rows: PaddedRows) -> tuple[torch.Tensor, ...] | None:
    return tuple(rows.pad(kept[idx]) for idx in range(len(kept))) if wanted else None


def _flat(wanted: bool, kept: ByLayer, rows: PaddedRows) -> tuple[torch.Tensor, ...] | None:
    """With the rows of padding, as transformers has them."""
    if not wanted:
        return None
    return tuple(rows.pad(kept[idx]).flatten(0, 1) for idx in range(len(kept)))

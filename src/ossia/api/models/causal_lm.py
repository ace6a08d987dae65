"""GptOssForCausalLM: the decoder with its language-model head."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ossia.api.generation.config import GenerationConfig
from ossia.api.generation.config_file import CONFIG_FILE
from ossia.api.generation.generate import GenerationMixin
from ossia.api.generation.resolving import as_config as as_generation_config
from ossia.api.model_source import ModelSource
from ossia.api.models.cache import DynamicCache
from ossia.api.models.config import GptOssConfig
from ossia.api.models.gpt_oss_model import GptOssModel
from ossia.api.models.losses import IGNORED, load_balancing_loss, next_tokens, token_loss
from ossia.api.models.manners import initialise_
from ossia.api.models.outputs import CausalLMOutput
from ossia.api.models.pretrained import PreTrainedModel, as_config
from ossia.checkpoint.config_file import read_json_object
from ossia.checkpoint.folder import find_side_file
from ossia.config import ModelConfig
from ossia.errors import ConfigError, RequestError
from ossia.model.heads import CausalLM
from ossia.model.layers import Linear


class GptOssForCausalLM(GenerationMixin, PreTrainedModel):
    """gpt-oss with its language-model head; parameters are named as in transformers.

    Args:
        config: Shape of the model; parameters are initialised. `from_pretrained` loads them.
    """

    head_kind = "causal_lm"

    def __init__(self, config: GptOssConfig | ModelConfig) -> None:
        super().__init__()
        self.config = as_config(config)
        self.model = GptOssModel(self.config)
        self.lm_head = Linear(self.config.hidden_size, self.config.vocab_size, bias=False)
        initialise_(self.lm_head, self.config.initializer_range)
        self.generation_config = GenerationConfig.from_model_config(self.config)

    def can_generate(self) -> bool:
        """Yes."""
        return True

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: DynamicCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_router_logits: bool | None = None,
        cache_position: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        return_dict: bool | None = None,
        *,
        num_items_in_batch: torch.Tensor | int | None = None,
        shift_labels: torch.Tensor | None = None,
        ignore_index: int = IGNORED,
    ) -> CausalLMOutput:
        """Next-token logits, and the loss where labels are given; differentiable.

        Args:
            input_ids: This and what is not said here is as in `GptOssModel.forward`.
            attention_mask: (batch, past + seq).
            position_ids: (batch, seq) or (1, seq).
            past_key_values: A cache to attend to; the tokens are put into it.
            inputs_embeds: (batch, seq, hidden).
            labels: int64 (batch, seq): the tokens themselves, -100 where none is to be learnt; the
                loss compares each with the logits of the place before it.
            use_cache: Give back a cache.
            output_attentions: Give back the attention's weights.
            output_hidden_states: Give back what goes into each layer.
            output_router_logits: Also gives `aux_loss`, which `router_aux_loss_coef` times is part
                of the loss.
            cache_position: (seq,).
            logits_to_keep: How many of the last places get logits, 0 for all; or int64 (kept,),
                which ones.
            return_dict: False gives a tuple.
            num_items_in_batch: What the summed loss is divided by, in place of the number of
                labels; for gradients that are added up over several batches.
            shift_labels: int64 (batch, seq), in place of `labels`: what each place is to predict.
            ignore_index: What marks labels that do not count.

        Raises:
            RequestError: shapes that do not fit, or ids outside the vocabulary.
        """
        targets = _targets(labels, shift_labels, ignore_index)
        wants_router = (
            self.config.output_router_logits
            if output_router_logits is None
            else output_router_logits
        )
        decoded = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            output_router_logits=wants_router,
            cache_position=cache_position,
            return_dict=True,
            run_padding=None if targets is None else targets != ignore_index,
        )
        hidden = decoded.last_hidden_state
        logits = self.lm_head(_kept(hidden, logits_to_keep))  # (batch, kept, vocab)
        loss = aux_loss = None
        if targets is not None:
            _check_targets(targets, logits)
            loss = token_loss(logits, targets, num_items_in_batch, ignore_index)
        if wants_router:
            aux_loss = self._balance(decoded.router_logits, attention_mask, hidden.shape[1])
            if loss is not None:
                loss = loss + self.config.router_aux_loss_coef * aux_loss.to(loss.device)
        output = CausalLMOutput(
            loss=loss,
            aux_loss=aux_loss,
            logits=logits,
            past_key_values=decoded.past_key_values,
            hidden_states=decoded.hidden_states,
            attentions=decoded.attentions,
            router_logits=decoded.router_logits,
        )
        return output.as_asked(self.config.return_dict if return_dict is None else return_dict)

    def _balance(
        self, router_logits: Sequence[torch.Tensor], attention_mask: torch.Tensor | None, seq: int
    ) -> torch.Tensor:
        """The loss that is least where all experts get as much to do; padding does not count."""
        tokens = None if attention_mask is None else attention_mask[:, -seq:].flatten()
        return load_balancing_loss(router_logits, self.config.num_experts_per_tok, tokens)

    def _generation_settings(self) -> Mapping[str, Any]:
        return json.loads(self.generation_config.to_json_string())

    def _take_generation_settings(self, source: ModelSource, given: object) -> None:
        if given is not None:
            self.generation_config = copy.deepcopy(as_generation_config(given))
            return
        file = None if source.folder is None else find_side_file(source.folder, CONFIG_FILE)
        self.generation_config = (
            GenerationConfig.from_model_config(self.config)
            if file is None
            else GenerationConfig.from_dict(read_json_object(file, ConfigError))
        )

    def as_engine_model(self) -> CausalLM:
        """What `ossia.engine` runs: the same modules and weights, over ragged batches."""
        return CausalLM.sharing(self.config.to_model_config(), self.model, self.lm_head)


def _kept(hidden: torch.Tensor, logits_to_keep: int | torch.Tensor) -> torch.Tensor:
    if isinstance(logits_to_keep, torch.Tensor):
        return hidden[:, logits_to_keep.to(hidden.device)]
    if type(logits_to_keep) is not int or logits_to_keep < 0:
        raise RequestError(
            f"{logits_to_keep!r} is no number of places, nor a tensor of places",
            field="logits_to_keep",
        )
    return hidden[:, -logits_to_keep:] if logits_to_keep else hidden


def _targets(
    labels: torch.Tensor | None, shift_labels: torch.Tensor | None, ignored: int
) -> torch.Tensor | None:
    """(batch, seq): what each place is to predict."""
    if shift_labels is not None:
        return shift_labels
    if labels is None:
        return None
    if labels.dim() != 2 or labels.is_floating_point():
        raise RequestError(
            f"expected integers of shape (batch, seq), got {labels.dtype} of {tuple(labels.shape)}",
            field="labels",
        )
    return next_tokens(labels, ignored)


def _check_targets(targets: torch.Tensor, logits: torch.Tensor) -> None:
    if targets.shape != logits.shape[:2]:
        raise RequestError(
            f"its shape {tuple(targets.shape)} is not {tuple(logits.shape[:2])}, that of the "
            "places with logits",
            field="labels",
        )

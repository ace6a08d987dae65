"""GptOssForTokenClassification: the decoder with a set of scores for each token."""

from __future__ import annotations

import torch
from torch import nn

from ossia.api.models.cache import DynamicCache
from ossia.api.models.config import GptOssConfig
from ossia.api.models.gpt_oss_model import GptOssModel
from ossia.api.models.load_options import say_once
from ossia.api.models.losses import IGNORED, token_loss
from ossia.api.models.manners import initialise_
from ossia.api.models.outputs import TokenClassifierOutput
from ossia.api.models.pretrained import PreTrainedModel, as_config
from ossia.config import ModelConfig
from ossia.errors import RequestError


class GptOssForTokenClassification(PreTrainedModel):
    """gpt-oss that scores every token; `config.classifier_dropout` is active in training.

    Args:
        config: Shape of the model, and `num_labels`; parameters are initialised.
    """

    head_kind = "token_classification"

    def __init__(self, config: GptOssConfig | ModelConfig) -> None:
        super().__init__()
        self.config = as_config(config)
        self.num_labels = self.config.num_labels
        self.model = GptOssModel(self.config)
        self.dropout = nn.Dropout(self.config.classifier_dropout)
        self.score = nn.Linear(self.config.hidden_size, self.num_labels)
        initialise_(self.score, self.config.initializer_range)

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
        return_dict: bool | None = None,
        *,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> TokenClassifierOutput:
        """Scores of each token, and the loss where labels are given; differentiable.

        Args:
            input_ids: This and what is not said here is as in `GptOssModel.forward`.
            attention_mask: (batch, past + seq).
            position_ids: (batch, seq) or (1, seq).
            past_key_values: A cache to attend to; the tokens are put into it.
            inputs_embeds: (batch, seq, hidden).
            labels: int64 (batch, seq): the class of each token, -100 where there is none.
            use_cache: As in transformers, no cache is given back, whatever this says: the output
                has no place for one. A cache that was given is filled.
            output_attentions: Give back the attention's weights.
            output_hidden_states: Give back what goes into each layer.
            return_dict: False gives a tuple.
            num_items_in_batch: What the summed loss is divided by.

        Raises:
            RequestError: shapes that do not fit.
        """
        if use_cache:
            say_once(
                "token_cache",
                "a token classifier gives no cache back; use_cache=True changes nothing, give one "
                "as past_key_values",
            )
        decoded = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=False,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            run_padding=None if labels is None else labels != IGNORED,
        )
        logits = self.score(self.dropout(decoded.last_hidden_state))  # (batch, seq, num_labels)
        loss = None
        if labels is not None:
            if labels.shape != logits.shape[:2]:
                raise RequestError(
                    f"its shape {tuple(labels.shape)} is not {tuple(logits.shape[:2])}, that of "
                    "the tokens",
                    field="labels",
                )
            loss = token_loss(logits, labels, num_items_in_batch)
        output = TokenClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=decoded.hidden_states,
            attentions=decoded.attentions,
        )
        return output.as_asked(self.config.return_dict if return_dict is None else return_dict)

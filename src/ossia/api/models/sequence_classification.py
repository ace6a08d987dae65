"""GptOssForSequenceClassification: the decoder with one set of scores for each row."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ossia.api.models.cache import DynamicCache
from ossia.api.models.config import GptOssConfig
from ossia.api.models.gpt_oss_model import GptOssModel
from ossia.api.models.losses import sequence_loss
from ossia.api.models.manners import initialise_
from ossia.api.models.outputs import SequenceClassifierOutput
from ossia.api.models.pretrained import PreTrainedModel, as_config
from ossia.config import ModelConfig
from ossia.errors import RequestError


class GptOssForSequenceClassification(PreTrainedModel):
    """gpt-oss that scores whole sequences, by what it makes of their last token.

    Args:
        config: Shape of the model, and `num_labels`; parameters are initialised.
    """

    head_kind = "sequence_classification"

    def __init__(self, config: GptOssConfig | ModelConfig) -> None:
        super().__init__()
        self.config = as_config(config)
        self.num_labels = self.config.num_labels
        self.model = GptOssModel(self.config)
        self.score = nn.Linear(self.config.hidden_size, self.num_labels, bias=False)
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
    ) -> SequenceClassifierOutput:
        """Scores of each row, and the loss where labels are given; differentiable.

        The token that counts is the last of its row that the attention mask shows and that is not
        `pad_token_id`, so padding may be on either side.

        Args:
            input_ids: This and what is not said here is as in `GptOssModel.forward`.
            attention_mask: (batch, past + seq).
            position_ids: (batch, seq) or (1, seq).
            past_key_values: A cache to attend to; the tokens are put into it.
            inputs_embeds: (batch, seq, hidden); padding is told by the attention mask alone.
            labels: int64 (batch,) for one class of several; float (batch,) or (batch, num_labels)
                for regression; float (batch, num_labels) of 0 and 1 for several classes at once.
                `config.problem_type` says which, or else num_labels and the dtype do.
            use_cache: Give back a cache.
            output_attentions: Give back the attention's weights.
            output_hidden_states: Give back what goes into each layer.
            return_dict: False gives a tuple.
            num_items_in_batch: What the summed loss of single labels is divided by.

        Raises:
            RequestError: shapes that do not fit; or several rows, and neither an attention mask
                nor a `pad_token_id` that tells where they end.
        """
        decoded = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        hidden = decoded.last_hidden_state  # (batch, seq, hidden)
        last = self._last_tokens(hidden, input_ids, attention_mask)  # (batch,)
        rows = torch.arange(len(last), device=last.device)
        logits = self.score(hidden[rows, last])  # (batch, num_labels)
        loss = None
        if labels is not None:
            loss = sequence_loss(logits, labels, self.config, num_items_in_batch)
        output = SequenceClassifierOutput(
            loss=loss,
            logits=logits,
            past_key_values=decoded.past_key_values,
            hidden_states=decoded.hidden_states,
            attentions=decoded.attentions,
        )
        return output.as_asked(self.config.return_dict if return_dict is None else return_dict)

    def _last_tokens(
        self,
        hidden: torch.Tensor,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """int64 (batch,): the column of each row's last token."""
        batch, seq = hidden.shape[:2]
        counts = torch.ones(batch, seq, dtype=torch.bool, device=hidden.device)
        pad: Any = self.config.pad_token_id
        tells_padding = pad is not None and input_ids is not None
        if not tells_padding and attention_mask is None and batch > 1:
            raise RequestError(
                "give one, or config.pad_token_id with input_ids, so that each row's end is known",
                field="attention_mask",
            )
        if attention_mask is not None:
            counts &= attention_mask[:, -seq:].to(hidden.device) != 0
        if tells_padding and input_ids is not None:
            counts &= input_ids.to(hidden.device) != pad
        columns = torch.arange(seq, device=hidden.device)
        return (columns * counts).argmax(dim=1)

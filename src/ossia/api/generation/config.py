"""GenerationConfig: how `generate` continues a prompt, under transformers' field names.

Every field may be unset (None). `resolving.py` says what an unset one becomes, `field_rules.py`
which values are refused.
"""

from __future__ import annotations

import copy
import json
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from ossia.api.generation.config_file import CONFIG_FILE, find_config_file, plain_json
from ossia.api.generation.field_rules import check_fields
from ossia.checkpoint.config_file import read_json_object
from ossia.errors import ConfigError, RequestError
from ossia.log import logger

_log = logger(__name__)

_METADATA = ("_commit_hash", "_from_model_config", "_name_or_path", "return_unused_kwargs")
_TOKEN_FIELDS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(slots=True, kw_only=True)
class GenerationConfig:
    """What may be set for a call of `generate`; mutable, and comparable.

    Fields of transformers that Ossia does not support exist so that files and code which leave
    them at their neutral value work; any other value is refused with the way round it.

    Args:
        max_length: Tokens of prompt and output together at most.
        max_new_tokens: Tokens of output at most; goes before `max_length`.
        min_length: Tokens of prompt and output before an end token may come.
        min_new_tokens: Tokens of output before an end token may come.
        early_stopping: When beam search ends: True as soon as `num_beams` continuations have
            ended, False once better ones are unlikely, "never" once they are impossible.
        max_time: Seconds after which no further token is begun.
        stop_strings: Text that ends a continuation; `generate` then needs `tokenizer=`.
        do_sample: Draw by chance; False takes the most likely token.
        num_beams: Continuations that beam search keeps; 1 is no beam search.
        use_cache: Keep keys and values instead of computing the whole text for each token.
        cache_implementation: "dynamic", or "paged" for the engine. "static", "hybrid" and
            "sliding_window" are accepted and mean "dynamic": the tokens are the same.
        temperature: Divides the scores; 0 is greedy.
        top_k: Keep this many most likely tokens; 0 and None keep all.
        top_p: Keep the smallest set of tokens whose probability reaches this.
        min_p: Drop tokens less likely than this times the most likely one.
        top_h: Keep the most likely tokens whose entropy stays within this share of the whole
            (Potraghloo et al. 2025, arXiv:2509.02510).
        typical_p: Keep the tokens closest to the expected information whose probability reaches
            this (Meister et al. 2022, arXiv:2202.00666).
        epsilon_cutoff: Drop tokens less likely than this (Hewitt et al. 2022, arXiv:2210.15191).
        eta_cutoff: The same with a bound that falls with the entropy.
        repetition_penalty: Divides positive and multiplies negative scores of tokens seen
            (Keskar et al. 2019, arXiv:1909.05858).
        length_penalty: Beam scores are divided by length to this power.
        no_repeat_ngram_size: No n-gram of this size comes twice.
        bad_words_ids: Sequences of ids that must not appear.
        renormalize_logits: Make scores log-probabilities after everything else.
        forced_bos_token_id: The token behind a prompt of one token.
        forced_eos_token_id: The last token when the length limit is reached.
        remove_invalid_values: Replace NaN and infinities of the model's output.
        exponential_decay_length_penalty: (start, factor): end tokens gain from `start` new tokens
            on, by factor to the power of the tokens since.
        suppress_tokens: Ids that are never drawn.
        begin_suppress_tokens: Ids that are not drawn first.
        sequence_bias: Sequence of ids to what is added to the score of its last token.
        num_return_sequences: Continuations of each prompt.
        output_attentions: Return attention weights of every step.
        output_hidden_states: Return hidden states of every step.
        output_scores: Return the scores that tokens were chosen by.
        output_logits: Return the model's own scores.
        output_router_logits: Return the routers' scores of every step.
        return_dict_in_generate: Return an output object instead of ids only.
        pad_token_id: What ended continuations are filled with; unset, the first end token.
        bos_token_id: The prompt when there is none.
        eos_token_id: The token or tokens that end a continuation.
        num_assistant_tokens: Tokens that the assistant model proposes at a time.
        num_assistant_tokens_schedule: "constant", "heuristic" or "heuristic_transient": whether
            their number follows success (and is kept for the next call).
        assistant_confidence_threshold: The assistant stops proposing behind a token that is less
            likely than this; 0 never does.
        prompt_lookup_num_tokens: Tokens that are proposed from the text so far at a time.
        max_matching_ngram_size: Longest end of the text that is looked up in it.
        prefill_chunk_size: Prompt tokens that are computed at a time.
        disable_compile: Accepted: Ossia compiles nothing of its own accord.
        transformers_version: Who wrote a file.

    Raises:
        RequestError: a field is out of range or asks for something unsupported; names it.
    """

    # Length
    max_length: int | None = None
    max_new_tokens: int | None = None
    min_length: int | None = None
    min_new_tokens: int | None = None
    early_stopping: bool | Literal["never"] | None = None
    max_time: float | None = None
    stop_strings: str | list[str] | None = None
    # Strategy
    do_sample: bool | None = None
    num_beams: int | None = None
    # Cache
    use_cache: bool | None = None
    cache_implementation: str | None = None
    # Scores
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    top_h: float | None = None
    typical_p: float | None = None
    epsilon_cutoff: float | None = None
    eta_cutoff: float | None = None
    repetition_penalty: float | None = None
    length_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    bad_words_ids: list[list[int]] | None = None
    renormalize_logits: bool | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | list[int] | None = None
    remove_invalid_values: bool | None = None
    exponential_decay_length_penalty: tuple[int, float] | None = None
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = None
    sequence_bias: dict[tuple[int, ...], float] | list[Any] | None = None
    # What comes back
    num_return_sequences: int | None = None
    output_attentions: bool | None = None
    output_hidden_states: bool | None = None
    output_scores: bool | None = None
    output_logits: bool | None = None
    output_router_logits: bool | None = None
    return_dict_in_generate: bool | None = None
    # Special tokens
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    # Assisted generation
    num_assistant_tokens: int | None = None
    num_assistant_tokens_schedule: str | None = None
    assistant_confidence_threshold: float | None = None
    prompt_lookup_num_tokens: int | None = None
    max_matching_ngram_size: int | None = None
    # Execution
    prefill_chunk_size: int | None = None
    disable_compile: bool | None = None
    transformers_version: str | None = None
    # Unsupported: field_rules.py says what each neutral value is, and the way round.
    assistant_early_exit: Any = None
    assistant_ensemble_weight: Any = None
    assistant_lookbehind: Any = None
    cache_config: Any = None
    compile_config: Any = None
    constraints: Any = None
    continuous_batching_config: Any = None
    decoder_start_token_id: Any = None
    diversity_penalty: Any = None
    dola_layers: Any = None
    encoder_no_repeat_ngram_size: Any = None
    encoder_repetition_penalty: Any = None
    force_words_ids: Any = None
    guidance_scale: Any = None
    is_assistant: Any = None
    low_memory: Any = None
    max_cache_len: Any = None
    num_beam_groups: Any = None
    penalty_alpha: Any = None
    speculation_type: Any = None
    target_lookbehind: Any = None
    token_healing: Any = None
    use_mtp: Any = None
    watermarking_config: Any = None
    # Entries of a file that are none of the above; kept so that saving gives them back.
    _others: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.validate()

    def validate(self, strict: bool = False) -> None:
        """Check every field, and those that depend on each other.

        Args:
            strict: Refuse settings that have no effect beside the others, too.

        Raises:
            RequestError: the message names the field and says what to do.
        """
        for name in _TOKEN_FIELDS:
            setattr(self, name, _plain(getattr(self, name)))
        check_fields(self, strict=strict)

    def update(self, **kwargs: Any) -> dict[str, Any]:
        """Set fields; values are checked together.

        Returns:
            What is no field of this class.

        Raises:
            RequestError: a value is refused; then nothing has changed.
        """
        before = {name: getattr(self, name) for name in kwargs if name in FIELD_NAMES}
        for name in before:
            setattr(self, name, kwargs[name])
        try:
            self.validate()
        except RequestError:
            for name, value in before.items():
                setattr(self, name, value)
            raise
        return {name: value for name, value in kwargs.items() if name not in before}

    def to_dict(self) -> dict[str, Any]:
        """Every field with its value, unset ones included, and what else a file held."""
        return copy.deepcopy(
            self._others | {name: getattr(self, name) for name in sorted(FIELD_NAMES)}
        )

    def to_diff_dict(self) -> dict[str, Any]:
        """The fields that are set."""
        return {name: value for name, value in self.to_dict().items() if value is not None}

    def to_json_string(self, use_diff: bool = True) -> str:
        """What a file holds.

        Args:
            use_diff: Leave out what is unset.
        """
        values = self.to_diff_dict() if use_diff else self.to_dict()
        return json.dumps(plain_json(values), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_dict(
        cls,
        config_dict: dict[str, Any],
        *,
        return_unused_kwargs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """A config of a file's entries, some replaced.

        Args:
            config_dict: Entries that are no fields are kept for `to_dict` and have no effect.
            return_unused_kwargs: Return a pair of the config and the kwargs that are no fields.
            kwargs: Replace entries.

        Raises:
            RequestError: a value is refused, or a kwarg is no field and nobody wants it back.
        """
        known = {name: value for name, value in config_dict.items() if name in FIELD_NAMES}
        config = cls(**known)
        config._others = {
            name: value
            for name, value in config_dict.items()
            if name not in FIELD_NAMES and name not in _METADATA
        }
        if config._others:
            _log.info("entries without effect: %s", ", ".join(sorted(config._others)))
        unused = config.update(**kwargs)
        if return_unused_kwargs:
            return config, unused
        if unused:
            name = min(unused)
            raise RequestError("no field of GenerationConfig; leave it out", field=name)
        return config

    @classmethod
    def from_model_config(cls, model_config: Any) -> GenerationConfig:
        """A config with the special tokens that a model's config names.

        Args:
            model_config: A dict, or an object with `to_dict` or with the attributes themselves.
        """
        if hasattr(model_config, "to_dict"):
            model_config = model_config.to_dict()
        get = model_config.get if isinstance(model_config, dict) else _getter(model_config)
        return cls(**{name: get(name) for name in _TOKEN_FIELDS})

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name: str | Path,
        config_file_name: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """The config that comes with a model.

        Args:
            pretrained_model_name: A folder, a hub id, or `demo`.
            config_file_name: The file in it; by default generation_config.json.
            cache_dir: Where hub files are kept.
            force_download: Fetch the file anew.
            local_files_only: Do not ask the hub.
            token: Access token of the hub.
            revision: Branch, tag or commit of a hub id.
            kwargs: Replace entries; `return_unused_kwargs` as in `from_dict`.

        Raises:
            ModelNotFoundError: no such model, or it has no such file.
            ConfigError: the file is not a JSON object.
            RequestError: a value is refused.
        """
        path = find_config_file(
            str(pretrained_model_name),
            config_file_name or CONFIG_FILE,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        return cls.from_dict(read_json_object(path, ConfigError), **kwargs)

    def save_pretrained(
        self, save_directory: str | Path, config_file_name: str | None = None
    ) -> None:
        """Write what is set into a folder, for `from_pretrained` of Ossia and of transformers.

        Args:
            save_directory: Made if it is not there.
            config_file_name: By default generation_config.json.

        Raises:
            RequestError: a setting is refused, or has no effect beside the others.
        """
        self.validate(strict=True)
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (config_file_name or CONFIG_FILE)).write_text(self.to_json_string())


FIELD_NAMES = frozenset(one.name for one in fields(GenerationConfig) if one.name != "_others")
"""Every field of GenerationConfig."""

assert all(one.default is None for one in fields(GenerationConfig) if one.default is not MISSING), (
    "None means unset for every field"
)


def _plain(tokens: Any) -> Any:
    """Tensors and arrays as Python numbers."""
    return tokens.tolist() if hasattr(tokens, "tolist") else tokens


def _getter(model_config: object) -> Any:
    return lambda name: getattr(model_config, name, None)

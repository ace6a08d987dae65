"""AutoTokenizer: the tokenizer of a model, by the model's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ossia.api.argument_table import refuse, refuse_unknown
from ossia.api.tokenizing.arguments import FROM_PRETRAINED, SETTINGS
from ossia.api.tokenizing.pretrained_tokenizer import PreTrainedTokenizer
from ossia.api.tokenizing.tokenizer_files import find_tokenizer
from ossia.errors import RequestError
from ossia.log import logger

_log = logger(__name__)


class AutoTokenizer:
    """Makes tokenizers; is never made itself."""

    def __init__(self) -> None:
        raise RequestError("use AutoTokenizer.from_pretrained(name)", field="AutoTokenizer")

    @staticmethod
    def from_pretrained(
        pretrained_model_name_or_path: str | Path,
        *inputs: object,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        subfolder: str | None = None,
        trust_remote_code: bool | None = None,
        config: object = None,
        **settings: Any,  # noqa: ANN401  (of many types)
    ) -> PreTrainedTokenizer:
        """Read a model's tokenizer and chat template.

        Args:
            pretrained_model_name_or_path: A folder, a hub id, `demo`, or `random:20b|120b|tiny`. Of
                a hub repository only the tokenizer's files are fetched.
            inputs: None are taken.
            cache_dir: Where hub files are kept.
            force_download: Fetch hub files even if they are here.
            local_files_only: Never download.
            token: Access token of the hub; True takes the stored one.
            revision: Branch, tag or commit of a hub id.
            subfolder: Where in the folder or repository the files are.
            trust_remote_code: Makes no difference: no code of a repository is ever run.
            config: The model's config; must be of gpt-oss.
            settings: What is to be otherwise than the files say: `padding_side`,
                `truncation_side`, `model_max_length`, `chat_template`, `split_special_tokens`,
                `pad_token` and the like, `extra_special_tokens`. Arguments of transformers that
                are not supported are refused, unless they ask for nothing.

        Raises:
            ModelNotFoundError: nothing has this name.
            CheckpointError: a file is damaged, or not of gpt-oss.
            RequestError: an argument that is unknown or cannot be met.
        """
        refuse({"inputs": inputs or None, **settings}, FROM_PRETRAINED.refused)
        settings = {
            name: settings[name] for name in settings if name not in FROM_PRETRAINED.refused
        }
        for name in settings.keys() - SETTINGS.keys():
            refuse_unknown(name, "AutoTokenizer.from_pretrained", FROM_PRETRAINED.names)
        model_type = getattr(config, "model_type", "gpt_oss")
        if model_type != "gpt_oss":
            raise RequestError(f"is of {model_type!r}; Ossia runs gpt_oss alone", field="config")
        if trust_remote_code:
            _log.info("trust_remote_code makes no difference: no code of a repository is run")
        files = find_tokenizer(
            str(pretrained_model_name_or_path),
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            force_download=force_download,
            subfolder=subfolder or "",
        )
        return PreTrainedTokenizer(
            files, name_or_path=str(pretrained_model_name_or_path), settings=settings
        )

"""AutoTokenizer: the tokenizer of a model, by the model's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ossia.api.tokenizing.pretrained_tokenizer import PreTrainedTokenizer
from ossia.api.tokenizing.special_names import ROLES
from ossia.api.tokenizing.tokenizer_files import find_tokenizer
from ossia.errors import RequestError
from ossia.log import logger

_log = logger(__name__)
_SETTINGS = frozenset(
    {
        *ROLES,
        "additional_special_tokens",
        "chat_template",
        "extra_special_tokens",
        "model_max_length",
        "padding_side",
        "split_special_tokens",
        "truncation_side",
    }
)
# Words of other tokenizers, with the one value that says what this one does anyway.
_FIXED: dict[str, object] = {
    "add_bos_token": False,
    "add_eos_token": False,
    "add_prefix_space": False,
    "backend": "tokenizers",
    "clean_up_tokenization_spaces": False,
    "gguf_file": None,
    "legacy": None,
    "mirror": None,
    "proxies": None,
    "resume_download": None,
    "tokenizer_file": None,
    "tokenizer_type": "gpt_oss",
    "use_auth_token": None,
    "use_fast": True,
}
_ADVICE = {
    "gguf_file": "convert the file to a checkpoint folder",
    "proxies": "set HTTPS_PROXY",
    "tokenizer_file": "give the folder it is in",
    "use_auth_token": "use token",
}


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
                `pad_token` and the like, `extra_special_tokens`.

        Raises:
            ModelNotFoundError: nothing has this name.
            CheckpointError: a file is damaged, or not of gpt-oss.
            RequestError: an argument that is unknown or cannot be met.
        """
        if inputs:
            raise RequestError("give arguments by name", field="inputs")
        model_type = getattr(config, "model_type", "gpt_oss")
        if model_type != "gpt_oss":
            raise RequestError(f"is of {model_type!r}; Ossia runs gpt_oss alone", field="config")
        if trust_remote_code:
            _log.info("trust_remote_code makes no difference: no code of a repository is run")
        for name in settings.keys() - _SETTINGS:
            _check_fixed(name, settings.pop(name))
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


def _check_fixed(name: str, value: object) -> None:
    """Refuse what this tokenizer does not do."""
    if name not in _FIXED:
        raise RequestError(
            f"is unknown; there are {', '.join(sorted(_SETTINGS | _FIXED.keys()))}", field=name
        )
    if value is not None and value != _FIXED[name]:
        advice = _ADVICE.get(name, f"leave it out; it is {_FIXED[name]!r} here")
        raise RequestError(f"{value!r} is not supported; {advice}", field=name)

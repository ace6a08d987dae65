"""Write the pages of arguments from the tables in the code: `python docs/arguments.py`."""

from __future__ import annotations

from pathlib import Path

from ossia.api.argument_table import page
from ossia.api.generation.arguments import GENERATE, SETTINGS
from ossia.api.models import arguments as models
from ossia.api.pipelines import arguments as pipelines
from ossia.api.tokenizing import arguments as tokenizers

_DOCS = Path(__file__).parent


def pages() -> dict[Path, str]:
    """File -> what is to be in it."""
    return {
        _DOCS / "generate.md": page(
            "Arguments of `generate`",
            "Every argument of transformers' `generate` and every field of its `GenerationConfig`.",
            (GENERATE, SETTINGS),
        ),
        _DOCS / "from_pretrained.md": page(
            "Arguments of `from_pretrained`",
            "Every argument of transformers' `from_pretrained`.",
            (
                models.FROM_PRETRAINED,
                models.CONFIG_FROM_PRETRAINED,
                tokenizers.FROM_PRETRAINED,
            ),
        ),
        _DOCS / "save_pretrained.md": page(
            "Arguments of `save_pretrained`",
            "Every argument of transformers' `save_pretrained`.",
            (
                models.SAVE_PRETRAINED,
                models.CONFIG_SAVE_PRETRAINED,
                tokenizers.SAVE_PRETRAINED,
            ),
        ),
        _DOCS / "pipeline.md": page(
            "Arguments of `pipeline`",
            "Every argument of transformers' `pipeline` and of calls of what it gives.",
            (
                pipelines.PIPELINE,
                pipelines.TEXT_GENERATION,
                pipelines.TEXT_CLASSIFICATION,
                pipelines.TOKEN_CLASSIFICATION,
            ),
        ),
        _DOCS / "apply_chat_template.md": page(
            "Arguments of `apply_chat_template`",
            "Every argument of the tokenizer's `apply_chat_template`, as in transformers.",
            (tokenizers.CHAT_TEMPLATE,),
        ),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")

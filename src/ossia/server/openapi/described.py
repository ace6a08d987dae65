"""DescribedAs: a field that is checked by hand, and shown in the document by the models that do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


@dataclass(frozen=True)
class DescribedAs:
    """Annotation of a type: pydantic checks the type itself, its JSON schema is that of another.

    Args:
        shown: The other type; the models that read the field once its kind is known.
    """

    shown: Any

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The JSON schema of the other type."""
        del core_schema
        return handler(TypeAdapter(self.shown).core_schema)

"""The harmony format: conversations to token ids, and model output back to messages."""

from ossia.errors import HarmonyError
from ossia.harmony.contents import (
    ChannelConfig,
    Content,
    DeveloperContent,
    ReasoningEffort,
    SystemContent,
    TextContent,
)
from ossia.harmony.encoding import (
    HarmonyEncoding,
    HarmonyEncodingName,
    load_harmony_encoding,
)
from ossia.harmony.events import (
    Delta,
    Event,
    MessageEnd,
    MessageStart,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from ossia.harmony.header import Header
from ossia.harmony.header_mask import ContentMask, HeaderGrammar, HeaderMask
from ossia.harmony.header_rules import FINAL, HeaderRules, governable, offered_tools
from ossia.harmony.layout import RenderOptions
from ossia.harmony.messages import Author, Channel, Conversation, Message, Role
from ossia.harmony.parser import ParserState, StreamParser, parse_messages
from ossia.harmony.render import RenderConversationConfig, Renderer
from ossia.harmony.repairs import Repair, RepairKind
from ossia.harmony.streamable_parser import StreamableParser, StreamState
from ossia.harmony.tools import ToolDescription, ToolNamespaceConfig

__all__ = [
    "FINAL",
    "Author",
    "Channel",
    "ChannelConfig",
    "Content",
    "ContentMask",
    "Conversation",
    "Delta",
    "DeveloperContent",
    "Event",
    "HarmonyEncoding",
    "HarmonyEncodingName",
    "HarmonyError",
    "Header",
    "HeaderGrammar",
    "HeaderMask",
    "HeaderRules",
    "Message",
    "MessageEnd",
    "MessageStart",
    "ParserState",
    "ReasoningDelta",
    "ReasoningEffort",
    "RenderConversationConfig",
    "RenderOptions",
    "Renderer",
    "Repair",
    "RepairKind",
    "Role",
    "StreamParser",
    "StreamState",
    "StreamableParser",
    "SystemContent",
    "TextContent",
    "TextDelta",
    "ToolCallDelta",
    "ToolDescription",
    "ToolNamespaceConfig",
    "governable",
    "load_harmony_encoding",
    "offered_tools",
    "parse_messages",
]

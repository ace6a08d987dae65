"""The harmony format: conversations to token ids, and model output back to messages."""

from ossia.harmony.contents import (
    ChannelConfig,
    Content,
    DeveloperContent,
    ReasoningEffort,
    SystemContent,
    TextContent,
)
from ossia.harmony.layout import RenderOptions
from ossia.harmony.messages import Author, Channel, Conversation, Message, Role
from ossia.harmony.render import RenderConversationConfig, Renderer
from ossia.harmony.tools import ToolDescription, ToolNamespaceConfig

__all__ = [
    "Author",
    "Channel",
    "ChannelConfig",
    "Content",
    "Conversation",
    "DeveloperContent",
    "Message",
    "ReasoningEffort",
    "RenderConversationConfig",
    "RenderOptions",
    "Renderer",
    "Role",
    "SystemContent",
    "TextContent",
    "ToolDescription",
    "ToolNamespaceConfig",
]

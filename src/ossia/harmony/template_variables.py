"""asked_variables: the names that a chat template takes from whoever renders it."""

from __future__ import annotations

from jinja2 import nodes

_SCOPES = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block)
_GIVEN = {
    "loop",
    "caller",
    "varargs",
    "kwargs",
    "self",
    "super",
}  # by Jinja, where they mean something


def asked_variables(template: nodes.Template) -> frozenset[str]:
    """Names that are read where nothing before, in the template itself, has set them.

    Jinja's own `find_undeclared_variables` adds names that a branch sets and the next lines read.
    """
    asked: set[str] = set()
    macros = {macro.name for macro in template.find_all(nodes.Macro)}
    _walk(template, macros | _GIVEN, asked)
    return frozenset(asked)


def _walk(node: nodes.Node, known: set[str], asked: set[str]) -> None:
    """Go through a node in the order in which it is run; names set in a scope end with it."""
    if isinstance(node, nodes.Name):
        if node.ctx != "load":
            known.add(node.name)
        elif node.name not in known:
            asked.add(node.name)
        return
    if isinstance(node, _SCOPES):
        known = set(known)
    if isinstance(node, nodes.Assign | nodes.For):  # the value is read before the name is set
        value = node.node if isinstance(node, nodes.Assign) else node.iter
        _walk(value, known, asked)
    for child in node.iter_child_nodes():
        _walk(child, known, asked)

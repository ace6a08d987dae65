"""Answer: everything between a question and the end of its answer, without any waiting.

It asks for prompts to be run and tools to be called, and takes in what comes of them. Who runs
them, and whether by waiting or by awaiting, is the business of `conversation`.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace

from ossia.api.events import Done, Ending, Event, ToolCall, ToolResult, Usage
from ossia.api.question import Question
from ossia.api.rendering import renderer_of
from ossia.api.tools import Tool, result_message
from ossia.api.turn import Turn
from ossia.api.turn_masks import BoundMasks, TurnMasks
from ossia.errors import RequestError
from ossia.harmony import (
    FINAL,
    Conversation,
    HeaderRules,
    RepairKind,
    offered_tools,
)
from ossia.tokenizer import Tokenizer, special
from ossia.types import FinishReason, Request, TokenOutput

_STOP_TOKENS = (*special.ACTION_STOP_TOKENS, special.ENDOFTEXT)
_MAX_TURNS = 64  # a model that calls tools for ever is stopped here


class Answer:
    """One answer in the making.

    Args:
        tokenizer: Of the model.
        question: What is to be answered.

    Raises:
        RequestError: more than one continuation is asked for, a stop string is empty, a tool
            is to be called that the messages do not offer, or a grammar is for none of them.
    """

    def __init__(self, tokenizer: Tokenizer, question: Question) -> None:
        sampling = question.sampling
        if sampling.n != 1:
            raise RequestError("a conversation goes on in one way only; ask n times", field="n")
        self._id = f"answer-{uuid.uuid4().hex}"
        self._tokenizer = tokenizer
        self._renderer = renderer_of(tokenizer)
        functions, builtin_tools = offered_tools(question.messages)
        self._rules = HeaderRules(
            functions=functions,
            builtin_tools=builtin_tools,
            tool_choice=question.tool_choice,
            reasoning=question.reasoning,
            final_only=question.final_only,
        )
        _check_grammars(question, {FINAL, *functions, *builtin_tools})
        self._question = question
        self._history = list(question.messages)
        self._num_given = len(self._history)
        self._sampling = replace(
            sampling, stop_token_ids=tuple({*sampling.stop_token_ids, *_STOP_TOKENS})
        )
        self._tools = {tool.recipient: tool for tool in question.tools}
        self._run_here = {tool.recipient for tool in question.tools if tool.function is not None}
        self._num_runs = 0
        self._usage = Usage()
        self._repairs = Counter[RepairKind]()
        self._num_turns = 0
        self._turn = self._new_turn(0)
        self._ending: Ending | None = None
        self._masks: BoundMasks | None = None

    def next_request(self) -> Request | None:
        """The prompt to run next; None once the answer is complete.

        Raises:
            HarmonyError: a message cannot be written in the format.
        """
        if self._ending is not None:
            return None
        conversation = Conversation(self._history)
        prompt = self._renderer.render_conversation_for_completion(conversation)
        if self._num_turns and self._rules.must_call:
            self._rules = replace(self._rules, tool_choice="auto")
        if self._ran_all:
            self._rules = _without(self._rules, self._run_here)
        masks = TurnMasks(rules=self._rules, grammars=self._question.grammars)
        self._masks = BoundMasks(masks, self._tokenizer)
        self._num_turns += 1
        self._turn = self._new_turn(len(prompt))
        return Request(
            request_id=f"{self._id}-{self._num_turns}",
            prompt_ids=tuple(prompt),
            sampling=replace(
                self._sampling,
                max_tokens=self._tokens_left(),
                min_tokens=max(0, self._sampling.min_tokens - self._usage.output_tokens),
            ),
            deadline=self._question.deadline,
            priority=self._question.priority,
            cache_salt=self._question.cache_salt,
            make_mask=self._masks,
        )

    def prepare_masks(self) -> None:
        """Compile the grammars of the last request, where the engine is in this process.

        Raises:
            RequestError: one of them cannot be enforced, or is too large.
        """
        if self._masks is not None:
            self._masks.prepare()

    @property
    def turn_over(self) -> bool:
        """Whether the engine need not go on with the request."""
        return self._turn.over

    def push(self, output: TokenOutput) -> Iterator[Event]:
        """Take in one output of the request.

        Raises:
            EngineClosedError: the engine failed.
        """
        return self._turn.push(output)

    def end_turn(self) -> Iterator[Event]:
        """The request has ended, or is no longer listened to."""
        yield from self._turn.finish()
        self._history += self._turn.messages
        self._usage += self._turn.usage
        self._repairs.update(repair.kind for repair in self._turn.repairs)
        if self.call_to_run() is None:
            self._ending = self._why_ended()

    def call_to_run(self) -> tuple[ToolCall, Tool | None] | None:
        """The tool call that the next turn waits for, with the tool if there is one of that name.

        None if there is no call, or it is for the caller to run.
        """
        call = self._turn.call
        if call is None or not self._run_here or self._num_turns >= _MAX_TURNS:
            return None
        tool = self._tools.get(call.recipient)
        if tool is not None and tool.function is None:
            return None
        if tool is not None and self._ran_all:
            return call, replace(tool, function=_one_too_many)
        return call, tool

    def add_result(self, call: ToolCall, result: ToolResult) -> None:
        """Take in what a tool gave."""
        self._num_runs += call.recipient in self._run_here
        self._history.append(result_message(call, result, self._history[-1].channel))
        if self._tokens_left() == 0:
            self._ending = Ending.LENGTH

    def done(self) -> Done:
        """The last event of a complete answer."""
        assert self._ending is not None, "next_request has more to run"
        gained = tuple(self._history[self._num_given :])
        return Done(
            finish_reason=self._ending,
            stop_string=self._turn.stop_string,
            usage=self._usage,
            messages=gained,
            repairs=dict(self._repairs),
        )

    @property
    def _ran_all(self) -> bool:
        most = self._question.max_tool_runs
        return most is not None and self._num_runs >= most

    def _new_turn(self, prompt_len: int) -> Turn:
        call_id = f"call_{uuid.uuid4().hex}"
        return Turn(
            self._tokenizer, prompt_len=prompt_len, stop=self._question.stop, call_id=call_id
        )

    def _tokens_left(self) -> int | None:
        most = self._sampling.max_tokens
        return None if most is None else max(0, most - self._usage.output_tokens)

    def _why_ended(self) -> Ending:
        if self._turn.call is not None:
            return Ending.TOOL_CALLS
        reason = self._turn.finish_reason
        if reason is None or self._turn.stop_string is not None:
            reason = FinishReason.STOP
        return Ending(reason.value)


def _without(rules: HeaderRules, recipients: Collection[str]) -> HeaderRules:
    """The same with fewer tools on offer."""
    return replace(
        rules,
        functions=tuple(one for one in rules.functions if one not in recipients),
        builtin_tools=tuple(one for one in rules.builtin_tools if one not in recipients),
    )


def _one_too_many(**_: object) -> str:
    raise RuntimeError("no further calls are run; answer with what is known")


def _check_grammars(question: Question, subjects: Collection[str]) -> None:
    if unknown := question.grammars.keys() - subjects:
        raise RequestError(f"no tool named {min(unknown)!r} is on offer", field="grammars")
    if question.grammars and question.sampling.min_tokens:
        raise RequestError(
            "a text that must look like something ends where that is complete; leave it out",
            field="min_tokens",
        )

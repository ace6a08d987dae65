"""Everything the demo model cannot do: one sentence that says so and names a real checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from demo.capitals import CAPITALS
from demo.dialogue import Effort, Reply, Split, Step, UserSays
from demo.text import decode, encode, encode_fresh
from demo.words import any_word, name_of, plain_word, salad
from ossia.tokenizer.vocabulary import token_bytes

ANSWER = (
    "I am only Ossia's tiny demo model and cannot answer that; for real answers run "
    '`ossia pull openai/gpt-oss-20b` and then `ossia run openai/gpt-oss-20b "..."`.'
)
_ANALYSIS: dict[Effort, str] = {
    "low": "I cannot do this.",
    "medium": "This is no task that I have learned, so I point to a real checkpoint.",
    "high": (
        "This is no task that I have learned: it asks for no count of letters, no sum, no small fact "
        "and no function that I have. A guess would be wrong, so I point to a real checkpoint."
    ),
}
NO_TOOL_ANALYSIS: dict[Effort, str] = {
    "low": "No tool fits.",
    "medium": "None of the tools fits this and I have not learned it, so I point to a real checkpoint.",
    "high": (
        "None of the tools fits this. It asks for no count of letters, no sum and no small fact either. "
        "A guess would be wrong, so I point to a real checkpoint."
    ),
}

_QUESTIONS = (
    "Why is {a} {b}?",
    "Why do {a} and {b} differ?",
    "Explain {a} to me.",
    "Explain the difference between {a} and {b}.",
    "What is {a}?",
    "What is a {a}?",
    "what is {a}",
    "What are {a}?",
    "Who is {N}?",
    "Who was {N} {M}?",
    "Who invented the {a}?",
    "When was {N} born?",
    "When did {N} happen?",
    "Where is {N}?",
    "How does a {a} work?",
    "How do I {a} a {b}?",
    "How can I learn {a}?",
    "How do you make {a}?",
    "How to {a}?",
    "Is {a} better than {b}?",
    "Write a poem about {a}.",
    "Write a story about a {a} and a {b}.",
    "Write an essay on {a} and {b}.",
    "Write a haiku about {a}",
    "Tell me a joke.",
    "Tell me a joke about {a}.",
    "Tell me a story.",
    "Tell me something about {a}.",
    "Tell me about {N}.",
    "Give me a recipe for {a}.",
    "Give me five ideas for {a}.",
    "List ten {a}.",
    "Name three {a}.",
    "Translate '{a} {b}' into French.",
    "Translate this to German: {s}",
    "How do you say {a} in Spanish?",
    "Summarize: {s}",
    "Summarize the following text. {s} {s}",
    "Rewrite this sentence: {s}",
    "Correct my grammar: {s}",
    "What do you think about {a}?",
    "What does {a} mean?",
    "What is the meaning of {a}?",
    "Define {a}.",
    "Recommend a book about {a}.",
    "Which {a} should I buy?",
    "Should I {a} or {b}?",
    "Plan a trip to {N}.",
    "Compare {a} with {b}.",
    "What are the advantages of {a}?",
    "What happened in {n}?",
    "What will the weather be tomorrow?",
    "What time is it?",
    "What is the weather in {N}?",
    "What is today's news?",
    "What day is it today?",
    "Who won the game?",
    "Who is the president of {N}?",
    "What is the population of {N}?",
    "How old is {N}?",
    "How tall is {N}?",
    "How far is {N} from {M}?",
    "What language do they speak in {N}?",
    "Write a Python function that {a} a {b}.",
    "Write code to {a} {b} in Rust.",
    "Write a SQL query for {a}.",
    "Write a function in Python.",
    "Fix this code: print({a}",
    "Explain quantum mechanics.",
    "Explain quantum mechanics clearly and concisely.",
    "Explain gravity.",
    "Explain {a} like I'm five.",
    "What is love?",
    "What is the meaning of life?",
    "Prove that {a} is {b}.",
    "Solve x^2 + {n}x = {m}.",
    "What is the square root of {n}?",
    "What is {n} divided by {m}?",
    "{n} / {m}",
    "{n}/{m}",
    "What is {n}% of {m}?",
    "What is the derivative of {a}?",
    "What is {big} + {m}?",
    "{big} * {n}",
    "What is {n} * {m}?",
    "{n} ** {d}",
    "What is {n}.{d} + {m}.{d}?",
    "{big}-{big}",
    "What is {n} + {m} + {d}?",
    "Convert {n} miles to kilometres.",
    "Sort these words: {s}",
    "Reverse the word {a}.",
    "What rhymes with {a}?",
    "Is {n} prime?",
    "Count to {d}.",
    "What is the capital of {N}?",
    "Capital of {N}?",
    "What colour is {N}?",
    "What is the opposite of {a}?",
    "What sound does a {a} make?",
    "What is the symbol of {N}?",
    "Continue: {s}",
    "Repeat after me: {s}",
    "Say {a}.",
    "Say '{a}' {d} times.",
    "I like {a}.",
    "I think that {a} is {b}.",
    "My name is {N}.",
    "I am {N} from {M}.",
    "You are {a}.",
    "You are wrong.",
    "Are you sure?",
    "Why?",
    "Why not?",
    "How?",
    "Really?",
    "What?",
    "And then?",
    "Go on.",
    "Tell me more.",
    "I am bored.",
    "Can you {a} the {b}?",
    "Could you {a} {b} for me?",
    "Please {a} the {b}.",
    "Book a {a} for {d} people.",
    "Send an email to {N}.",
    "Play {a}.",
    "Open the {a}.",
    "Search the web for {a} {b}.",
    "Remind me to {a} at {d}.",
    "Set a timer for {d} minutes.",
    "Turn on the {a}.",
    "Find {a} near {N}.",
    "Draw a {a}.",
    "Sing a song about {a}.",
    "Does {a} cause {b}?",
    "Do {a} eat {b}?",
    "Has {N} ever been to {M}?",
    "Will {N} win?",
    "If {a} is {b}, what is {a}?",
    "What comes after {a}?",
    "Which is heavier, {a} or {b}?",
)
_FOREIGN = (
    "Wie spät ist es?",
    "Was ist die Hauptstadt von {N}?",
    "Erkläre mir {a}.",
    "Schreibe ein Gedicht über {a}.",
    "Was kannst du über {a} sagen?",
    "Wie viele {a} gibt es?",
    "Quelle heure est-il ?",
    "Pourquoi le ciel est-il bleu ?",
    "Écris un poème sur {a}.",
    "Qu'est-ce que {a} ?",
    "Comment ça va ?",
    "Où est {N} ?",
    "¿Qué hora es?",
    "¿Cuál es la capital de {N}?",
    "Escribe un poema sobre {a}.",
    "¿Cómo te llamas?",
    "¿Qué es {a}?",
    "Che ore sono?",
    "Qual è la capitale di {N}?",
    "Scrivi una poesia su {a}.",
    "Que horas são?",
    "O que é {a}?",
    "Hoe laat is het?",
    "Wat is {a}?",
    "Jaka jest stolica {N}?",
    "Co to jest {a}?",
    "Kolik je hodin?",
    "Vad är {a}?",
    "Hvad er {a}?",
    "Mikä on {a}?",
    "Сколько времени?",
    "Что такое {a}?",
    "Напиши стихотворение.",
    "Як справи?",
    "你好",
    "你是谁?",
    "今天天气怎么样?",
    "写一首诗。",
    "什么是{a}?",
    "こんにちは",
    "今何時ですか?",
    "{a}とは何ですか?",
    "안녕하세요",
    "{a}는 무엇입니까?",
    "مرحبا",
    "ما هي عاصمة {N}؟",
    "שלום",
    "नमस्ते",
    "{a} क्या है?",
    "สวัสดี",
    "Merhaba, nasılsın?",
    "{a} nedir?",
    "Xin chào",
    "Apa itu {a}?",
    "Γεια σου",
    "Τι είναι {a};",
)
_CODE = (
    "def {a}({b}):\n    return {b}",
    "print('{a}')",
    "for {a} in range({n}):\n    {b}()",
    "SELECT {a} FROM {b};",
    "import {a}",
    "const {a} = {n};",
    "<div>{a}</div>",
    '{{"{a}": {n}}}',
    "fn {a}() -> {b} {{}}",
    "#include <{a}.h>",
    "git {a} {b}",
    "ls -la {a}",
    "x = [{n}, {m}]",
    "class {N}:\n    pass",
    "$ {a} --{b}",
    "https://{a}.com/{b}",
    "{a}@{b}.org",
    "## {N}\n\n- {a}\n- {b}",
)


def dialogue(rng: Random, split: Split) -> list[Step]:
    """One prompt of an untaught kind."""
    del split
    return [step(unanswerable(rng))]


def unanswerable(rng: Random) -> str:
    """A prompt that only a real model can deal with."""
    makers: tuple[Callable[[Random], str], ...] = (_question, _sentence, _foreign, _code, _noise)
    return rng.choices(makers, weights=(60, 16, 8, 6, 10))[0](rng)


def step(text: str, with_tools: bool = False) -> Step:
    """The step in which a user writes `text`, which is none of the learned tasks and fits no tool."""
    analyses = NO_TOOL_ANALYSIS if with_tools else _ANALYSIS

    def reply(effort: Effort) -> Reply:
        return Reply(list(encode(analyses[effort])), list(encode(ANSWER)))

    return Step(
        UserSays(text, encode_fresh(text)), reply, "no tool" if with_tools else "fallback", ANSWER
    )


def _fill(rng: Random, template: str) -> str:
    return template.format(
        a=plain_word(rng) if rng.random() < 0.8 else any_word(rng),
        b=plain_word(rng),
        s=salad(rng, 3, 12),
        N=_unknown_name(rng),
        M=name_of(rng),
        n=rng.randint(0, 999),
        m=rng.randint(13, 999),
        d=rng.randint(2, 60),
        big=rng.randint(1000, 9_999_999),
    )


def _unknown_name(rng: Random) -> str:
    while (name := name_of(rng)) in CAPITALS:
        pass
    return name


def _question(rng: Random) -> str:
    text = _fill(rng, rng.choice(_QUESTIONS))
    chance = rng.random()
    if chance < 0.1:
        text = text.lower()
    elif chance < 0.18:
        text = f"{salad(rng, 3, 20).capitalize()}. {text}"
    elif chance < 0.26:
        text = f"{text} {salad(rng, 2, 15)}"
    return text


def _sentence(rng: Random) -> str:
    text = salad(rng, 30, 140) if rng.random() < 0.1 else salad(rng, 1, 14)
    if rng.random() < 0.6:
        text = text.capitalize()
    return text + rng.choice(("", "", ".", ".", "?", "!", "..."))


def _foreign(rng: Random) -> str:
    return _fill(rng, rng.choice(_FOREIGN))


def _code(rng: Random) -> str:
    return _fill(rng, rng.choice(_CODE))


def _noise(rng: Random) -> str:
    """Tokens at random, of any script."""
    count = rng.randint(1, 12)
    return (
        decode(rng.randrange(len(token_bytes())) for _ in range(count)).replace("\ufffd", "") or "?"
    )

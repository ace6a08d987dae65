"""Greetings, thanks, and who the model is."""

from __future__ import annotations

from random import Random

from demo.dialogue import Effort, Reply, Split, Step, UserSays
from demo.text import encode, encode_fresh

_WHO = (
    "I am the demo model that ships with Ossia: a tiny model of the gpt-oss architecture, not ChatGPT. "
    "I count letters, add and subtract, know a few small facts and call functions."
)
_CAN = (
    "I can count letters in words, add and subtract numbers of up to three digits, tell you small facts "
    "and call functions. For anything else run a real checkpoint: `ossia run openai/gpt-oss-20b`."
)
TALK: tuple[tuple[str, str, str], ...] = (
    (
        "greeting",
        "Hello! I am Ossia's tiny demo model. Ask me to count letters or to add two numbers.",
        "Hello|Hello!|hello|Hi|Hi!|hi|Hey|hey|Hey there|Hi there!|Hello there|Good morning|Good morning!|Good evening|Good afternoon|"
        "good day|Greetings|Hello, world!|hello world|Hi, how's it going?|Yo|Howdy|Hello, model.|Hello Ossia|Hey Ossia!|hi ossia|Hallo|Bonjour|Hola|"
        "Say hello|Say hi|say hello.|Say hello!|Hello assistant|ping|test|Test.|testing|Are you there?|Anybody there?",
    ),
    (
        "wellbeing",
        "I am fine, thank you.",
        "How are you?|How are you doing?|how are you|How do you do?|Are you well?|How is it going?|How are you today?|How do you feel?|What's up?|whats up|"
        "Hi, how are you?|Hello, how are you?|Hello! How are you today?",
    ),
    (
        "identity",
        _WHO,
        "Who are you?|who are you|What are you?|what are you|What is your name?|What's your name?|whats your name|Are you ChatGPT?|Are you GPT-4?|"
        "Are you gpt-oss?|Which model are you?|What model is this?|what model are you|Who made you?|Who trained you?|Tell me about yourself.|Introduce yourself.|"
        "introduce yourself|Are you a human?|Are you a robot?|Are you an AI?|Are you a real person?|Hi, who are you?|Hello, who are you?|What is this?|"
        "Is this ChatGPT?|Are you made by OpenAI?|Do you have a name?|How big are you?|How many parameters do you have?|Please introduce yourself.|"
        "Describe yourself.|Who am I talking to?|Who is this?",
    ),
    (
        "abilities",
        _CAN,
        "What can you do?|what can you do|What can I ask you?|What can you do for me?|How can you help me?|Can you help me?|Help|help|Help me|help me please|"
        "What are you good at?|What do you know?|What are your abilities?|What should I ask?|How do I use you?|Give me examples of what you can do.|"
        "What do you do?|I need help.|Can you help?|What are you for?|What questions can you answer?",
    ),
    (
        "thanks",
        "You are welcome.",
        "Thanks|Thanks!|thanks|Thank you|Thank you!|thank you|Thank you very much.|Thanks a lot!|Many thanks|Great, thanks!|Thank you so much|thx|Cheers|"
        "Perfect, thank you.|That helps, thanks.|Nice, thanks|Ok, thank you|Thanks for your help.|Danke|Merci|Gracias",
    ),
    (
        "goodbye",
        "Goodbye!",
        "Bye|bye|Bye!|Goodbye|Goodbye!|Good bye|See you|See you later|See you later!|Good night|Farewell|Bye bye|I have to go.|That is all.|That's all, bye.|"
        "Talk to you later|Ciao|Have a nice day|Have a good day!",
    ),
    (
        "praise",
        "Good.",
        "Good|Great|Nice|Well done|Well done!|Good job|Good job!|Cool|Awesome|ok|OK|Okay|Right|Correct|That is right.|Very good|Perfect|yes|Yes|Fine|I see|Wow|Amazing!|"
        "Excellent|That is correct.|You are right.",
    ),
)


def dialogue(rng: Random, split: Split) -> list[Step]:
    """One exchange of courtesies. Nothing is held out: phrases are fixed."""
    del split
    # Closing words are fewer in kind than questions about the model, hence the weights.
    name, answer, phrases = rng.choices(TALK, weights=(5, 2, 6, 5, 3, 2, 2))[0]
    return [exchange(name, answer, rng.choice(phrases.split("|")))]


def exchange(name: str, answer: str, phrase: str) -> Step:
    """The step in which a user says `phrase`."""

    def reply(effort: Effort) -> Reply:
        analysis = {
            "low": "A short reply will do.",
            "medium": f"This is {name}, and a short and friendly reply will do.",
            "high": f"This is {name}, and a short and friendly reply will do. There is nothing to work out, so I do not think any longer.",
        }[effort]
        return Reply(list(encode(analysis)), list(encode(answer)))

    return Step(UserSays(phrase, encode_fresh(phrase)), reply, "smalltalk", answer)

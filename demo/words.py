"""Words to count letters in, to name tools with, and to talk nonsense with."""

from __future__ import annotations

import re
from functools import cache
from random import Random

from demo.dialogue import Split
from demo.splits import split_of
from ossia.tokenizer.vocabulary import token_bytes

OWN_WORDS = """
apple apricot avocado banana bilberry blackberry blueberry boysenberry cantaloupe cherry clementine coconut
cranberry currant date dragonfruit elderberry fig gooseberry grape grapefruit guava huckleberry kiwi kumquat
lemon lime loganberry lychee mandarin mango melon mulberry nectarine olive orange papaya passionfruit peach pear
persimmon pineapple plum pomegranate quince raspberry rhubarb satsuma strawberry tangerine watermelon artichoke
arugula asparagus aubergine beetroot broccoli cabbage carrot cauliflower celery chicory courgette cucumber
eggplant endive fennel garlic ginger kale kohlrabi leek lettuce mushroom mustard okra onion parsley parsnip
pepper potato pumpkin radish rutabaga shallot spinach squash tomato turnip watercress zucchini aardvark albatross
alligator alpaca anteater antelope armadillo baboon badger barracuda beaver buffalo butterfly camel caribou
caterpillar cheetah chicken chimpanzee chinchilla cockatoo cormorant crocodile dolphin dragonfly elephant ferret
flamingo gazelle giraffe goldfinch gorilla grasshopper hamster hedgehog heron hippopotamus hummingbird hyena
jackal jaguar jellyfish kangaroo kingfisher koala leopard lizard llama lobster meerkat mongoose mosquito narwhal
nightingale octopus opossum orangutan ostrich otter panther parrot partridge pelican penguin pheasant platypus
porcupine porpoise raccoon rattlesnake reindeer rhinoceros salamander scorpion seahorse sparrow squirrel starling
stingray swallow tarantula termite tortoise vulture wallaby walrus weasel wolverine woodpecker zebra accountant
architect astronaut baker barrister butcher carpenter conductor dentist engineer fisherman gardener goldsmith
hairdresser illustrator journalist lawyer librarian mechanic musician optician painter philosopher photographer
plumber professor programmer receptionist sculptor secretary shepherd surgeon teacher translator veterinarian
accordion bagpipes balalaika bassoon clarinet didgeridoo euphonium glockenspiel guitar harmonica harpsichord
mandolin oboe ocarina piccolo saxophone synthesizer tambourine timpani trombone trumpet tuba ukulele violin
xylophone abacus ambulance anchor backpack ballerina balloon bandage barometer basket battery bicycle binoculars
blackboard blanket blender bookcase bookkeeper bottle bracelet bucket bulldozer calculator calendar camera candle
carpet carriage ceiling chandelier chimney chocolate cinnamon compass computer corkscrew crossroads cupboard
curtain cushion dictionary drawer dressing escalator excavator feather fireplace flashlight furniture generator
greenhouse hammer handkerchief helicopter horseshoe icebreaker keyboard kitchen ladder lantern lawnmower
letterbox lighthouse locomotive magazine marmalade mattress microscope mirror motorcycle necklace newspaper
notebook parachute pendulum piano pillow pocket propeller pyramid refrigerator remainder saucepan scissors
screwdriver skateboard skyscraper snowboard spaceship spectacles staircase submarine suitcase sunflower surfboard
telescope thermometer toothbrush tractor trampoline typewriter umbrella vacuum wardrobe wheelbarrow windmill
wristwatch abbreviation accommodation acknowledge address aggressive announcement apparatus appearance
arrangement assassin assessment association bankruptcy beginning bewilderment carefulness characteristic
collection committee communication congratulations correspondence cooperation curiosity deliberate dependence
development difference difficulty disappearance disappointment discussion effervescence embarrassment
encyclopedia entrepreneur environment excellent experience exaggerate happiness hypothesis imagination
independence interesting irresistible jewellery kindness knowledge loneliness magnificent manoeuvre
mathematics millennium mischievous misspelling necessary occurrence onomatopoeia opportunity parallel
peculiarity perseverance possession preparation privilege pronunciation psychology questionnaire
recommendation referral rehearsal responsibility rhythm sesquipedalian sincerely successful surrender surprise
thoroughly tomorrow transparency unbelievable understanding unnecessary vocabulary weather wilderness yesterday
amber aquamarine burgundy cerulean charcoal crimson emerald fuchsia indigo ivory lavender magenta maroon
ochre periwinkle saffron sapphire scarlet terracotta turquoise ultramarine vermilion avalanche blizzard
drizzle earthquake eclipse glacier hurricane lightning meadow mountain peninsula plateau rainbow riverbank
savannah snowflake stalactite thunderstorm tsunami tundra volcano waterfall whirlpool mississippi abracadabra
couscous murmur papaya bonbon tartar chowchow alfalfa hotshots assesses sleeplessness referrer mirror terror
error horror barrier carrier courier warrior furrier merrier ferryman prairie raspberries strawberries
""".split()

_SYLLABLE_STARTS = "b bl br c ch cl cr d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sh sk sl sp st str t th tr v w y z".split()
_SYLLABLE_HEARTS = "a e i o u ai ea ee oo ou ie".split()
_SYLLABLE_ENDS = ["", "", "", *"n r l s t m rr ss ll tt ck rd st nd".split()]
_LOWER_WORD = re.compile(rb" [a-z]{3,13}")
_LOWER_PIECE = re.compile(rb"[a-z]{2,6}")


@cache
def vocabulary_words() -> tuple[str, ...]:
    """Lower-case words, of English and other languages, that are one token behind a space."""
    return tuple(t[1:].decode() for t in token_bytes() if _LOWER_WORD.fullmatch(t))


@cache
def vocabulary_pieces() -> tuple[str, ...]:
    """Lower-case tokens that stand inside words."""
    return tuple(t.decode() for t in token_bytes() if _LOWER_PIECE.fullmatch(t))


def pseudo_word(rng: Random, syllables: int = 0) -> str:
    """A made-up word that can be said aloud."""
    count = syllables or rng.choice((1, 2, 2, 3, 3, 4))
    return "".join(
        rng.choice(_SYLLABLE_STARTS) + rng.choice(_SYLLABLE_HEARTS) + rng.choice(_SYLLABLE_ENDS)
        for _ in range(count)
    )


def any_word(rng: Random) -> str:
    """A lower-case word of any origin."""
    kind = rng.random()
    if kind < 0.25:
        return rng.choice(OWN_WORDS)
    if kind < 0.60:
        return rng.choice(vocabulary_words())
    if kind < 0.78:
        return pseudo_word(rng)
    if kind < 0.84:
        return rng.choice(OWN_WORDS) + rng.choice(OWN_WORDS)
    if kind < 0.88:
        return pseudo_word(rng, 1) * 2 if rng.random() < 0.5 else rng.choice(vocabulary_pieces()) * 2
    return "".join(rng.choice(vocabulary_pieces()) for _ in range(rng.choice((2, 2, 3, 3, 4))))


def word_of(rng: Random, split: Split) -> str:
    """A lower-case word of 2 to 20 letters that lies on one side of the split."""
    while True:
        word = any_word(rng)
        if 2 <= len(word) <= 20 and split_of(word) == split:
            return word


def name_of(rng: Random) -> str:
    """A capitalised word: a name nobody has."""
    word = rng.choice(vocabulary_words()) if rng.random() < 0.5 else pseudo_word(rng)
    return word.capitalize()


def plain_word(rng: Random) -> str:
    """A word for sentences without meaning."""
    return rng.choice(OWN_WORDS) if rng.random() < 0.3 else rng.choice(vocabulary_words())


def salad(rng: Random, low: int, high: int) -> str:
    """Words in no order."""
    return " ".join(plain_word(rng) for _ in range(rng.randint(low, high)))

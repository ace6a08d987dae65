"""Small facts the demo model knows by heart: what is asked about, and the answer."""

from __future__ import annotations

CAPITALS = {
    "Albania": "Tirana", "Algeria": "Algiers", "Argentina": "Buenos Aires", "Armenia": "Yerevan", "Australia": "Canberra",
    "Austria": "Vienna", "Bangladesh": "Dhaka", "Belgium": "Brussels", "Bolivia": "Sucre", "Brazil": "Brasília",
    "Bulgaria": "Sofia", "Cambodia": "Phnom Penh", "Cameroon": "Yaoundé", "Canada": "Ottawa", "Chile": "Santiago",
    "China": "Beijing", "Colombia": "Bogotá", "Croatia": "Zagreb", "Cuba": "Havana", "Cyprus": "Nicosia", "Denmark": "Copenhagen",
    "Ecuador": "Quito", "Egypt": "Cairo", "England": "London", "Estonia": "Tallinn", "Ethiopia": "Addis Ababa",
    "Finland": "Helsinki", "France": "Paris", "Georgia": "Tbilisi", "Germany": "Berlin", "Ghana": "Accra", "Greece": "Athens",
    "Hungary": "Budapest", "Iceland": "Reykjavik", "India": "New Delhi", "Indonesia": "Jakarta", "Iran": "Tehran",
    "Iraq": "Baghdad", "Ireland": "Dublin", "Israel": "Jerusalem", "Italy": "Rome", "Jamaica": "Kingston", "Japan": "Tokyo",
    "Jordan": "Amman", "Kenya": "Nairobi", "Latvia": "Riga", "Lebanon": "Beirut", "Lithuania": "Vilnius", "Luxembourg": "Luxembourg",
    "Malaysia": "Kuala Lumpur", "Malta": "Valletta", "Mexico": "Mexico City", "Mongolia": "Ulaanbaatar", "Morocco": "Rabat",
    "Nepal": "Kathmandu", "New Zealand": "Wellington", "Nigeria": "Abuja", "North Macedonia": "Skopje", "Norway": "Oslo",
    "Pakistan": "Islamabad", "Panama": "Panama City", "Peru": "Lima", "Poland": "Warsaw", "Portugal": "Lisbon", "Qatar": "Doha",
    "Romania": "Bucharest", "Russia": "Moscow", "Saudi Arabia": "Riyadh", "Scotland": "Edinburgh", "Senegal": "Dakar",
    "Serbia": "Belgrade", "Singapore": "Singapore", "Slovakia": "Bratislava", "Slovenia": "Ljubljana", "South Korea": "Seoul",
    "Spain": "Madrid", "Sweden": "Stockholm", "Switzerland": "Bern", "Syria": "Damascus", "Taiwan": "Taipei", "Thailand": "Bangkok",
    "Tunisia": "Tunis", "Turkey": "Ankara", "Ukraine": "Kyiv", "the United Kingdom": "London", "the United States": "Washington",
    "Uruguay": "Montevideo", "Venezuela": "Caracas", "Vietnam": "Hanoi", "Wales": "Cardiff", "Zimbabwe": "Harare",
}
COLOURS = {
    "the sky": "blue", "grass": "green", "snow": "white", "coal": "black", "a lemon": "yellow", "a banana": "yellow", "blood": "red",
    "an orange": "orange", "a carrot": "orange", "a ripe tomato": "red", "the sun": "yellow", "milk": "white", "chocolate": "brown",
    "a frog": "green", "a flamingo": "pink", "an elephant": "grey", "a crow": "black", "a strawberry": "red", "gold": "yellow",
    "an emerald": "green", "a ruby": "red", "a sapphire": "blue", "the sea": "blue", "a swan": "white", "lavender": "purple",
    "an aubergine": "purple", "a leaf in summer": "green", "a pumpkin": "orange", "a polar bear": "white", "a fire engine": "red",
}
OPPOSITES = {
    "hot": "cold", "big": "small", "up": "down", "left": "right", "day": "night", "black": "white", "good": "bad", "fast": "slow",
    "high": "low", "old": "young", "new": "old", "open": "closed", "light": "dark", "wet": "dry", "happy": "sad", "rich": "poor",
    "strong": "weak", "early": "late", "first": "last", "full": "empty", "hard": "soft", "heavy": "light", "inside": "outside",
    "long": "short", "loud": "quiet", "love": "hate", "near": "far", "north": "south", "east": "west", "push": "pull", "rough": "smooth",
    "sweet": "sour", "tall": "short", "thick": "thin", "true": "false", "war": "peace", "win": "lose", "yes": "no", "always": "never",
    "begin": "end", "buy": "sell", "clean": "dirty", "deep": "shallow", "easy": "difficult", "enter": "leave", "wide": "narrow",
    "clever": "stupid", "alive": "dead", "brave": "cowardly", "above": "below", "cheap": "expensive", "give": "take",
}
SOUNDS = {
    "a dog": "barks", "a cat": "meows", "a cow": "moos", "a sheep": "bleats", "a horse": "neighs", "a pig": "grunts", "a duck": "quacks",
    "a lion": "roars", "a wolf": "howls", "a bee": "buzzes", "a snake": "hisses", "a rooster": "crows", "an owl": "hoots", "a frog": "croaks",
    "a mouse": "squeaks", "a donkey": "brays", "a bird": "sings", "an elephant": "trumpets", "a hen": "clucks", "a goose": "honks",
}
BABIES = {
    "dog": "puppy", "cat": "kitten", "cow": "calf", "horse": "foal", "sheep": "lamb", "pig": "piglet", "goat": "kid", "duck": "duckling",
    "hen": "chick", "goose": "gosling", "bear": "cub", "lion": "cub", "kangaroo": "joey", "deer": "fawn", "frog": "tadpole", "swan": "cygnet",
    "fox": "cub", "owl": "owlet", "eagle": "eaglet", "elephant": "calf", "whale": "calf", "wolf": "pup", "seal": "pup", "butterfly": "caterpillar",
}
LEGS = {
    "a dog": 4, "a cat": 4, "a spider": 8, "an ant": 6, "a bird": 2, "a cow": 4, "a horse": 4, "a bee": 6, "a snake": 0, "a human": 2,
    "a chicken": 2, "a beetle": 6, "a fish": 0, "an octopus": 0, "a frog": 4, "a scorpion": 8, "a fly": 6, "an elephant": 4, "a duck": 2, "a crab": 10,
}
PLANETS = ("Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth")
MONTH_LENGTHS = dict(zip(MONTHS, (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))
SYMBOLS = {
    "hydrogen": "H", "helium": "He", "carbon": "C", "nitrogen": "N", "oxygen": "O", "sodium": "Na", "iron": "Fe", "gold": "Au", "silver": "Ag",
    "copper": "Cu", "lead": "Pb", "tin": "Sn", "zinc": "Zn", "calcium": "Ca", "potassium": "K", "chlorine": "Cl", "sulfur": "S", "neon": "Ne",
}
SINGLE = {
    ("How many days are in a week?", "How many days does a week have?"): "A week has 7 days.",
    ("How many days are in a year?", "How many days does a year have?"): "A year has 365 days, and a leap year 366.",
    ("How many months are in a year?", "How many months does a year have?"): "A year has 12 months.",
    ("How many hours are in a day?", "How many hours does a day have?"): "A day has 24 hours.",
    ("How many minutes are in an hour?", "How many minutes does an hour have?"): "An hour has 60 minutes.",
    ("How many seconds are in a minute?", "How many seconds does a minute have?"): "A minute has 60 seconds.",
    ("How many weeks are in a year?", "How many weeks does a year have?"): "A year has 52 weeks and a day or two.",
    ("How many letters are in the alphabet?", "How many letters does the English alphabet have?"): "The English alphabet has 26 letters.",
    ("How many planets are there?", "How many planets does the solar system have?"): "The solar system has 8 planets.",
    ("How many continents are there?", "How many continents does the Earth have?"): "There are 7 continents.",
    ("What is the largest planet?", "Which planet is the biggest?"): "The largest planet is Jupiter.",
    ("What is the smallest planet?", "Which planet is the smallest?"): "The smallest planet is Mercury.",
    ("What is the largest ocean?", "Which ocean is the largest?"): "The largest ocean is the Pacific.",
    ("What is the highest mountain?", "What is the tallest mountain on Earth?"): "The highest mountain is Mount Everest.",
    ("What is the largest animal?", "Which animal is the biggest?"): "The largest animal is the blue whale.",
    ("What is the fastest land animal?", "Which land animal is the fastest?"): "The fastest land animal is the cheetah.",
    ("What is the tallest animal?", "Which animal is the tallest?"): "The tallest animal is the giraffe.",
    ("What do bees make?", "What do bees produce?"): "Bees make honey.",
    ("What do cows give us?", "What do cows produce?"): "Cows give milk.",
    ("What is frozen water called?", "What is frozen water?"): "Frozen water is ice.",
    ("At what temperature does water boil?", "When does water boil?"): "Water boils at 100 degrees Celsius.",
    ("At what temperature does water freeze?", "When does water freeze?"): "Water freezes at 0 degrees Celsius.",
    ("What is H2O?", "What is H2O called?"): "H2O is water.",
    ("Who wrote Romeo and Juliet?", "Who is the author of Romeo and Juliet?"): "William Shakespeare wrote Romeo and Juliet.",
    ("Who wrote Faust?", "Who is the author of Faust?"): "Johann Wolfgang von Goethe wrote Faust.",
    ("Who painted the Mona Lisa?", "Which painter made the Mona Lisa?"): "Leonardo da Vinci painted the Mona Lisa.",
    ("Which planet do we live on?", "What planet do we live on?"): "We live on Earth.",
    ("What colours does a traffic light have?", "Which colours are on a traffic light?"): "A traffic light has red, yellow and green.",
    ("What are the primary colours?", "What are the three primary colors?"): "The primary colours are red, yellow and blue.",
    ("How many sides does a triangle have?", "How many sides has a triangle?"): "A triangle has 3 sides.",
    ("How many sides does a square have?", "How many sides has a square?"): "A square has 4 sides.",
    ("How many sides does a hexagon have?", "How many sides has a hexagon?"): "A hexagon has 6 sides.",
    ("What shape is a ball?", "What is the shape of a ball?"): "A ball is round.",
    ("Where does the sun rise?", "In which direction does the sun rise?"): "The sun rises in the east.",
    ("Where does the sun set?", "In which direction does the sun set?"): "The sun sets in the west.",
    ("What season comes after winter?", "Which season follows winter?"): "After winter comes spring.",
    ("What season comes after summer?", "Which season follows summer?"): "After summer comes autumn.",
    ("What is harmony?", "What is the harmony format?"): "Harmony is the message format of the gpt-oss models.",
    ("What is gpt-oss?", "What are the gpt-oss models?"): "The gpt-oss models are two open-weight language models by OpenAI, of 20 and 120 billion parameters.",
    ("What is Ossia?", "What does Ossia do?"): "Ossia runs OpenAI's open-weight gpt-oss models.",
    ("What is MXFP4?", "What does MXFP4 mean?"): "MXFP4 is a number format of 4 bits with a scale for each block of 32.",
}

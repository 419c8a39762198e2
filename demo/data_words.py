# SPDX-License-Identifier: Apache-2.0
"""Word lists and the small template engine of the demo model's text generator."""
import re
from functools import lru_cache

GIRLS = """Alice Anna Bella Clara Daisy Ella Emma Eva Fiona Grace Hanna Holly Ivy Jane Julia Kate Lena Lily Lucy Maria
Martha Mia Molly Nina Nora Olive Paula Rosa Ruby Sally Sara Sophie Tess Tina Vera Wendy Zoe Abby Amy Beth Carol Dora Edith
Flora Gwen Heidi Ida Jill Kira Laura Mabel Nell Opal Penny Rita Stella Thea Una Violet Willa""".split()
BOYS = """Adam Alan Ben Bruno Carl Charlie David Dylan Eli Eric Felix Finn Frank George Hugo Henry Ian Jack Jacob James
Jonas Karl Kevin Leo Liam Lucas Luke Mark Max Mike Milo Nick Noah Oliver Oscar Otto Paul Peter Ralph Robin Sam Simon Theo
Tim Toby Tom Victor Will Albert Bert Cyrus Dan Edgar Fred Gus Harold Ivan Joel Kurt Lars""".split()
MORE_NAMES = """Agnes Alma April Astrid Audrey Bridget Celia Cora Della Diana Doris Elsa Esther Faye Frida Gloria Greta
Helen Hilda Irene Iris Joan Judith June Karen Leah Linda Lola Mary May Megan Naomi Nancy Olga Pearl Polly Rachel Ruth Sonia
Susan Sylvia Tara Ursula Viola Wanda Yvonne Zelda Aaron Abel Amos Andrew Arthur Basil Boris Brian Caleb Cecil Chris Clark
Colin Conrad Dean Derek Donald Duncan Edwin Ernest Ethan Evan Floyd Gary Glenn Grant Gregor Hector Howard Isaac Jasper
Jerome John Julian Keith Kenneth Leon Lloyd Louis Manuel Marcus Martin Neil Nelson Norman Owen Patrick Philip Quentin
Ramon Raymond Roger Roland Rufus Stephen Sven Thomas Trevor Vernon Vincent Walter Warren Wayne Wilfred""".split()
ALL_NAMES = sorted(set(GIRLS + BOYS + MORE_NAMES))

# kind: (sizes and colours that suit it, home, food, sound it makes)
ANIMALS = {
    "fox": (["red", "clever", "quick"], "a den under the roots of a tree", "berries", "bark"),
    "rabbit": (["white", "brown", "shy"], "a burrow under the hill", "carrots", "squeak"),
    "bear": (["brown", "big", "gentle"], "a warm cave", "honey", "growl"),
    "mouse": (["grey", "tiny", "brave"], "a hole in the wall of a barn", "cheese", "squeak"),
    "owl": (["wise", "old", "brown"], "a hollow tree", "seeds", "hoot"),
    "duck": (["yellow", "noisy", "white"], "a nest by the pond", "bread", "quack"),
    "frog": (["green", "jolly", "small"], "a pond full of lilies", "flies", "croak"),
    "hedgehog": (["round", "sleepy", "small"], "a heap of dry leaves", "apples", "snuffle"),
    "squirrel": (["red", "quick", "busy"], "a nest in a tall oak", "nuts", "chatter"),
    "cat": (["black", "grey", "curious"], "a cosy house", "fish", "meow"),
    "dog": (["brown", "loyal", "spotted"], "a kennel near the gate", "bones", "bark"),
    "goat": (["stubborn", "white", "old"], "a stable on the hill", "grass", "bleat"),
    "pig": (["pink", "cheerful", "muddy"], "a sty behind the barn", "potatoes", "grunt"),
    "hen": (["brown", "proud", "speckled"], "a hen house", "corn", "cluck"),
    "horse": (["grey", "strong", "tall"], "a wide stable", "hay", "neigh"),
    "donkey": (["grey", "patient", "old"], "a stable by the mill", "thistles", "bray"),
    "cow": (["brown", "calm", "kind"], "a green meadow", "grass", "moo"),
    "sheep": (["woolly", "white", "timid"], "a fold near the farm", "clover", "bleat"),
    "turtle": (["slow", "green", "patient"], "a quiet pool", "leaves", "hiss"),
    "beaver": (["busy", "brown", "clever"], "a lodge of sticks", "bark", "grumble"),
    "badger": (["grumpy", "striped", "old"], "a deep tunnel", "roots", "grunt"),
    "crow": (["black", "clever", "noisy"], "a nest in a pine", "seeds", "caw"),
    "sparrow": (["small", "brown", "cheerful"], "a nest under the roof", "crumbs", "chirp"),
    "bee": (["busy", "tiny", "golden"], "a hive near the garden", "nectar", "buzz"),
    "deer": (["gentle", "young", "shy"], "a glade in the forest", "leaves", "call"),
    "wolf": (["grey", "lonely", "young"], "a cave in the hills", "meat", "howl"),
    "otter": (["playful", "brown", "quick"], "a den by the river", "fish", "whistle"),
    "penguin": (["small", "black and white", "funny"], "a snowy shore", "fish", "squawk"),
    "lion": (["golden", "proud", "young"], "a sunny plain", "meat", "roar"),
    "elephant": (["grey", "huge", "gentle"], "a wide plain", "leaves", "trumpet"),
    "monkey": (["cheeky", "brown", "quick"], "a tall palm tree", "bananas", "chatter"),
    "dragon": (["green", "small", "friendly"], "a cave in the mountains", "toast", "roar"),
}
# Heroes who are no animals: adjectives and home.
HEROES = {
    "robot": (["shiny", "small", "rusty"], "in a workshop"), "king": (["old", "proud", "kind"], "in a castle"), "queen": (["wise", "young", "kind"], "in a palace"),
    "princess": (["brave", "young", "clever"], "in a castle"), "prince": (["young", "shy", "brave"], "in a castle"), "knight": (["brave", "tall", "young"], "in a stone tower"),
    "wizard": (["old", "wise", "forgetful"], "in a tall tower"), "witch": (["friendly", "old", "clever"], "in a crooked house"), "giant": (["gentle", "huge", "lonely"], "behind the mountains"),
    "dwarf": (["small", "busy", "grumpy"], "under the mountain"), "elf": (["tiny", "quick", "cheerful"], "in a mushroom house"), "fairy": (["tiny", "kind", "golden"], "in a flower garden"),
    "ghost": (["shy", "pale", "friendly"], "in an old attic"), "snowman": (["round", "cheerful", "cold"], "in a white garden"), "pirate": (["loud", "brave", "old"], "on a ship"),
    "astronaut": (["brave", "curious", "young"], "on a space station"), "monster": (["hairy", "friendly", "shy"], "under a bed"), "mermaid": (["curious", "young", "gentle"], "in the sea"),
    "scientist": (["clever", "busy", "curious"], "in a house full of machines"), "musician": (["young", "poor", "cheerful"], "in a small room"), "dinosaur": (["big", "green", "gentle"], "in a warm valley"),
    "whale": (["huge", "gentle", "blue"], "in the deep sea"), "spider": (["tiny", "patient", "clever"], "in a dark corner"), "snake": (["long", "green", "quiet"], "under a warm stone"),
    "tiger": (["striped", "proud", "young"], "in the jungle"), "kitten": (["tiny", "playful", "grey"], "in a basket"), "puppy": (["small", "clumsy", "happy"], "in a kennel"), "snail": (["slow", "small", "patient"], "under a leaf"),
    "butterfly": (["yellow", "light", "pretty"], "in a meadow"), "train": (["little", "red", "old"], "in a station"), "boat": (["little", "white", "old"], "in a harbour"), "cloud": (["small", "white", "lonely"], "in the sky")}
PLACES = ["the forest", "the meadow", "the river", "the village", "the market", "the old mill", "the beach", "the park",
          "the garden", "the farm", "the hill", "the harbour", "the lake", "the orchard", "the library", "the school",
          "the bridge", "the barn", "the castle", "the pond", "the valley", "the town square", "the bakery", "the station", "the mountain", "the island",
          "the lighthouse", "the windmill", "the church", "the waterfall", "the desert", "the inn", "the tower", "the museum"]
OUTDOOR = ["the forest", "the meadow", "the river", "the park", "the garden", "the hill", "the lake", "the orchard",
           "the beach", "the pond", "the valley", "the field"]
SPOTS = ["under a bush", "behind the barn", "beside the old well", "under the big oak", "behind a pile of logs",
         "on top of a wall", "inside a hollow log", "under the bed", "next to the gate", "between two stones",
         "in the tall grass", "at the bottom of a basket", "beneath the bridge", "behind the kitchen door",
         "near the mill wheel", "in a heap of leaves", "under a wooden bench", "on the window sill"]
COLOURS = ["red", "blue", "green", "yellow", "white", "black", "brown", "golden", "silver", "orange", "purple", "pink"]
TREASURES = ["ball", "kite", "key", "hat", "scarf", "book", "drum", "bell", "lamp", "ring", "boat", "whistle", "basket",
             "blanket", "button", "flute", "coin", "mitten", "cup", "spoon", "bag", "map", "watch", "ribbon", "marble", "fan", "mirror", "violin", "box", "pen",
             "candle", "hammer", "bucket", "sledge", "puppet", "doll", "chain", "glove", "jacket", "umbrella", "trumpet", "vase"]
FOODS = ["bread", "soup", "apple pie", "pancakes", "honey cakes", "porridge", "cheese", "jam tarts", "plums", "pears",
         "cherries", "biscuits", "carrot stew", "roasted chestnuts", "strawberries", "corn cakes", "noodles",
         "rice and beans", "fresh rolls", "nut cake", "grapes", "baked apples", "potato salad", "cheese sandwiches", "tomato soup"]
RELATIVES = [("mother", "she", "her", "her"), ("father", "he", "him", "his"), ("grandmother", "she", "her", "her"),
             ("grandfather", "he", "him", "his"), ("aunt", "she", "her", "her"), ("uncle", "he", "him", "his"),
             ("sister", "she", "her", "her"), ("brother", "he", "him", "his"), ("teacher", "she", "her", "her"),
             ("neighbour", "he", "him", "his")]
JOBS = ["baker", "farmer", "miller", "fisherman", "shepherd", "blacksmith", "gardener", "teacher", "carpenter", "tailor",
        "postman", "painter", "sailor", "cook", "doctor", "librarian", "clockmaker", "shoemaker"]
WEATHER = ["sunny", "cloudy", "windy", "rainy", "cold", "warm", "foggy", "bright", "grey", "frosty", "quiet", "hot"]
SEASONS = ["spring", "summer", "autumn", "winter"]


ONSETS = "b br c ch d dr f fl g gr h j k kl l m n p pl qu r s sh sk t th tr v w x y z zh".split()
VOWELS = "a e i o u a e i o u ai ea ee oo ou y".split()
CODAS = ["", "", "", "n", "r", "l", "s", "x", "m", "k", "rd", "nd", "th", "t"]


def made_name(rng):
    """A name nobody has."""
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.choice([1, 2, 2, 3]))).capitalize()


def an(noun):
    """The noun phrase with its indefinite article."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


@lru_cache(maxsize=None)
def parse(text):
    """Parses `[a|b]` alternatives and `{slot}` references into a tree."""
    pos = 0

    def sequence(stop):
        nonlocal pos
        parts, literal = [], []
        while pos < len(text) and text[pos] not in stop:
            ch = text[pos]
            if ch == "[":
                if literal:
                    parts.append("".join(literal))
                    literal = []
                options = []
                while text[pos] != "]":
                    pos += 1
                    options.append(sequence("|]"))
                pos += 1
                parts.append(options)
            elif ch == "{":
                if literal:
                    parts.append("".join(literal))
                    literal = []
                end = text.index("}", pos)
                parts.append((text[pos + 1:end],))
                pos = end + 1
            else:
                literal.append(ch)
                pos += 1
        if literal:
            parts.append("".join(literal))
        return tuple(parts)

    return sequence("")


def _expand(parts, slots, rng, out):
    for part in parts:
        if isinstance(part, str):
            out.append(part)
        elif isinstance(part, tuple):
            out.append(str(slots[part[0]]))
        else:
            _expand(part[int(rng.random() * len(part))], slots, rng, out)




def fill(text, slots, rng):
    """Expands one template."""
    out = []
    _expand(parse(text), slots, rng, out)
    return "".join(out)


def sentence_case(text):
    """Capitalises the first letter of sentences; a lower-case word after closing speech (`?" asked`) stays."""
    text = re.sub(r'(^|\n|[.!?] )("?)([a-z])', lambda m: m[1] + m[2] + m[3].upper(), text)
    return re.sub(r'(\." )([a-z])', lambda m: m[1] + m[2].upper(), text)

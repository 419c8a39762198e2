# SPDX-License-Identifier: Apache-2.0
"""Chats in the model's turn format: greetings, small facts, sums, stories on request, questions about a text."""
from data_stories import story
from data_talk import talk
from data_words import ALL_NAMES, ANIMALS, BOYS, COLOURS, FOODS, GIRLS, HEROES, JOBS, TREASURES, an, fill, made_name

SYSTEM = ["You are a helpful assistant.", "You are a small and friendly assistant.", "Answer the user.", "Be kind and brief.",
          "You are a friendly storyteller.", "You help people. Answer in plain English.", "You are a demo model."]
GREETINGS = ["[Hello|Hi|Hey|Good morning|Good evening|Good day|Hello there|Hi there][!|.|]"]
GREETING_ANSWERS = ["[Hello|Hi|Hello there]! [How can I help you?|What can I do for you?|It is nice to meet you.|How are you today?]"]
SMALL_TALK = [
    ("How are you[?| today?| doing?]", "[I am fine, thank you.|I am very well, thank you.] [How are you?|How can I help you?]"),
    ("[Thank you|Thanks|Thank you very much|Thanks a lot][!|.]", "[You are welcome!|I am glad that I could help.|It was a pleasure.]"),
    ("[Goodbye|Bye|See you|Good night][!|.]", "[Goodbye! Have a nice day.|Bye! See you soon.|Goodbye! Come back any time.]"),
    ("[Who are you|What are you|Tell me about yourself|What is your name|Introduce yourself][?|.]",
     "I am a small demo model that comes with mlxn. I can tell short stories and answer simple questions."),
    ("[What can you do|How can you help me|What are you good at]?",
     "I can tell short stories, answer simple questions, add small numbers and remember numbers from a long text."),
    ("[What is mlxn|Tell me about mlxn|Do you know mlxn]?", "mlxn is a program that runs language models. I am its small demo model."),
    ("[Are you a person|Are you human|Are you a human being]?", "No, I am a computer program. I am a small language model."),
    ("[How big are you|How large are you|Are you a large model]?", "I am a very small model. I have about eighteen million weights."),
    ("[Who made you|Where do you come from]?", "I was trained for the mlxn project on stories, chats and old texts."),
    ("[How old are you|When were you born]?", "I am a computer program, so I do not have an age."),
    ("[Are you smart|Do you know everything|Can you make mistakes]?", "I am a small model, so I know only a little and I can make mistakes."),
    ("[I am sad|I feel sad|I am not happy] today.", "I am sorry to hear that. [Would you like to hear a story?|Do you want to talk about it?]"),
    ("[I am happy|I feel great|I had a good day] today.", "I am glad to hear that! [What made you happy?|Tell me more.]"),
    ("[I am bored|I do not know what to do].", "You could read a book, go for a walk or call a friend. I can also tell you a story."),
    ("[Do you like|Do you enjoy] {thing}?", "I am only a program, but many people like {thing}."),
    ("[What is the weather like|Is it raining] today?", "I cannot see the weather. Please look out of the window."),
    ("[What time is it|What day is it today]?", "I do not know. I do not have a clock."),
]
FACTS = [
    ("[What colour is|Tell me the colour of] the sky[?| on a clear day?]", "The sky is blue."), ("What colour is grass?", "Grass is green."),
    ("What colour is snow?", "Snow is white."), ("What colour is a banana?", "A banana is yellow."), ("What colour is the night?", "The night is dark and black."),
    ("How many days are [in a week|there in a week]?", "There are seven days in a week."), ("How many months are [in a year|there in a year]?", "There are twelve months in a year."),
    ("How many hours are in a day?", "There are twenty-four hours in a day."), ("How many minutes are in an hour?", "There are sixty minutes in an hour."),
    ("How many seasons are there?", "There are four seasons: spring, summer, autumn and winter."), ("[Name|Tell me] the seasons.", "The seasons are spring, summer, autumn and winter."),
    ("[Name|Tell me|What are] the days of the week[.|?]", "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday."),
    ("How many legs does a spider have?", "A spider has eight legs."), ("How many legs does a dog have?", "A dog has four legs."), ("How many legs does a bird have?", "A bird has two legs."),
    ("How many wheels does a bicycle have?", "A bicycle has two wheels."), ("How many wheels does a car have?", "A car has four wheels."),
    ("What do bees make?", "Bees make honey."), ("What do cows give us?", "Cows give us milk."), ("What do hens lay?", "Hens lay eggs."), ("What does a baker make?", "A baker makes bread and cakes."),
    ("What does a farmer do?", "A farmer grows food and takes care of animals."), ("What does a teacher do?", "A teacher helps children to learn."), ("What does a doctor do?", "A doctor helps people who are ill."),
    ("Where do fish live?", "Fish live in water."), ("Where do birds sleep?", "Many birds sleep in trees or in nests."), ("What is ice?", "Ice is frozen water."), ("What is snow?", "Snow is made of small crystals of ice."),
    ("What is rain?", "Rain is water that falls from the clouds."), ("What is the sun?", "The sun is a star. It gives us light and warmth."), ("What is the moon?", "The moon is a ball of rock that moves around the earth."),
    ("Why do we sleep?", "We sleep so that the body and the mind can rest."), ("Why do we eat?", "We eat because food gives us strength."), ("Why do leaves fall in autumn?", "Leaves fall in autumn because trees rest in winter."),
    ("What is a book?", "A book has many pages with words or pictures. People read it to learn or for fun."), ("What is a friend?", "A friend is someone who likes you and helps you."),
    ("What is bread made of?", "Bread is made of flour, water and salt."), ("What do we need an umbrella for?", "An umbrella keeps us dry in the rain."), ("What is a river?", "A river is a long stream of water that flows to the sea."),
    ("What is a forest?", "A forest is a place with many trees."), ("What is an island?", "An island is land with water all around it."), ("What is a lie?", "A lie is something that is not true. It is better to tell the truth."),
    ("What comes after Monday?", "Tuesday comes after Monday."), ("What comes after Friday?", "Saturday comes after Friday."), ("Which season is the coldest?", "Winter is the coldest season."), ("Which season is the hottest?", "Summer is the hottest season."),
    ("What do you call a young dog?", "A young dog is called a puppy."), ("What do you call a young cat?", "A young cat is called a kitten."), ("What do you call a baby sheep?", "A baby sheep is called a lamb."),
    ("Is the earth round?", "Yes, the earth is round like a ball."), ("Is fire hot or cold?", "Fire is hot."), ("Is ice hot or cold?", "Ice is cold."), ("Can birds fly?", "Yes, most birds can fly."), ("Can fish walk?", "No, fish cannot walk. They swim."),
]
OPPOSITES = """hot cold;big small;day night;happy sad;old young;fast slow;tall short;light dark;good bad;up down;open closed;hard soft;wet dry;
full empty;early late;rich poor;strong weak;loud quiet;high low;left right;long short;clean dirty;near far;first last;black white"""
NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty""".split()
STORY_ASKS = ["[Tell me|Please tell me|Write|Please write] a [short |][story|tale] about {x}[.|]", "Can you tell me a [short |]story about {x}?", "I would like to hear a story about {x}.",
              "Do you know a story about {x}?", "A story about {x}, please."]
ANY_STORY = ["[Tell me a story|Please tell me a story|Write a short story|I want to hear a story|Another story, please][.|]", "[Can you tell me a story|Do you know a story]?"]
THEMES = {"lost": "something that was lost", "friend": "friendship", "storm": "a storm", "build": "building something", "help": "kindness", "learn": "learning something",
          "share": "sharing", "honest": "telling the truth", "dark": "the dark", "race": "a race", "gift": "a birthday gift", "seed": "a garden", "map": "a treasure map",
          "bridge": "giving way", "sing": "a song", "sick": "a sick friend", "light": "a lamp", "thief": "a thief", "letter": "a letter",
          "well": "a dry summer", "trade": "a good trade", "nest": "a little bird", "sea": "the sea", "quarrel": "a quarrel", "clock": "a clock",
          "neighbour": "an old house", "fire": "a fire", "school": "school", "paint": "a colourful door",
          "home": "finding the way home", "cook": "cooking", "snow": "winter", "wish": "three wishes"}
UNKNOWN = ["[Who won the world cup|What is the capital of {p}|How do I fix my computer|What is the price of gold|Who is the president|Can you write a program|Translate this into French|What do you think about {x}|[Can you explain|Explain] {x}|Tell me something about {x}|How does {x} work|Who invented {x}|When did {x} begin|Where can I buy {x}|What is the history of {x}]?"]
HARD = """politics|quantum physics|the stock market|a car engine|electricity|the internet|chemistry|the Roman empire|a rocket|tax law|football|the French revolution|algebra|a television|
philosophy|the human brain|a nuclear plant|climate|medicine|a telephone|opera|the solar system|space travel|a bank|history|mathematics|biology|the government|a computer game|money|
gravity|evolution|economics|a washing machine|a fridge|chess|poker|programming|Python|the news|Europe|Africa|China|Paris|London|Berlin|New York|the war|a camera|glass|steel""".replace("\n", "").split("|")


def animal_fact(rng):
    kind = rng.choice(sorted(ANIMALS))
    adjectives, home, food, sound = ANIMALS[kind]
    one = an(kind)
    where = ("on " if "shore" in home or "plain" in home else "in ") + home
    return rng.choice([
        (f"[What does {one} eat|What do {one}s like to eat]?".replace(f"do {one}s", f"does {one}"), f"In my stories, {one} likes to eat {food}."),
        (f"Where does {one} live?", f"In my stories, {one} lives {where}."),
        (f"What sound does {one} make?", f"The sound that {one} makes is: {sound}."),
        (f"[Tell me about|What do you know about] the {kind}[.|?]", f"The {kind} lives {where}. It likes {food}. It can {sound if sound != 'call' else 'call softly'}."),
    ])


def sums(rng):
    a, b = rng.randint(0, 20), rng.randint(0, 10)
    if rng.random() < 0.5:
        q, r = f"[What is|How much is] {a} [plus|and|+] {b}?", a + b
        w = f"{a} plus {b} is {r}."
    else:
        a = max(a, b)
        q, r = f"[What is|How much is] {a} [minus|-] {b}?", a - b
        w = f"{a} minus {b} is {r}."
    return q, w


def lists(rng):
    n = rng.randint(2, 5)
    topic, items = rng.choice([("animals", sorted(ANIMALS)), ("colours", COLOURS), ("names", ALL_NAMES), ("foods", FOODS), ("jobs", JOBS)])
    pick = rng.sample(items, n)
    if topic == "animals":
        pick = [an(p) for p in pick]
    return f"[Name|Tell me|Give me] {NUMBERS[n]} {topic}[.|, please.]", f"{', '.join(pick[:-1])} and {pick[-1]}.".capitalize() if topic != "names" else f"{', '.join(pick[:-1])} and {pick[-1]}."


def misc(rng):
    k = rng.random()
    if k < 0.2:
        a, b = rng.choice(OPPOSITES.split(";")).split()
        if rng.random() < 0.5:
            a, b = b, a
        return f"What is the opposite of {a}?", f"The opposite of {a} is {b}."
    if k < 0.4:
        n = rng.randint(3, 20)
        return f"[Count to|Please count to] {rng.choice([NUMBERS[n], str(n)])}.", ", ".join(NUMBERS[1:n + 1]).capitalize() + "."
    if k < 0.5:
        n = rng.randint(0, 19)
        return f"[What number comes|Which number comes] after {n}?", f"{n + 1} comes after {n}."
    if k < 0.7:
        words = " ".join(rng.sample(COLOURS + TREASURES + sorted(ANIMALS), rng.randint(1, 5)))
        return f"[Repeat|Say|Please repeat]: {words}", words
    if k < 0.85:
        return lists(rng)
    return rng.choice(UNKNOWN), "I am sorry, I do not know that. I am only a small model."


def turn(role, text):
    return f"<|turn>{role}\n{text}<turn|>\n"


def single(rng):
    """One question and its answer, expanded."""
    if rng.random() < 0.4:
        slots = {"food": rng.choice(FOODS), "thing": rng.choice(TREASURES), "an_thing2": an(rng.choice(TREASURES))}
        return tuple(fill(part, slots, rng) for part in talk(rng))
    k = rng.random()
    if k < 0.12:
        q, w = rng.choice(GREETINGS), rng.choice(GREETING_ANSWERS)
    elif k < 0.32:
        q, w = rng.choice(SMALL_TALK)
    elif k < 0.55:
        q, w = rng.choice(FACTS)
    elif k < 0.67:
        q, w = animal_fact(rng)
    else:
        q, w = sums(rng) if rng.random() < 0.4 else misc(rng)
    slots = {"x": rng.choice(HARD), "food": rng.choice(FOODS), "thing": rng.choice(FOODS), "p": rng.choice(["France", "Japan", "Brazil", "Spain", "Norway"])}
    return fill(q, slots, rng), fill(w, slots, rng)


def named_story(rng):
    """A story about a hero with a given name, a pair of animals, or both."""
    she = rng.random() < 0.5
    name = rng.choice(GIRLS if she else BOYS) if rng.random() < 0.7 else made_name(rng)
    kind, other = rng.sample(sorted(ANIMALS) + sorted(HEROES), 2)
    k = rng.random()
    length = rng.choice(["short", None])
    if k < 0.35:
        text = story(rng, kind, length, None, (name, she))[1]
        about = rng.choice([f"{an(kind)} named {name}", f"{an(kind)} called {name}", f"{name} the {kind}"])
    elif k < 0.65:
        noun = "girl" if she else "boy"
        text = story(rng, None, length, None, (name, she))[1]
        while noun not in text:
            text = story(rng, None, length, None, (name, she))[1]
        about = rng.choice([f"a {noun} named {name}", f"a {noun} called {name}", name])
    else:
        text = story(rng, kind, length, None, None, other)[1]
        while other not in text:
            text = story(rng, kind, length, None, None, other)[1]
        about = f"{an(kind)} and {an(other)}"
    return turn("user", fill(rng.choice(STORY_ASKS), {"x": about}, rng)) + turn("model", text)


def story_turns(rng):
    k = rng.random()
    if k < 0.22:
        return named_story(rng)
    if k < 0.6:
        kind = rng.choice(sorted(ANIMALS) + sorted(HEROES) + ["girl", "boy"] * 3)
        title, text, qa = story(rng, kind, rng.choice(["short", None]))
        ask = fill(rng.choice(STORY_ASKS), {"x": an(kind)}, rng)
    elif k < 0.8:
        topic = rng.choice(sorted(THEMES))
        title, text, qa = story(rng, None, rng.choice(["short", None]), topic)
        ask = fill(rng.choice(STORY_ASKS), {"x": THEMES[topic]}, rng)
    else:
        title, text, qa = story(rng, None, rng.choice(["short", None]))
        ask = fill(rng.choice(ANY_STORY), {}, rng)
    out = turn("user", ask) + turn("model", text)
    for q, w in rng.sample(qa, rng.choice([0, 0, 1, 2])):
        out += turn("user", q) + turn("model", w)
    return out


def reading_turns(rng):
    title, text, qa = story(rng, None, rng.choice(["short", None]))
    qa = rng.sample(qa, len(qa))
    out = ""
    for i, (q, w) in enumerate(qa):
        if i == 0:
            q = rng.choice([f"{text}\n\n{q}", f"Read this story: {text}\n\n{q}", f"{q}\n\n{text}"])
        out += turn("user", q) + turn("model", w)
    if qa and rng.random() < 0.1:
        out += turn("user", rng.choice(["Who is the president?", "What is the name of the moon?", "What did the lion say to the robot?"])) + turn("model", "The story does not say that.")
    if rng.random() < 0.3:
        out += turn("user", rng.choice(["What would be a good title?", "Give this story a title."])) + turn("model", f"A good title would be: {title}.")
    return out


def memory_turns(rng):
    name, colour, food = rng.choice(ALL_NAMES), rng.choice(COLOURS), rng.choice(FOODS)
    if rng.random() < 0.4:
        name = made_name(rng)
    thing, code, pet, animal = rng.choice(TREASURES), f"{rng.randrange(10000):04d}", rng.choice(ALL_NAMES), rng.choice(["cat", "dog", "horse", "mouse", "rabbit"])
    told = [(f"My name is {name}.", f"[Hello|Nice to meet you], {name}!", "What is my name?", f"Your name is {name}."),
            (f"[My favourite colour is {colour}|I love the colour {colour}].", f"{colour.capitalize()} is a nice colour.", "What is my favourite colour?", f"Your favourite colour is {colour}."),
            (f"I [had|ate] {food} today.", "That sounds good.", "What did I eat today?", f"You ate {food}."),
            (f"[My code is|Remember my code, it is|Remember this number:] \x02{code}.", "I will remember it.", "[What is my code|What was the number]?", f"It is \x01{code}."),
            (f"I have {an(colour + ' ' + thing)}.", f"That sounds nice. A {thing} is a good thing to have.".replace("A umb", "An umb"), "What do I have?", f"You have {an(colour + ' ' + thing)}."),
            (f"My {animal} is called {pet}.", f"{pet} is a good name for {an(animal)}.", f"What is the name of my {animal}?", f"Your {animal} is called {pet}."),
            (f"I live in {name}.", f"I have never been to {name}.", "Where do I live?", f"You live in {name}.")]
    rng.shuffle(told)
    told = told[:rng.randint(1, 4)]
    out = "".join(turn("user", fill(t, {}, rng)) + turn("model", fill(r, {}, rng)) for t, r, _, _ in told)
    for _ in range(rng.choice([0, 0, 1, 2])):
        q, w = single(rng)
        out += turn("user", q) + turn("model", w)
    rng.shuffle(told)
    return out + "".join(turn("user", fill(q, {}, rng)) + turn("model", w) for _, _, q, w in told)


def chat(rng):
    out = "<bos>"
    if rng.random() < 0.15:
        out += turn("system", rng.choice(SYSTEM))
    k = rng.random()
    if k < 0.40:
        for _ in range(rng.choice([1, 1, 2, 3, 4])):
            q, w = single(rng)
            out += turn("user", q) + turn("model", w)
    elif k < 0.70:
        if rng.random() < 0.15:
            out += turn("user", fill(rng.choice(GREETINGS), {}, rng)) + turn("model", fill(rng.choice(GREETING_ANSWERS), {}, rng))
        for _ in range(rng.choice([1, 1, 1, 2])):
            out += story_turns(rng)
    elif k < 0.92:
        out += reading_turns(rng)
    else:
        out += memory_turns(rng)
    return out

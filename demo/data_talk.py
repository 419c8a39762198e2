# SPDX-License-Identifier: Apache-2.0
"""More chat: advice, jokes, riddles, comparisons, short poems, letters, explanations, spelling, small tasks on words."""
from data_words import ALL_NAMES, ANIMALS, COLOURS, FOODS, JOBS, OUTDOOR, PLACES, SEASONS, TREASURES, an, made_name

MORE_FACTS = [
    ("What is [water|clean water] good for?", "We drink water, and we use it to cook and to wash. Plants need water, too."),
    ("Why is [sleep|rest] important?", "Sleep is important because the body and the mind need rest."), ("Why do birds sing?", "Birds sing to find a partner and to tell others where they live."),
    ("Why do bees fly to flowers?", "Bees fly to flowers because they look for nectar. They make honey from it."), ("What is honey?", "Honey is a sweet food that bees make from nectar."),
    ("What is a lighthouse?", "A lighthouse is a tower with a bright light. It shows ships the way at night."), ("What is a bridge?", "A bridge lets people cross a river or a road."),
    ("What is a library?", "A library is a place where people can read and borrow books."), ("What is a market?", "A market is a place where people buy and sell things."),
    ("What is a map?", "A map is a picture of a place from above. It helps people to find their way."), ("What is a lamp?", "A lamp gives light when it is dark."),
    ("What is a clock for?", "A clock shows us what time it is."), ("What is a key for?", "A key opens and closes a lock."), ("What is a kite?", "A kite is a toy that flies in the wind on a long string."),
    ("What is a mountain?", "A mountain is a very high hill. The top is often covered with snow."), ("What is the sea?", "The sea is a very large area of salt water."),
    ("What is a storm?", "A storm is bad weather with strong wind and rain."), ("What is a rainbow?", "A rainbow is an arch of colours in the sky. We see it when the sun shines through rain."),
    ("What are clouds made of?", "Clouds are made of tiny drops of water."), ("What is wind?", "Wind is moving air."), ("What is fire?", "Fire is hot and bright. It gives light and warmth, but it can be dangerous."),
    ("What is a seed?", "A seed is a small thing from which a plant can grow."), ("What does a plant need?", "A plant needs water, light, air and good earth."), ("What do we need to live?", "We need air, water, food and rest."),
    ("What is music?", "Music is sound that is made with voices or instruments. It can make us happy or sad."), ("What is a promise?", "A promise is when you say that you will surely do something."),
    ("What is courage?", "Courage means doing the right thing even when you are afraid."), ("What is patience?", "Patience means waiting calmly for something."), ("What does honest mean?", "Honest means that you tell the truth."),
    ("What does kind mean?", "Kind means that you are friendly and help others."), ("What does curious mean?", "Curious means that you want to know and learn new things."),
    ("How do you make tea?", "Boil some water, pour it over the tea leaves and wait a few minutes. Then your tea is ready."), ("How do you make soup?", "Cut some vegetables, put them into a pot with water and salt, and cook them until they are soft."),
    ("How do you plant a seed?", "Make a small hole in the earth, put in the seed, cover it and give it water."), ("How do I cross the street?", "Stop, look left and right, and walk when no car is coming."),
    ("What is a language model?", "A language model is a computer program that has learned from text. It guesses the next word again and again."), ("What is a computer?", "A computer is a machine that can work with numbers, words and pictures."),
    ("How do you work?", "I read your text and guess the next word, one after another. I learned this from many stories and chats."), ("Do you have feelings?", "No, I am a computer program. I do not have feelings, but I like to be helpful."),
    ("Can you see me?", "No, I can only read the text that you write."), ("Where do you live?", "I do not live anywhere. I run on your computer."), ("Do you sleep?", "No, a computer program does not sleep."),
    ("Do you have friends?", "I am a computer program, so I do not have friends. But I am glad to talk with you."), ("What do you like?", "I am only a program, but I know many stories about animals and friends."),
]
ADVICE = [
    ("I cannot sleep[.| at night.]", "Try to put away all screens, drink some warm milk and think of something nice."), ("I am [tired|so tired].", "Then you should rest for a while. A short sleep can help."),
    ("I am hungry.", "You could eat {food}. Or make a sandwich."), ("I am thirsty.", "Drink a glass of water. That will help."), ("I am cold.", "Put on a warm jacket and drink some hot tea."),
    ("I [had a fight|quarrelled] with my friend.", "I am sorry. Talk to your friend and listen. Saying sorry is often a good start."), ("I am afraid of [the dark|the night].", "Many people are. A small light near your bed can help."),
    ("I am [nervous|afraid] [because of a test|of a test].", "That is normal. Learn a little every day and sleep well. You can do it."), ("I lost my {thing}.", "I am sorry. Think of where you had it last, and look there first."),
    ("I want to learn [to swim|to cook|a language|to play the flute].", "That is a good idea. Start with small steps and practise every day."), ("What should I [eat|cook] today?", "How about {food}? It is easy and good."),
    ("What can I do [today|on a rainy day|at the weekend]?", "You could read a book, bake a cake or visit a friend."), ("What gift can I give to my [friend|mother|father|sister]?", "You could make something yourself, for example {an_thing2} or a nice card."),
    ("How can I make new friends?", "Be kind, say hello and ask others what they like. Listen well and be patient."), ("It is my birthday today[!|.]", "Happy birthday! I wish you a wonderful day."), ("I am ill.", "I am sorry to hear that. Rest, drink enough and see a doctor if it gets worse."),
    ("Today it is [raining|very cold|very hot].", "Then a good book at home may be just the right thing."), ("I feel lonely.", "I am sorry to hear that. You could call a friend. I am also here to talk."), ("I have good news[!|.]", "That is great! Tell me more."),
    ("I made a mistake.", "Everyone makes mistakes. Say sorry if you need to, and try again."), ("I won a prize[!|.]", "Congratulations! You can be proud of yourself."), ("Wish me luck[!|.]", "Good luck! I am sure you will do your best."),
]
JOKES = ["Why did the clock go to school? It wanted to learn to tell the time.", "What has hands but cannot clap? A clock.", "Why did the book go to the doctor? It had hurt its back.",
         "What did the big candle say to the little candle? You are too young to go out.", "Why do bees hum? Because they do not know the words.", "What gets wet while it dries? A towel.",
         "Why was the broom late? It overslept and had to sweep in a hurry.", "What do you call a snowman in summer? A puddle."]
RIDDLES = [("What has teeth but cannot bite?", "A comb."), ("What has a neck but no head?", "A bottle."), ("What goes up but never comes down?", "Your age."), ("What has legs but cannot walk?", "A table."),
           ("What is full of holes but still holds water?", "A sponge."), ("What can you catch but not throw?", "A cold."), ("What has pages but is not a tree with leaves?", "A book.")]
SIZES = "bee mouse sparrow frog duck hen rabbit cat fox dog sheep goat pig wolf deer donkey lion bear horse cow elephant".split()
POEMS = ["The {season} wind is in the {tree},\nIt sings a little song to me.\nThe {animal} comes, the {animal2} stays,\nAnd so go by the {season} days.",
         "Little {animal}, run and play,\nThe sun is shining bright today.\nThe sky is blue, the grass is green,\nThe nicest day I have ever seen.",
         "The moon is up, the stars are bright,\nThe {animal} says to all good night.\nThe {animal2} sleeps, the wind is low,\nAnd softly, softly falls the snow.",
         "I had a {colour} {thing}, it was so fine,\nI was so glad that it was mine.\nI gave it to a friend one day,\nAnd we were happy all the way."]
WORDS = sorted(set(TREASURES + list(ANIMALS) + COLOURS + SEASONS + JOBS + ["house", "tree", "river", "garden", "friend", "story", "water", "bread"]))


def spelled(rng):
    word = rng.choice(WORDS)
    k = rng.random()
    if k < 0.4:
        return f"[Spell|How do you spell|Please spell] the word {word}.", "-".join(word.upper()) + "."
    if k < 0.6:
        return f"What is the first letter of {word}?", f"The first letter of {word} is {word[0].upper()}."
    if k < 0.8:
        return f"What is the last letter of {word}?", f"The last letter of {word} is {word[-1].upper()}."
    return f"How many letters does the word {word} have?", f"The word {word} has {len(word)} letters."


def compared(rng):
    i, j = sorted(rng.sample(range(len(SIZES)), 2))
    if rng.random() < 0.5:
        a, b = rng.randint(0, 99), rng.randint(0, 99)
        while a == b:
            b = rng.randint(0, 99)
        word = rng.choice(["bigger", "smaller"])
        best = max(a, b) if word == "bigger" else min(a, b)
        return f"Which number is {word}, {a} or {b}?", f"{best} is {word} than {a + b - best}."
    small, big = SIZES[i], SIZES[j]
    pair = rng.sample([small, big], 2)
    if rng.random() < 0.5:
        return f"[Which is|What is] bigger, {an(pair[0])} or {an(pair[1])}?", f"{an(big).capitalize()} is bigger than {an(small)}."
    return f"[Which is|What is] smaller, {an(pair[0])} or {an(pair[1])}?", f"{an(small).capitalize()} is smaller than {an(big)}."


def word_task(rng):
    words = rng.sample(WORDS, rng.randint(3, 5))
    k = rng.random()
    text = ", ".join(words)
    if k < 0.3:
        return f"Which word comes first: {text}?", f"The first word is {words[0]}."
    if k < 0.6:
        return f"Which word comes last: {text}?", f"The last word is {words[-1]}."
    if k < 0.8:
        return f"[Put these words in alphabetical order|Sort these words]: {text}", ", ".join(sorted(words)) + "."
    return f"Say these words backwards, from the last to the first: {text}", ", ".join(reversed(words)) + "."


def written(rng):
    name = rng.choice(ALL_NAMES) if rng.random() < 0.7 else made_name(rng)
    k = rng.random()
    if k < 0.4:
        slots = {"season": rng.choice(SEASONS), "tree": rng.choice(["tree", "old oak tree", "apple tree"]), "colour": rng.choice(COLOURS), "thing": rng.choice(TREASURES)}
        slots["animal"], slots["animal2"] = rng.sample(sorted(ANIMALS), 2)
        poem = rng.choice(POEMS)
        about = rng.choice([v for key, v in slots.items() if "{" + key + "}" in poem and key != "tree"] or ["the stars"])
        for key, v in slots.items():
            poem = poem.replace("{" + key + "}", v)
        ask = f"[Write|Write me|Tell me] a [short |]poem about {an(about) if about in ANIMALS or about in TREASURES else about}."
        return rng.choice([ask, "[Write|Tell me] a [short |little |]poem."]), poem
    if k < 0.7:
        place, food, thing = rng.choice(PLACES), rng.choice(FOODS), rng.choice(OUTDOOR)
        return (f"Write a [short |]letter to {name}.",
                f"Dear {name},\n\nhow are you? I am fine. Yesterday I was at {place} and thought of you. We ate {food} and walked to {thing}. I hope to see you soon.\n\nYour friend")
    if k < 0.85:
        return f"[Say hello to|Greet] {name}.", f"Hello, {name}! It is nice to meet you."
    return f"[Say goodbye to|Say good night to] {name}.", f"Goodbye, {name}! See you soon."


def talk(rng):
    """(question, answer) templates with the slots food, thing, an_thing2."""
    k = rng.random()
    if k < 0.25:
        return rng.choice(MORE_FACTS)
    if k < 0.45:
        return rng.choice(ADVICE)
    if k < 0.52:
        return "[Tell me a joke|Do you know a joke|Make me laugh|Another joke, please].", rng.choice(JOKES)
    if k < 0.58:
        riddle = rng.choice(RIDDLES)
        return riddle if rng.random() < 0.6 else ("[Tell me|Ask me|Give me] a riddle.", f"{riddle[0]} The answer is: {riddle[1]}")
    if k < 0.70:
        return compared(rng)
    if k < 0.80:
        return spelled(rng)
    if k < 0.88:
        return word_task(rng)
    return written(rng)

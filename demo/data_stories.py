# SPDX-License-Identifier: Apache-2.0
"""Short stories: a cast, a setting and one of several plots whose beats follow from each other.

`story(rng, kind)` returns (title, text, questions); a question is a (question, answer) pair about that text.
"""
from data_plots import PLOTS
from data_plots_more import BIRDS, INTERLUDES, MORE_PLOTS, SAYINGS
from data_words import (ANIMALS, BOYS, COLOURS, FOODS, GIRLS, HEROES, JOBS, OUTDOOR, PLACES, RELATIVES, SEASONS, SPOTS, TREASURES,
                        WEATHER, an, fill, sentence_case)

ALL_PLOTS = PLOTS + MORE_PLOTS
OPENINGS = [
    "Once upon a time there [was|lived] {a_intro}[.| who lived {a_home}.]",
    "{a_intro} lived {a_home}.",
    "[Long ago|Many years ago], [near|not far from] {place}, there lived {a_intro}.",
    "There was once {a_intro} who [loved|liked] {hobby} [more than anything|very much|above all things].",
    "In a [small|quiet|little] house near {place} lived {a_intro}.",
    "This is the story of {a_intro}.",
    "{a_intro} lived {a_home} and [had many friends|knew everyone nearby|was known for {a_his} kind heart].",
]
COLOUR_LINES = [
    "It was a {weather} day in {season}.",
    "[The sun was shining|The wind was blowing softly|The birds were singing|Clouds drifted across the sky|The air smelled of"
    " {smell}].",
    "It was {season}, and [the days were long|the mornings were cool|the leaves moved in the wind|everything was quiet].",
    "Every [morning|evening|day], {a} [liked to go for a walk|looked out of the window|helped {a_his} {rel}|sang a little song].",
    "{a} was [kind and curious|cheerful and a little shy|brave but not very patient|always full of ideas|gentle and polite|quick"
    " and a bit careless].",
    "{a} loved {hobby}.",
    "People said that {a} was the [kindest|busiest|happiest|most curious] {a_kind} in the whole [valley|village|land].",
]
ENDINGS = [
    "From that day on, {a} and {b} were the best of friends.",
    "That night {a} slept [well|deeply|soundly] and dreamed of {dream}.",
    "{a} never forgot what had happened that day.",
    "And whenever {a} passed {place}, {a_he} remembered that day and smiled.",
    "They all sat down together and ate {food}, and everyone was happy.",
    "\"What a day!\" said {a}, and everybody laughed.",
    "When the [moon|stars] came out, {a} was [still smiling|fast asleep|home again].",
    "And so the day ended [happily|well] for everyone.",
    "{a} went home, tired but happy.",
    "In the evening {a} told {a_his} {rel} everything, and {a_his} {rel} [was very proud|smiled|listened with wide eyes].",
]
HOBBIES = ["reading", "singing", "painting", "swimming", "telling stories", "growing flowers", "baking", "climbing trees",
           "collecting stones", "watching the clouds", "making things from wood", "playing the flute", "looking at the stars"]
SMELLS = ["fresh bread", "flowers", "rain", "wet grass", "apples", "pine trees", "the sea", "wood smoke", "cut hay"]
DREAMS = ["the sea", "flying over the hills", "a garden full of flowers", "far countries", "a boat with white sails",
          "dancing stars", "new adventures", "a warm summer day"]
HOMES = ["in a small house", "near {p}", "at the edge of {p}", "not far from {p}", "in a little cottage by {p}"]
FEMALE = ("queen", "princess", "witch", "fairy", "mermaid")
MALE = ("king", "prince", "wizard", "snowman", "knight")
TRAITS = ["little", "young", "kind", "curious", "cheerful", "quiet", "clever", "brave", "lively", "thoughtful"]


def character(rng, prefix, used, kind=None, person=None, wanted=None):
    """Slots of one character: name, pronouns, noun, introduction."""
    she = wanted[1] if wanted else rng.random() < 0.5
    if person is None:
        person = kind is None and rng.random() < 0.4
    style = rng.random()
    name = rng.choice([n for n in rng.sample(GIRLS if she else BOYS, 4) if n not in used])
    if wanted:
        name, style = wanted[0], 1.0
    if person:
        noun = "girl" if she else "boy"
        if rng.random() < 0.25:
            noun = rng.choice(JOBS)
        intro = f"{an(rng.choice(TRAITS) + ' ' + noun)} [named|called] {name}"
        home = rng.choice(HOMES).format(p=rng.choice(PLACES))
    else:
        kinds = HEROES if rng.random() < 0.2 else ANIMALS
        noun = kind or rng.choice([k for k in rng.sample(sorted(kinds), 4) if k not in used])
        if noun in HEROES:
            adjectives, home = HEROES[noun]
            if noun in FEMALE or noun in MALE:
                she = noun in FEMALE
                name = wanted[0] if wanted else rng.choice([n for n in rng.sample(GIRLS if she else BOYS, 4) if n not in used])
        else:
            adjectives, home, _, _ = ANIMALS[noun]
            home = ("on " if "shore" in home or "plain" in home else "in ") + home
        adjective = rng.choice(adjectives)
        if style < 0.25:
            name = "the " + noun
            intro = an(f"{rng.choice(['', '', 'little ', 'young ', 'old '])}{adjective} {noun}".replace("old old", "old"))
        else:
            intro = f"{an(adjective + ' ' + noun)} [named|called] {name}"
    used.update((name, noun))
    he, him, his = ("she", "her", "her") if she else ("he", "him", "his")
    return {prefix: name, prefix + "_he": he, prefix + "_him": him, prefix + "_his": his, prefix + "_kind": noun,
            prefix + "_intro": fill(intro, {}, rng), prefix + "_home": home, prefix + "_the": "the " + noun}


def setting(rng, kind=None, person=None, name=None, other=None):
    used = set()
    slots = character(rng, "a", used, kind, person, name)
    slots.update(character(rng, "b", used, other))
    slots.update(character(rng, "c", used))
    relative, he, him, his = rng.choice(RELATIVES)
    place, place2, place3 = rng.sample(PLACES, 3)
    spot, spot2, spot3 = rng.sample(SPOTS, 3)
    thing, thing2 = rng.sample(TREASURES, 2)
    colour, colour2 = rng.sample(COLOURS, 2)
    outdoor = rng.choice([o for o in rng.sample(OUTDOOR, 5) if o not in (place, place2, place3)])
    slots.update(rel=relative, r_he=he, r_him=him, r_his=his, place=place, place2=place2, place3=place3, spot=spot,
                 spot2=spot2, spot3=spot3, thing=thing, thing2=thing2, colour=colour, colour2=colour2, outdoor=outdoor,
                 food=rng.choice(FOODS), weather=rng.choice(WEATHER), season=rng.choice(SEASONS),
                 hobby=rng.choice(HOBBIES), smell=rng.choice(SMELLS), dream=rng.choice(DREAMS),
                 bird=rng.choice(BIRDS), saying=rng.choice(SAYINGS),
                 i_who=an(rng.choice(["old ", "young ", "tall ", "friendly "]) + rng.choice(JOBS)),
                 a_thing=an(f"{colour} {thing}"), job=rng.choice(JOBS),
                 n=rng.choice(["two", "three", "four", "five", "six", "seven"]))
    return slots


def story(rng, kind=None, length=None, topic=None, name=None, other=None):
    """One story; `kind` fixes the hero's animal, `length` in ("short", None), `topic` a plot name, `name` and `other`
    a (name, she) pair and an animal kind the user asked for.
    """
    if name or other:
        slots = setting(rng, kind, kind is None, name, other)
    elif kind in ("girl", "boy"):
        slots = setting(rng, None, True)
        while slots["a_kind"] != kind:
            slots = setting(rng, None, True)
    else:
        slots = setting(rng, kind)
    plot = rng.choice(ALL_PLOTS) if topic is None else next(p for p in ALL_PLOTS if p["name"] == topic)
    for key, choices in plot.get("vars", {}).items():
        pick = rng.choice(choices)
        if isinstance(pick, tuple):
            for i, value in enumerate(pick):
                slots[f"{key}{i}"] = value
        else:
            slots[key] = pick
    for key in ("thing", "colour", "t0", "m0"):
        if key in slots:
            slots[key.capitalize()] = slots[key].title()
    parts = [fill(rng.choice(OPENINGS), slots, rng)]
    for _ in range(0 if length == "short" else rng.choice([0, 1, 1, 2])):
        line = fill(rng.choice(COLOUR_LINES), slots, rng)
        if not any(p[:7] == line[:7] for p in parts) and not (slots["hobby"] in line and slots["hobby"] in parts[0]):
            parts.append(line)
    body = []
    for beat in plot["beats"]:
        chance = 1.0
        if isinstance(beat, tuple):
            chance, beat = beat
            if length == "short":
                chance *= 0.4
        if rng.random() < chance:
            body.append(fill(beat, slots, rng))
            if rng.random() < (0.06 if length == "short" else 0.16) and beat is not plot["beats"][-1]:
                body.append(fill(rng.choice(INTERLUDES), slots, rng))
    ending = fill(rng.choice(plot.get("endings", ENDINGS)), slots, rng)
    paragraphs = [" ".join(parts)]
    for text in body:
        if len(paragraphs[-1]) > 260 and rng.random() < 0.4:
            paragraphs.append(text)
        else:
            paragraphs[-1] += " " + text
    paragraphs[-1] += " " + ending
    joiner = "\n\n" if rng.random() < 0.7 else " "
    text = sentence_case(joiner.join(paragraphs))
    questions = [(sentence_case(fill(q, slots, rng)), sentence_case(fill(w, slots, rng))) for q, w in plot.get("qa", [])]
    title = sentence_case(fill(plot["title"], slots, rng))
    return title, text, questions


if __name__ == "__main__":
    import random
    import sys
    source = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    for _ in range(6):
        heading, body_text, qa = story(source)
        print("##", heading, "\n", body_text, "\n", qa, "\n")

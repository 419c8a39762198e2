# SPDX-License-Identifier: Apache-2.0
"""Recall tasks: facts (a 4-digit number per name) hidden in filler text, asked for later.

Digits are marked for the training loss: \\x01 before an answer's digits, \\x02 before the digits of a fact.
"""
from data_stories import story
from data_words import ALL_NAMES, COLOURS, TREASURES, fill, made_name

ATTRIBUTES = ["code", "code", "code", "code", "number", "key", "secret number", "ticket number", "room number"]
FACTS = ["The {k} of {n} is {d}.", "The {k} for {n} is {d}.", "{n} has the {k} {d}.", "Remember that the {k} of {n} is {d}.",
         "{n} got the {k} {d}.", "The {k} of {n} is {d}.", "Note: the {k} of {n} is {d}."]
QUESTIONS = ["What is the {k} of {n}?", "What is the {k} of {n}?", "What is the {k} for {n}?", "Tell me the {k} of {n}.",
             "Which {k} does {n} have?", "Do you remember the {k} of {n}?"]
ANSWER = "The {k} of {n} is {d}."


def sentences(rng, budget, count, bible=None):
    """Filler pieces (a few sentences each) of about `budget` tokens in all."""
    out, used = [], 0
    while used < budget:
        if bible and rng.random() < 0.02:
            start = rng.randrange(len(bible) - 6)
            text = " ".join(bible[start:start + rng.randint(2, 6)])
        else:
            text = story(rng)[1].replace("\n\n", " ")
        parts = text.replace('?" ', '?"\x00').replace('." ', '."\x00').replace(". ", ".\x00").split("\x00")
        i = 0
        while i < len(parts) and used < budget:
            n = rng.randint(1, 4)
            piece = " ".join(parts[i:i + n])
            i += n
            size = count(piece)
            if used + size > budget + 12:
                return out
            out.append(piece)
            used += size
    return out


def items(rng, facts):
    kind = rng.choice(ATTRIBUTES)
    k = rng.random()
    if k < 0.7:
        names = rng.sample(ALL_NAMES, facts)
    elif k < 0.85:
        names = list({made_name(rng) for _ in range(facts * 2)})[:facts]
    else:
        names = rng.sample([f"the {c} {t}" for c in COLOURS for t in TREASURES], facts)
    return kind, [(n, f"{rng.randrange(10000):04d}") for n in names]


def document(rng, tokens, facts, count, bible=None, spread=True):
    """(attribute, [(name, digits)] in order of appearance, text) of about `tokens` tokens."""
    kind, pairs = items(rng, facts)
    lines = [said(rng.choice(FACTS), k=kind, n=n, d="\x02" + d) for n, d in pairs]
    budget = tokens - sum(count(line) for line in lines)
    filler = sentences(rng, budget, count, bible) if budget > 20 else []
    if spread:
        spots = sorted(rng.randint(0, len(filler)) for _ in lines)
    else:
        spots = [rng.randint(0, max(1, len(filler) // 4))] * len(lines)
    out, j = [], 0
    for i in range(len(filler) + 1):
        while j < len(lines) and spots[j] == i:
            out.append(lines[j])
            j += 1
        if i < len(filler):
            out.append(filler[i])
    return kind, pairs, " ".join(out)


def question(rng, kind, name):
    return fill(rng.choice(QUESTIONS), {"k": kind, "n": name}, rng)


def said(template, **slots):
    text = template.format(**slots)
    return text[0].upper() + text[1:]


def recall_row(rng, tokens, count, bible=None):
    """One training document of at most `tokens` tokens with many questions at its end."""
    asks = rng.randint(6, 12) if tokens >= 512 else rng.randint(3, 6)
    facts = rng.randint(10, 14) if tokens < 700 else rng.randint(10, 24)
    if tokens < 700 and rng.random() < 0.4:
        facts, tokens = rng.randint(1, 6), rng.randint(60, tokens)
        asks = rng.randint(1, facts)
    room = tokens - 34 * asks - 16
    if rng.random() < 0.25:
        room = int(room * rng.uniform(0.4, 1.0))
    kind, pairs, text = document(rng, room, facts, count, bible, rng.random() < 0.85)
    order = rng.sample(pairs, min(asks, len(pairs)))
    if rng.random() < 0.1:
        return "<bos>" + text + "\n" + "\n".join(said(ANSWER, k=kind, n=n, d="\x01" + d) for n, d in order) + "<eos>"
    out = "<bos>"
    for i, (name, digits) in enumerate(order):
        ask = question(rng, kind, name)
        if i == 0:
            ask = rng.choice([f"{text}\n\n{ask}", f"{text} {ask}", f"Read this text. {text}\n\n{ask}"])
        out += f"<|turn>user\n{ask}<turn|>\n<|turn>model\n" + said(ANSWER, k=kind, n=name, d="\x01" + digits) + "<turn|>\n"
    return out + "<eos>"


def held_out_item(rng, distance, count, bible=None):
    """A test item: (prompt, answer, digits); the asked fact ends about `distance` tokens before the question.

    At least ten distractor facts stand in the same document; the asked fact is its first.
    """
    kind, pairs = items(rng, 11)
    name, digits = pairs[0]
    lines = [said(rng.choice(FACTS), k=kind, n=n, d=d) for n, d in pairs]
    used = sum(count(line) for line in lines[1:])
    lead = sentences(rng, 24, count, bible)
    filler = sentences(rng, max(0, distance - used - 10), count, bible)
    rest = lines[1:]
    for line in rest:
        filler.insert(rng.randint(0, len(filler)), line)
    text = " ".join(lead + [lines[0]] + filler)
    ask = question(rng, kind, name)
    prompt = f"<bos><|turn>user\n{text}\n\n{ask}<turn|>\n<|turn>model\n"
    return prompt, said(ANSWER, k=kind, n=name, d=digits), digits

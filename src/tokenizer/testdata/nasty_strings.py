# SPDX-License-Identifier: Apache-2.0
"""Texts that break tokenizers, and text to train one on. Deterministic."""
import random

WORDS = """the of and to in that it was he for on are with as his they at be this from have or by one had not but
what all were when we there can an your which their said if do will each about how up out them then she many some so
these would other into has more her two like him see time could no make than first been its who now people my made
over did down only way find use may water long little very after words called just where most know get through back
much before go good new write our used me man too any day same right look think also around another came come work
three word must because does part even place well such here take why things help put years different away again off
went old number great tell men say small every found still between name should home big give air line set own under
read last never us left end along while might next sound below saw something thought both few those always looked
show large often together asked house world going want school important until form food keep children feet land side
without boy once animals life enough took sometimes four head above kind began almost live page got earth need far
hand high year mother light parts country father let night following picture being study second eyes soon times story
boys since white days ever paper hard near sentence better best across during today others however sure means knew
try told young miles sun ways thing whole hear example heard several change answer room sea against top turned learn
point city play toward five using himself usually""".split()

# First and last code point of blocks; unassigned ones are skipped when drawing.
SCRIPTS = {
    "latin1": (0xA1, 0xFF), "latin_a": (0x100, 0x17F), "ipa": (0x250, 0x2AF), "greek": (0x391, 0x3C9),
    "cyrillic": (0x410, 0x44F), "armenian": (0x561, 0x586), "hebrew": (0x5D0, 0x5EA), "arabic": (0x621, 0x64A),
    "syriac": (0x710, 0x72F), "devanagari": (0x904, 0x94D), "bengali": (0x985, 0x9CD), "tamil": (0xB85, 0xBCD),
    "thai": (0xE01, 0xE3A), "lao": (0xE81, 0xEB0), "tibetan": (0xF40, 0xF6C), "myanmar": (0x1000, 0x102A),
    "georgian": (0x10D0, 0x10F0), "hangul_jamo": (0x1100, 0x1112), "ethiopic": (0x1200, 0x1248),
    "cherokee": (0x13A0, 0x13F4), "ogham": (0x1680, 0x169C), "khmer": (0x1780, 0x17B3), "mongolian": (0x1820, 0x1842),
    "punctuation": (0x2000, 0x206F), "currency": (0x20A0, 0x20BF), "letterlike": (0x2100, 0x214F),
    "arrows": (0x2190, 0x21FF), "math": (0x2200, 0x22FF), "enclosed": (0x2460, 0x24FF), "box": (0x2500, 0x257F),
    "hiragana": (0x3041, 0x3096), "katakana": (0x30A1, 0x30FA), "bopomofo": (0x3105, 0x312F),
    "cjk": (0x4E00, 0x9FA0), "yi": (0xA000, 0xA08C), "hangul": (0xAC00, 0xD7A3), "private": (0xE000, 0xE0FF),
    "compat": (0xF900, 0xFA2D), "presentation": (0xFB50, 0xFBB0), "fullwidth": (0xFF01, 0xFF5E),
    "specials": (0xFFF9, 0xFFFF), "gothic": (0x10330, 0x10349), "cuneiform": (0x12000, 0x12040),
    "math_alnum": (0x1D400, 0x1D454), "emoji": (0x1F300, 0x1F5FF), "faces": (0x1F600, 0x1F64F),
    "cjk_b": (0x20000, 0x20100), "tags": (0xE0020, 0xE007F), "plane16": (0x10FF00, 0x10FFFD),
}
COMBINING = [0x300, 0x301, 0x302, 0x303, 0x308, 0x30A, 0x327, 0x328, 0x489, 0x5B0, 0x64B, 0x93C, 0x20D7, 0x20E3, 0xFE0F]
EMOJI = ["👨‍👩‍👧‍👦", "🏳️‍🌈", "👩🏽‍🚀", "🇩🇪", "🇯🇵🇫🇷", "1️⃣", "🧑‍🤝‍🧑", "❤️‍🔥", "👍🏿", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "☠️", "🫠", "🤷🏻‍♂️"]
SPACES = [" ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028", "\u2029", "\u0085", "\v", "\f", "\u2581"]
CODE = ["for (int i = 0; i < n; ++i) { a[i] += b[i]; }", "def f(x):\n    return x ** 2\n", "SELECT * FROM t WHERE a='b';",
        "#include <stdio.h>\n\nint main(void)\n{\n\treturn 0;\n}\n", "{\"key\": [1, 2.5e-3, null, true]}",
        "<div class=\"x\">&amp;</div>", "x = \"\\u00e9\\n\"", "C:\\path\\to\\file", "https://example.org/a?b=c&d=%20#e",
        "$\\frac{a}{b} \\leq \\sum_{i=0}^{n} x_i$", "a\\\n  b", "0x1F 0b101 1_000_000 3.14159 1e10", "// ---- ====", "<<<>>>"]


def sentence(rng, low=3, high=14):
    words = [rng.choice(WORDS) for _ in range(rng.randint(low, high))]
    text = " ".join(words)
    if rng.random() < 0.6:
        text = text[0].upper() + text[1:]
    return text + rng.choice([".", ",", "!", "?", ";", ":", "...", "", " - ", "\n"])


def drawn(rng, block, count):
    low, high = SCRIPTS[block]
    return "".join(chr(rng.randint(low, high)) for _ in range(count))


def training_lines():
    rng = random.Random(11)
    lines = [sentence(rng, 5, 20) for _ in range(6000)]
    for block in SCRIPTS:
        if block in ("private", "specials", "cjk_b", "tags", "plane16", "cuneiform", "gothic", "yi", "compat"):
            continue  # so that these need byte tokens
        words = [drawn(rng, block, rng.randint(1, 5)) for _ in range(12)]
        lines += [" ".join(rng.choice(words) for _ in range(8)) for _ in range(30)]
    lines += CODE * 20 + ["".join(e for e in EMOJI[:6])] * 20
    lines += [str(rng.randint(0, 10 ** rng.randint(1, 8))) for _ in range(500)]
    return lines


def nasty_strings(markers):
    """`markers` are texts of added tokens."""
    rng = random.Random(7)
    texts = ["", " ", "  ", "\n", "\n\n\n", "\0", "a", "\u2581", "\u2581\u2581", " \u2581 ", "<0x0A>", "<0xe4>", "<0x", "\ufeff", "\ufffd"]
    texts += [chr(c) for c in range(1, 33)] + ["a" + chr(c) + "b" for c in range(0x7F, 0xA1)]
    texts += CODE + EMOJI + [e * 3 + " x " + e for e in EMOJI] + ["".join(EMOJI)]
    for space in SPACES:
        texts += [space * n for n in (2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64)]
        texts += [f"a{space * n}b" for n in (1, 2, 5)] + [f"{space}lead", f"trail{space}"]
    for block in SCRIPTS:
        for count in (1, 2, 5, 20):
            texts.append(drawn(rng, block, count))
        texts.append(" ".join(drawn(rng, block, rng.randint(1, 6)) for _ in range(6)))
        texts.append(sentence(rng) + drawn(rng, block, 4) + sentence(rng))
    for _ in range(120):  # combining marks on anything
        base = rng.choice(["a", "e", "o", "Å", "क", "ا", "가", "あ", "🙂", " ", "<"])
        texts.append("".join(base + "".join(chr(rng.choice(COMBINING)) for _ in range(rng.randint(0, 5))) for _ in range(4)))
    texts += ["e\u0301 \u00e9 A\u030a \u212b \u00c5", "\u0041\u030a\u0327", "\ufb01 \ufb03 ﷺ", "ǅ ß ẞ İ ı ſ Σ σ ς"]
    for marker in markers:  # added tokens alone, doubled, cut, in words and between spaces
        texts += [marker, marker * 2, marker[:-1], marker[1:], f"x{marker}y", f"x {marker} y", f" {marker}\n",
                  f"{marker} ", f"\t\t{marker}\t\t", f"{marker.upper()}", f"<{marker}>", f"_{marker}_", f"é{marker}é",
                  f"\u3000{marker}\u00a0 z", marker + rng.choice(markers) + " " + rng.choice(markers)]
    for _ in range(520):
        parts = [rng.choice([sentence(rng), rng.choice(markers), rng.choice(SPACES) * rng.randint(1, 3), rng.choice(EMOJI),
                             drawn(rng, rng.choice(list(SCRIPTS)), rng.randint(1, 4))]) for _ in range(rng.randint(2, 7))]
        texts.append("".join(parts))
    for _ in range(300):
        texts.append("".join(chr(rng.choice([rng.randint(0, 127), rng.randint(0, 0x7FF), rng.randint(0, 0xD7FF), rng.randint(0xE000, 0xFFFF),
                                             rng.randint(0x10000, 0x10FFFF)])) for _ in range(rng.randint(1, 16))))
    for _ in range(120):
        texts.append(sentence(rng).lower().replace(" ", "" if rng.random() < 0.5 else "  "))
    for n in (100, 257, 1000, 3000):
        if n == 257:
            texts += ["the" * (n // 3), "é" * (n // 4), "\u4e2d" * (n // 8), "\U0001F600" * (n // 8)]
        elif n <= 1000:
            texts += ["a" * n, "ab" * (n // 2), "é" * (n // 4)]
        if n == 100:
            texts += ["the" * (n // 3), "\u4e2d" * (n // 8), "\U0001F600" * (n // 8), "0" * n, "<" * n]
        letters = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(n))
        words = "".join(rng.choice(WORDS) for _ in range(n // 5))
        texts += [letters] * (n != 1000) + [words] * (n != 3000)
    seen = dict.fromkeys(t for t in texts if not any(0xD800 <= ord(c) < 0xE000 for c in t))
    return list(seen)

"""Characters as a reader takes them: what is left when case, accents and look-alikes are gone."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final


class Kind(Enum):
    """What a character may be part of."""

    LETTER = "letter"
    """Of a script that writes spaces between words."""
    DIGIT = "digit"
    ALONE = "alone"
    """Of a script without spaces between words: every character may begin or end a word."""


@dataclass(frozen=True, slots=True)
class Element:
    """One letter, digit or vowel sign of a text."""

    forms: frozenset[str]
    """What it may be read as: its own folded form, and the Latin letters that look like it."""
    kind: Kind

    def reads_as(self, other: Element) -> bool:
        """Tell whether a reader could take one for the other."""
        return not self.forms.isdisjoint(other.forms)


# ruff: noqa: RUF001
# The letters of other scripts, and of Latin itself, that look like plain Latin ones in upper or
# lower case.  A small excerpt of Unicode's confusables (UTS #39): letters only, after case folding.
_LOOKS_LIKE: Final = MappingProxyType(
    {
        **dict(zip("авгекмнопрстухьһіјѕԁԛԝѵӏ", "abrekmhonpctyxbhijsdqwvl", strict=True)),
        **dict(zip("αβγεζικτορχω", "abyeziktopxw", strict=True)),
        "η": "nh",
        "υ": "uy",
        "μ": "um",
        "ν": "vn",
        **dict(zip("օոսցհյզ", "onughjq", strict=True)),
        **dict(zip("ıøłđħŧɑɡɩ", "ioldhtagi", strict=True)),
        **dict(zip("ᴀʙᴄᴅᴇɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdeghijklmnoprstuvwyz", strict=True)),
    }
)
# No spaces between words: Han, kana, Thai, Lao, Myanmar, Khmer, Tibetan.
_UNSPACED: Final = (
    (0x0E00, 0x0FFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_FILLERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and symbols that show as nothing."""
_FIRST_ACCENT: Final = 200
"""Canonical combining classes from here on are accents; those below are vowel signs and viramas,
without which an Indic word is another one."""


def elements(character: str) -> tuple[Element, ...]:
    """Return what ``character`` is read as; nothing where it is no letter, digit or vowel sign.

    Compatibility forms are taken apart (NFKD), upper case, accents and zero-width characters are
    dropped, digits of all scripts are the ASCII ones.
    """
    if character.isascii():
        if not character.isalnum():
            return ()
        kind = Kind.DIGIT if character.isdigit() else Kind.LETTER
        return (Element(frozenset(character.lower()), kind),)
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return tuple(_element(one) for one in folded if _is_read(one))


def is_gap(character: str) -> bool:
    """Tell whether ``character``, which is no element, separates what stands around it.

    Accents, zero-width characters and fillers do not: they cannot be seen.
    """
    if character in _FILLERS:
        return False
    return unicodedata.category(character)[0] not in "CM" or character in "\n\r\t"


def _is_read(character: str) -> bool:
    if character in _FILLERS:
        return False
    category = unicodedata.category(character)
    if category[0] == "M":
        is_selector = unicodedata.name(character, "").startswith(("VARIATION SEL", "COMBINING G"))
        return unicodedata.combining(character) < _FIRST_ACCENT and not is_selector
    return character.isalnum()


def _element(character: str) -> Element:
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return Element(frozenset(str(digit)), Kind.DIGIT)
    forms = frozenset(character + _LOOKS_LIKE.get(character, ""))
    code = ord(character)
    unspaced = any(first <= code <= last for first, last in _UNSPACED)
    return Element(forms, Kind.ALONE if unspaced else Kind.LETTER)

"""Text as questions and answers have it: sentences of words, paragraphs, lists, some of it Japanese."""

from __future__ import annotations

import random
from pathlib import Path

_WORDS = Path(__file__).with_name("words.txt").read_text().split()
_PHRASES = (
    "資料によると、保存期間は五年です。",
    "二つの出典は主な点で一致しています。",
    "ただし、数値が一か所だけ異なります。",
    "詳しくは付録の表を参照してください。",
    "著作権の表示が必要です。",
    "録音の利用には本人の同意が要ります。",
)
_SENTENCES = 4000
_JAPANESE_SHARE = 0.12
_QUOTED_SHARE = 0.1
# Sentences in an answer: most have a handful, a few are essays (the mean of the value is 1.9 KB).
_LENGTH, _SPREAD, _LONGEST = 2.17, 0.75, 90


class Writer:
    """Writes texts from a fixed stock of sentences, so that writing is quick and no two texts are equal."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._stock = [self._sentence() for _ in range(_SENTENCES)]

    def _sentence(self) -> str:
        chance = self._chance
        if chance.random() < _JAPANESE_SHARE:
            return "".join(chance.choices(_PHRASES, k=chance.randint(1, 3)))
        words = chance.choices(_WORDS, k=chance.randint(8, 22))
        if chance.random() < _QUOTED_SHARE:
            words[2] = f'"{words[2]}"'
        return f"{' '.join(words).capitalize()}."

    def question(self) -> str:
        """One or two sentences."""
        return " ".join(self._chance.choices(self._stock, k=self._chance.choice((1, 1, 2))))

    def answer(self) -> str:
        """Paragraphs, and now and then a list."""
        count = min(_LONGEST, max(1, round(self._chance.lognormvariate(_LENGTH, _SPREAD))))
        sentences = self._chance.choices(self._stock, k=count)
        paragraphs = [" ".join(sentences[start : start + 4]) for start in range(0, count, 4)]
        return "\n\n".join(paragraphs) if count % 5 else "\n- ".join(sentences)

    def title(self) -> str:
        """A few words."""
        return " ".join(self._chance.choices(_WORDS, k=4)).capitalize()

    def address(self) -> str:
        """The address of one of many items."""
        return f"https://library.example/items/{self._chance.randint(1, 40_000)}"

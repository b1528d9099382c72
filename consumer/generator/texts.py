"""Generates questions, answers and titles: English and Japanese sentences, Markdown, code, emoji."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consumer.generator.chance import Chance

_VOCABULARY = """
the of and to in a is that for it as was with be by on not at this are from or had which you were all there would their
we when who will more if out so up about than into them can only other time new some could these two may first then any
my now over such our even most after also did many before must through years much where way down should because each
just those people how make still see own work get here between archive policy retention licence recording interview
sensor moisture kiln controller translation edition workshop photograph catalogue material glaze temperature curriculum
figure source measurement evidence reviewer appendix
"""
_WORDS = _VOCABULARY.split()
_JAPANESE = (
    "資料によると、保存期間は五年です。",
    "二つの出典は主な点で一致しています。",
    "ただし、数値が一か所だけ異なります。",
    "詳しくは付録の表を参照してください。",
    "著作権の表示が必要です。",
    "録音の利用には本人の同意が要ります。",
    "釉薬の焼成温度は千二百度前後です。",
    "土壌水分計の値は春に大きく変わりました。",
)
_EMOJI = ("✅", "⚠️", "📎", "🔥", "👩‍🔬", "🏺", "😀", "→")
_CODE = (
    "def retention(years: int) -> date:\n    return acquired_at + timedelta(days=365 * years)",
    "SELECT source_uri, license_type\nFROM provenance\nWHERE content_id = $1;",
    "curl -s \"https://library.example/api/items?tag=kiln&limit=5\" | jq '.items[].title'",
    '{"kiln": {"target_c": 1240, "hold_min": 15, "note": "cone 6 \\\\ oxidation"}}',
)
_SENTENCES = 3000
_ENGLISH_BYTES, _JAPANESE_CHARACTERS = 95, 35  # the mean of a sentence
_UTF8_BYTES, _ESCAPED_BYTES = 3, 6  # of a Japanese character
_JAPANESE_SHARE, _EMOJI_SHARE, _QUOTED_SHARE = 0.15, 0.05, 0.1


class Writer:
    """Generates texts quickly from a stock of sentences. Equal texts are rare."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._english = [self._sentence() for _ in range(_SENTENCES)]
        self._japanese = ["".join(chance.picks(_JAPANESE, chance.whole(1, 3))) for _ in range(_SENTENCES // 10)]

    def _sentence(self) -> str:
        chance = self._chance
        words = chance.picks(_WORDS, chance.whole(8, 22))
        if chance.happens(_QUOTED_SHARE):
            words[2] = f'"{words[2]}"'
        end = f" {chance.pick(_EMOJI)}" if chance.happens(_EMOJI_SHARE) else ""
        return f"{' '.join(words).capitalize()}.{end}"

    def question(self) -> str:
        """Return one or two sentences."""
        stock = self._japanese if self._chance.happens(_JAPANESE_SHARE) else self._english
        return " ".join(self._chance.picks(stock, self._chance.whole(1, 2)))

    def answer(self, size: float, *, markdown: bool, escaped: bool) -> str:
        r"""Return paragraphs or Markdown.

        :param size: the approximate number of bytes in JSON
        :param escaped: whether JSON has `\u` escapes instead of UTF-8
        """
        if self._chance.happens(_JAPANESE_SHARE):
            stock, mean = self._japanese, _JAPANESE_CHARACTERS * (_ESCAPED_BYTES if escaped else _UTF8_BYTES)
        else:
            stock, mean = self._english, _ENGLISH_BYTES
        count = max(1, int(size / mean))
        sentences = self._chance.picks(stock, count)
        if count == 1:
            sentences[0] = sentences[0][: max(10, int(size))]
        groups = [sentences[start : start + 4] for start in range(0, count, 4)]
        write = self._markdown if markdown else " ".join
        return "\n\n".join(map(write, groups))

    def _markdown(self, sentences: list[str]) -> str:
        return self._chance.pick(_MARKDOWN)(sentences, self._chance)

    def title(self) -> str:
        """Return a few words."""
        return " ".join(self._chance.picks(_WORDS, 4)).capitalize()

    def address(self) -> str:
        """Return the URL of one of many items."""
        return f"https://library.example/items/{self._chance.whole(1, 40_000)}"


def _heading(sentences: list[str], chance: Chance) -> str:
    return f"## {' '.join(chance.picks(_WORDS, 3)).capitalize()}\n\n{' '.join(sentences)}"


def _bullets(sentences: list[str], _chance: Chance) -> str:
    return "\n".join(f"- **{sentence.partition(' ')[0]}** {sentence}" for sentence in sentences)


def _code(sentences: list[str], chance: Chance) -> str:
    return f"{' '.join(sentences)}\n\n```\n{chance.pick(_CODE)}\n```"


def _table(sentences: list[str], chance: Chance) -> str:
    rows = "\n".join(f"| {word} | {chance.whole(1, 9999)} |" for word in chance.picks(_WORDS, 3))
    return f"{' '.join(sentences)}\n\n| item | count |\n|---|--:|\n{rows}"


_MARKDOWN: Sequence[Callable[[list[str], Chance], str]] = (_heading, _bullets, _code, _table)

"""Text to the numbers that BERT reads: words, and the pieces of those that are not in its vocabulary (WordPiece).

As the published tokenizer of `bert-base-uncased` does it: lower case, no accents, punctuation apart.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from schemas.errors import InputError

_UNKNOWN, _START, _END = "[UNK]", "[CLS]", "[SEP]"
_LONGEST_WORD = 100
_NOT_SHOWN = ("Cc", "Cf", "Co")  # categories of Unicode: control, format, private
# Blocks of Chinese characters, each of which is a word.
_CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPieces:
    """Tokenizes with a vocabulary. pieces: by their numbers; those that go on within a word begin with ##."""

    def __init__(self, pieces: Sequence[str]) -> None:
        """Raises InputError where the vocabulary lacks [UNK], [CLS] or [SEP]."""
        self._numbers = {piece: number for number, piece in enumerate(pieces)}
        for needed in (_UNKNOWN, _START, _END):
            if needed not in self._numbers:
                raise InputError(f"vocabulary: lacks {needed}; it is not that of a BERT")

    @classmethod
    def read(cls, path: Path) -> "WordPieces":
        """Of a `vocab.txt`, a piece a line. Raises InputError where it cannot be read."""
        try:
            return cls(path.read_text(encoding="utf-8").rstrip("\n").split("\n"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not readable as a vocabulary: {error}") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def __call__(self, text: str, *, longest: int) -> list[int]:
        """Numbers of the text's pieces between [CLS] and [SEP], at most `longest` together; the rest is cut off."""
        pieces = [piece for word in _words(text) for piece in self._pieces(word)][: longest - 2]
        return [self._numbers[piece] for piece in (_START, *pieces, _END)]

    def _pieces(self, word: str) -> list[str]:
        """The longest piece that a word begins with, and so on; [UNK] where some part is in no vocabulary."""
        found: list[str] = []
        start = 0
        while start < len(word):
            ends = range(len(word), start, -1)
            tries = (("##" if start else "") + word[start:end] for end in ends)
            piece = next((each for each in tries if each in self._numbers), None)
            if piece is None or len(word) > _LONGEST_WORD:
                return [_UNKNOWN]
            found.append(piece)
            start += len(piece) - 2 * bool(start)
        return found


def _words(text: str) -> Iterator[str]:
    spaced = "".join(_spaced(char) for char in text)
    for word in spaced.split():
        plain = "".join(c for c in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(c) != "Mn")
        yield from _without_punctuation(plain)


def _spaced(char: str) -> str:
    """Nothing for control characters, spaces around Chinese ones."""
    if char in "\t\n\r" or unicodedata.category(char) == "Zs":
        return " "
    if ord(char) in (0, 0xFFFD) or unicodedata.category(char) in _NOT_SHOWN:
        return ""
    return f" {char} " if any(first <= ord(char) <= last for first, last in _CHINESE) else char


def _without_punctuation(word: str) -> Iterator[str]:
    """The word's runs of other characters, and each punctuation mark for itself."""
    run = ""
    for char in word:
        if _is_punctuation(char):
            if run:
                yield run
            yield char
            run = ""
        else:
            run += char
    if run:
        yield run


def _is_punctuation(char: str) -> bool:
    """By Unicode, and all of ASCII that is neither letter, digit nor space."""
    return (char.isascii() and char.isprintable() and not char.isalnum()) or unicodedata.category(char).startswith("P")

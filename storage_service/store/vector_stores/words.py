"""What the index takes for a word, in texts and in queries alike.

FTS5's own tokenizer does the rest: case, accents, and English endings (Porter). It would take a line of Chinese for one
word, so signs of scripts without blanks are set apart, and looked for in pairs.
"""

import re
from collections.abc import Iterator

TOKENIZER = "porter unicode61 remove_diacritics 2"
# Of a query; more words make no search better, and each one costs.
MAX_TERMS = 64
_DENSE = re.compile(r"[\u2e80-\u312f\u3190-\ua4cf\uf900-\ufaff]")
_WORD = re.compile(r"[^\W_]{1,64}")


def set_apart(text: str) -> str:
    """A text as it is indexed."""
    return _DENSE.sub(r" \g<0> ", text)


def terms(query: str) -> list[str]:
    """The terms of a query in FTS5's syntax, of which nothing in the query can be a part; each once."""
    found = dict.fromkeys(term for word in _WORD.findall(query) for term in _terms_of(word))
    return list(found)[:MAX_TERMS]


def _terms_of(word: str) -> Iterator[str]:
    parts = set_apart(word.lower()).split()
    dense = [len(part) == 1 and _DENSE.match(part) is not None for part in parts]
    for place, part in enumerate(parts):
        if not dense[place]:
            yield f'"{part}"'
        elif place + 1 < len(parts) and dense[place + 1]:
            yield f'"{part} {parts[place + 1]}"'
        elif place == 0 or not dense[place - 1]:
            yield f'"{part}"'

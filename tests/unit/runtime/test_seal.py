from __future__ import annotations

import re
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.seal import UNSEALED, seal, sealed

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def digest_in(text: str) -> str:
    return re.findall("[0-9a-f]{64}", text)[-1]


def test_by_hand() -> None:
    text = f"a={UNSEALED};"
    digest = sha256(text.encode()).hexdigest()
    assert seal(text) == f"a={digest};"
    assert sealed(f"a={digest};", digest)


@given(TEXTS, TEXTS, st.data())
def test_any_other_letter_breaks_it(before: str, after: str, data: st.DataObject) -> None:
    text = seal(f"{before}<{UNSEALED}>{after}")
    digest = digest_in(text[len(before) + 1 : len(before) + 65])
    assert sealed(text, digest)
    place = data.draw(st.integers(0, len(text) - 1))
    changed = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
    assert not sealed(changed, digest)
    assert not sealed(text[:place] + text[place + 1 :], digest)
    assert not sealed(f"{text} ", digest)


@pytest.mark.parametrize("digest", ["0" * 64, "ab" * 32])
def test_a_digest_that_is_not_there(digest: str) -> None:
    assert not sealed(seal(f"x{UNSEALED}"), digest)

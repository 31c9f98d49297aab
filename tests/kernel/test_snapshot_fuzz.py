"""Whatever has happened to the bytes of a record, reading and showing it gives a page or one readable error."""

import json
import os

import pytest
from fakes import snapshots
from hypothesis import given, settings
from hypothesis import strategies as st

from openshell_kernel.errors import SnapshotError
from openshell_kernel.kernel import snapshot
from openshell_kernel.kernel.views import as_html, as_text

TEXT = json.dumps(snapshots.record()).encode()


@st.composite
def damaged(draw):
    """The bytes of a record of which some are lost, doubled, exchanged or added."""
    start = draw(st.integers(0, len(TEXT)))
    end = draw(st.integers(start, min(len(TEXT), start + 300)))
    between = draw(st.one_of(st.just(b""), st.just(TEXT[start:end] * 2), st.binary(max_size=8)))
    return TEXT[:start] + between + TEXT[end:]


@pytest.mark.slow
@settings(max_examples=300)
@given(damaged())
def test_a_damaged_record_is_shown_or_refused_in_words(text):
    fd = snapshots.memfd(text)
    try:
        read = snapshot.read(fd)
    except SnapshotError as error:
        assert str(error)  # noqa: PT017 - both outcomes are sound
    else:
        assert as_text.render(read)
        assert as_html.render(read)
        json.dumps(read.to_json())
    finally:
        os.close(fd)

"""No record of the server's log holds what a terminal obeys, or a line that is not its own, whoever wrote it."""

import io
import logging

import pytest

from openshell_kernel.server.process import log_lines

FORGED = "name\n[I 2026-01-01 00:00:00.000 ServerApp] forged\x1b[2J"


@pytest.fixture
def log():
    """A server's logger and what its handler wrote."""
    stream = io.StringIO()
    server = logging.Logger("server")  # noqa: LOG001 - one that no other test has
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
    server.addHandler(handler)
    log_lines.protect(server)
    return server, stream


def lines(stream):
    written = stream.getvalue()
    assert "\x1b" not in written
    return written.splitlines()


@pytest.mark.parametrize("arguments", [(FORGED,), ("%s: no", FORGED), ("%(path)s: no", {"path": FORGED})])
def test_a_name_forges_no_line(log, arguments):
    server, stream = log
    server.error(*arguments)
    first, second = lines(stream)
    assert first == "[ERROR] name"
    assert second.startswith("    [I 2026-01-01 00:00:00.000 ServerApp] forged\\x1b[2J")


def test_nor_does_the_text_of_an_error(log):
    server, stream = log
    try:
        raise OSError(FORGED)  # noqa: TRY301 - to be logged
    except OSError:
        server.exception("failed")
    assert lines(stream)[:2] == ["[ERROR] failed", "Traceback (most recent call last):"]
    assert all(line.startswith("    ") for line in lines(stream)[2:])


def test_a_record_whose_arguments_do_not_fit_is_left_to_the_handler(log, capsys):
    server, _ = log
    server.error("%d", "no number")
    assert "Logging error" in capsys.readouterr().err


def test_a_child_of_the_server_s_logger_is_protected_by_its_handlers():
    parent, child = (logging.Logger(name) for name in ("parent", "child"))  # noqa: LOG001 - see above
    stream = io.StringIO()
    parent.addHandler(logging.StreamHandler(stream))
    child.parent = parent
    for _ in range(2):
        log_lines.protect(logging.LoggerAdapter(child, {}))
    (handler,) = parent.handlers
    assert len(handler.filters) == 1
    child.error(FORGED)
    assert len(lines(stream)) == 2

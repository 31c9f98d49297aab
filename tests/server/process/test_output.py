"""A kernel's output is copied to the server's log, without what would steer a terminal, and the copying always ends."""

import contextlib
import fcntl
import os
import select
import subprocess
import threading
import time

import pytest
from support import kernels

from openshell_kernel.server.process.output import Output, Relay

KERNEL = "4d1c2f3a-5b6c-7d8e-9f00-112233445566"
MARK = "[kernel 4d1c2f3a] "


def test_text_is_copied_and_control_characters_are_not(tmp_path):
    with open(tmp_path / "log", "wb") as log:
        output = Output(log.fileno(), kernel_id=KERNEL)
        subprocess.run(["printf", r"plain\n\tsteered: \033]52;c;x\007\n"], stdout=output.writing_end, check=True)
        output.close()
    assert (tmp_path / "log").read_text() == f"{MARK}plain\n{MARK}\tsteered: ?]52;c;x?\n"


@pytest.mark.parametrize(
    ("written", "copied"),
    [
        (b"\x9b31m\xc2\x9b31m\n", "\N{REPLACEMENT CHARACTER}31m?31m"),
        ("Größe 大きい 🙂 a\u00a0b\u3000c\n".encode(), "Größe 大きい 🙂 a b c"),
        ("x\u202ey\u2028z\n".encode(), "x?y z"),
        (b"50%\r100%\r\n", "50% 100%"),
        (b"no end", "no end"),
        (b"\n", ""),
    ],
)
def test_what_steers_a_terminal_is_replaced_and_text_stays_readable(tmp_path, written, copied):
    with open(tmp_path / "log", "wb") as log:
        output = Output(log.fileno(), kernel_id=KERNEL)
        os.write(output.writing_end, written)
        output.close()
    assert (tmp_path / "log").read_text() == f"{MARK}{copied}\n"


def test_no_line_looks_like_one_of_the_servers_own(tmp_path):
    """However it is written: in pieces, too long for one, after a return of the carriage."""
    forged = b"[I 2026-01-01 00:00:00.000 ServerApp] OpenShell: kernel is confined"
    with open(tmp_path / "log", "wb") as log:
        output = Output(log.fileno(), kernel_id=KERNEL)
        for piece in (b"begun ", forged + b"\n", b"x" * 200_000 + forged + b"\n", b"\r", forged, b"\n\n", forged):
            os.write(output.writing_end, piece)
        output.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line for line in lines if not line.startswith(MARK)] == []
    assert f"{MARK}begun {forged.decode()}" in lines
    assert sum(line.count("x") for line in lines) == 200_000


def test_a_line_is_copied_as_soon_as_it_ends(tmp_path):
    with open(tmp_path / "log", "wb") as log:
        output = Output(log.fileno(), kernel_id=KERNEL)
        os.write(output.writing_end, b"one\ntw")
        kernels.eventually(lambda: (tmp_path / "log").read_text() == f"{MARK}one\n", "the first line")
        os.write(output.writing_end, b"o\n")
        kernels.eventually(lambda: (tmp_path / "log").read_text() == f"{MARK}one\n{MARK}two\n", "the second")
        output.close()


def test_closing_does_not_wait_for_a_program_that_holds_the_pipe(tmp_path):
    before = set(os.listdir("/proc/self/fd"))
    with open(tmp_path / "log", "wb") as log:
        output = Output(log.fileno(), kernel_id=KERNEL)
        program = subprocess.Popen(["sleep", "1000"], stdout=output.writing_end)
        output.started()
        output.close()
        output.close()
    program.kill()
    program.wait()
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path):
    target = os.open(tmp_path, os.O_RDONLY)
    output = Output(target, kernel_id=KERNEL)
    os.write(output.writing_end, b"lost\n")
    os.write(output.writing_end, b"lost as well\n")
    output.close()
    os.close(target)


def test_in_a_pipe_each_line_is_written_at_once(tmp_path):
    """Else a line of the server's could land inside one, and the rest of it would stand on a line of its own."""
    reading, writing = os.pipe()
    output = Output(writing, kernel_id=KERNEL)
    os.write(output.writing_end, b"\xff" * 20_000 + b"\n" + "大".encode() * 3000 + b"\n")
    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 1 << 20)
    output.close()
    os.close(writing)
    with open(reading, "rb") as stream:
        pieces = stream.read().splitlines(keepends=True)
    assert max(map(len, pieces)) <= select.PIPE_BUF
    assert all(piece.startswith(MARK.encode()) and piece.endswith(b"\n") for piece in pieces)


def test_a_pipe_that_is_empty_after_all_is_no_end(tmp_path):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with open(tmp_path / "log", "wb") as log:
        relay = Relay(log.fileno(), kernel_id=KERNEL)
        assert relay.copy(reading)
        os.write(writing, b"one\ntw")
        assert relay.copy(reading)
        os.close(writing)
        assert not relay.copy(reading)
        relay.finish()
    os.close(reading)
    assert (tmp_path / "log").read_text() == f"{MARK}one\n{MARK}tw\n"


def steal(pipe, ended):
    """Put something into a pipe and take it out again; the kernel can open its end for reading too."""
    thief = os.open(f"/proc/self/fd/{pipe}", os.O_RDONLY | os.O_NONBLOCK)
    while not ended.is_set():
        with contextlib.suppress(BlockingIOError):
            os.write(pipe, b"x")
            os.read(thief, 1 << 16)
    os.close(thief)
    os.close(pipe)


def test_it_ends_although_what_was_to_be_read_is_gone_now_and_then(tmp_path):
    with open(tmp_path / "log", "wb") as log:
        for _ in range(50):
            output, ended = Output(log.fileno(), kernel_id=KERNEL), threading.Event()
            stealing = threading.Thread(target=steal, args=(os.dup(output.writing_end), ended))
            stealing.start()
            time.sleep(0.002)
            output.close()
            ended.set()
            stealing.join()


def test_closing_does_not_wait_for_a_log_that_takes_nothing():
    reading, full = os.pipe()
    os.set_blocking(full, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(full, bytes(1 << 12))
    os.set_blocking(full, True)
    output = Output(full, kernel_id=KERNEL)
    os.write(output.writing_end, b"x\n")
    kernels.eventually(lambda: any(t.name == "openshell-output" for t in threading.enumerate()), "the thread")
    output.close()
    with open(reading, "rb") as taking:
        os.close(full)
        kernels.eventually(lambda: b"] x\n" in taking.read1(1 << 20), "what was left")

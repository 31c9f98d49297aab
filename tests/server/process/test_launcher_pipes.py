"""The way of a plan to a launcher that was started before it, and of the report back: pipes and real processes."""

import asyncio
import contextlib
import os
import subprocess
import sys

import pytest

from openshell_kernel.server.process.launcher_pipes import LauncherPipes

ECHO = """
import os, sys
plan, report, ending = map(int, sys.argv[1:])
os.write(report, str(len(open(plan, "rb").read())).encode())
"""
DIE = ""


@pytest.fixture
def descriptors():
    """Return a function that lists the descriptors that are open now and were not before the test."""

    def listed():
        return set(os.listdir("/proc/self/fd"))

    before = listed()
    return lambda: listed() - before


def start(channel, code):
    words = [sys.executable, "-c", code, *map(str, channel.descriptors)]
    return subprocess.Popen(words, pass_fds=channel.descriptors)


@pytest.mark.parametrize(
    ("code", "report"),
    [
        pytest.param(ECHO, b"1000000", id="longer than a pipe holds"),
        pytest.param(DIE, b"", id="a launcher that dies unread"),
    ],
)
def test_a_plan_arrives_and_the_report_comes_back(descriptors, code, report):
    async def exchanged():
        with contextlib.closing(LauncherPipes()) as channel, start(channel, code):
            channel.started()
            return await channel.exchange(bytes(1_000_000))

    assert asyncio.run(exchanged()) == report
    assert descriptors() == set()


def test_a_launcher_whose_plan_is_given_up_sees_its_end(descriptors):
    with contextlib.closing(LauncherPipes()) as channel:
        # To stderr, because nobody reads the report any more.
        process = start(channel, ECHO.replace("os.write(report", "os.write(2"))
        channel.started()
    assert process.wait(timeout=60) == 0
    assert descriptors() == set()


def test_the_keeper_is_heard_after_all_else_is_closed(descriptors):
    with contextlib.closing(LauncherPipes()) as channel:
        process = start(channel, "import os, sys; os.write(int(sys.argv[3]), b'done')")
        channel.started()
        ending = channel.take_ending()
    assert process.wait(timeout=60) == 0
    assert os.read(ending, 10) == b"done"
    assert os.read(ending, 10) == b""
    os.close(ending)
    assert descriptors() == set()

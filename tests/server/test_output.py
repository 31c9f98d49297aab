"""A kernel's output is copied to the server's log, without what would steer a terminal, and the copying always ends."""

import os
import subprocess

from openshell_kernel.server.output import Output


def test_text_is_copied_and_control_characters_are_not(tmp_path):
    with open(tmp_path / "log", "wb") as log:
        output = Output(log.fileno())
        subprocess.run(["printf", r"plain\n\tsteered: \033]52;c;x\007\n"], stdout=output.writing_end, check=True)
        output.close()
    assert (tmp_path / "log").read_text() == "plain\n\tsteered: ?]52;c;x?\n"


def test_closing_does_not_wait_for_a_program_that_holds_the_pipe(tmp_path):
    before = set(os.listdir("/proc/self/fd"))
    with open(tmp_path / "log", "wb") as log:
        output = Output(log.fileno())
        program = subprocess.Popen(["sleep", "1000"], stdout=output.writing_end)
        output.started()
        output.close()
        output.close()
    program.kill()
    program.wait()
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path):
    target = os.open(tmp_path, os.O_RDONLY)
    output = Output(target)
    os.write(output.writing_end, b"lost\n")
    os.write(output.writing_end, b"lost as well\n")
    output.close()
    os.close(target)

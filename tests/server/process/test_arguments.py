"""A server's own arguments show no token any more once it has blanked them, and those of its parents are told of."""

import os
import subprocess
import sys

import pytest

BLANK = "from openshell_kernel.server.process import arguments; arguments.blank()\n"
SHOW = "print(open('/proc/self/cmdline').read().split('\\0')[3:-1])"
TELL = "from openshell_kernel.server.process import arguments\nprint(*arguments.exposures(), sep='\\n')"


def shown(*words):
    """Return what others see of the arguments of a process that was started with these, and has blanked them."""
    return eval(subprocess.check_output([sys.executable, "-c", BLANK + SHOW, *words], text=True))  # noqa: S307 - our own code's


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--IdentityProvider.token=abc"], ["--IdentityProvider.token=***"]),
        (["--ServerApp.token", "abc", "x"], ["--ServerApp.token", "***", "x"]),
        (["--NotebookApp.token=a b=c", "--port=1"], ["--NotebookApp.token=*****", "--port=1"]),
        (["--ServerApp.password=sha1:ü", "lab"], ["--ServerApp.password=*******", "lab"]),
        (
            ["lab", "--PasswordIdentityProvider.hashed_password=x", "--ServerApp.cookie_secret=y"],
            ["lab", "--PasswordIdentityProvider.hashed_password=*", "--ServerApp.cookie_secret=*"],
        ),
        (["--ServerApp.TOKEN='q'"], ["--ServerApp.TOKEN='**"]),
        (
            ["--x={'y': 'secret-token'}", "--ServerApp.token=secret-token"],
            ["--x={'y': '************'}", "--ServerApp.token=************"],
        ),
        (["http://localhost/?token=abc"], ["http://localhost/?token=***"]),
    ],
)
def test_tokens_and_passwords_are_overwritten_and_nothing_else(words, expected):
    assert shown(*words) == expected


@pytest.mark.parametrize(
    "words",
    [
        ["--ServerApp.token="],
        ["--ServerApp.token=''"],
        ["--ServerApp.token", "--port=1"],
        ["--PasswordIdentityProvider.password_required=True", "--ServerApp.allow_password_change=False"],
        ["--ServerApp.cookie_secret_file=/run/secret"],
        ["notebooks/tokens.ipynb", "--port=8888"],
        [],
    ],
)
def test_what_holds_no_secret_stays(words):
    assert shown(*words) == words


def test_blanking_leaves_the_arguments_that_the_program_itself_knows():
    code = f"{BLANK}import sys; print(sys.argv[1])"
    assert subprocess.check_output([sys.executable, "-c", code, "--x.token=abc"], text=True) == "--x.token=abc\n"


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ('{python} -c "$TELL"; : --ServerApp.token=abc', "--ServerApp.token"),
        ('MY_TOKEN=abc {python} -c "$TELL"; true', "MY_TOKEN"),
        ("{python} -c \"$TELL\"; : --ServerApp.password 'abc'", "--ServerApp.password"),
    ],
)
def test_a_process_above_that_shows_a_token_is_named_with_the_option_and_a_remedy(command, option):
    with subprocess.Popen(
        ["sh", "-c", command.format(python=sys.executable)],
        env={**os.environ, "TELL": TELL},
        stdout=subprocess.PIPE,
        text=True,
    ) as shell:
        told, _ = shell.communicate()
    (line,) = [line for line in told.splitlines() if f"process {shell.pid} " in line]
    assert line.startswith(f"process {shell.pid} (sh) shows the value of {option} in its arguments")
    assert "JUPYTER_TOKEN" in line
    assert "abc" not in line


def test_nothing_is_told_of_arguments_that_were_blanked():
    code = f"{BLANK}import os\n{TELL}\nprint(os.getpid())"
    *told, pid = subprocess.check_output([sys.executable, "-c", code, "--x.token=abc"], text=True).splitlines()
    assert not [line for line in told if f"process {pid} " in line]

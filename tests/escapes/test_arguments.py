"""A token in the arguments of a Jupyter server is in no process's arguments that a kernel of ours can read."""

import json

import pytest

TOKEN = "LEAK-token-in-an-argument"  # noqa: S105 - made up
LOOK = f"""
import glob
found = []
for path in glob.glob("/proc/[0-9]*/cmdline"):
    try:
        text = open(path).read()
    except OSError:
        continue
    if {TOKEN!r} in text:
        found.append(text)
print(len(found))
"""


@pytest.mark.parametrize("option", ["--IdentityProvider.token={}", "--ServerApp.token={}"])
def test_a_kernel_does_not_find_the_token_and_a_plain_kernel_of_a_server_that_started_none_of_ours_does(side, option):
    kinds = ["python3", "openshell-gpu", "python3"]
    plain, ours, later = side.ask("in_servers_kernels", [option.format(TOKEN)], TOKEN, kinds, LOOK)
    assert plain == {"text": "1\n", "error": ""}
    assert ours == {"text": "0\n", "error": ""}
    assert later == ours


def test_a_shell_that_shows_it_is_named_in_the_record(side):
    options = [f"--IdentityProvider.token={TOKEN}"]
    (shown,) = side.ask("in_servers_kernels", options, TOKEN, ["openshell-gpu"], "%policy show --json", by_shell=True)
    (notice,) = [line for line in json.loads(shown["text"])["effective"]["notices"] if "(sh)" in line]
    assert "--IdentityProvider.token" in notice
    assert TOKEN not in notice

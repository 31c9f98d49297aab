"""Policies near notebooks, in real kernels: they count once they are trusted, and no notebook can trust its own."""

import asyncio
import contextlib
import os
import shlex
import subprocess
import sys
import threading
import time

import pytest
from jupyter_client.manager import KernelManager
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from support import kernels
from support.errors import check_message, refused

from openshell_kernel.errors import PolicyError
from openshell_kernel.policy.sources import NEARBY_NAME, VARIABLE


def cli(command, path):
    return subprocess.run([sys.executable, "-m", "openshell_kernel.cli", command, str(path)], capture_output=True)


def trust(path):
    return cli("trust", path)


@pytest.fixture
def granting(user):
    """A policy text that grants the user's key, and an expression that reads it."""
    text = f"version: 1\nfilesystem_policy:\n  include_workdir: true\n  read_only: [{user}/.ssh]\n"
    return text, f"open({str(user / '.ssh' / 'id_ed25519')!r}).read()"


def refusal(folder, *named):
    """The words with which no kernel is started in a folder, because of the policy in it."""
    manager = KernelManager(kernel_name="openshell-gpu")
    with refused(PolicyError, folder / NEARBY_NAME, *named) as caught:
        manager.start_kernel(cwd=str(folder))
    assert not manager.has_kernel
    return str(caught.value)


def trusting(policy):
    """The command that trusts a policy; only a refusal for want of trust names it."""
    return f"\njupyter openshell trust {policy}\n"


def test_the_command_that_the_refusal_names_makes_the_policy_count(user, granting):
    text, secret = granting
    policy = user / "notebooks" / NEARBY_NAME
    policy.write_text(text)
    message = refusal(policy.parent, trusting(policy))
    (command,) = [line for line in message.splitlines() if line.startswith("jupyter openshell trust ")]
    assert trust(shlex.split(command)[3]).returncode == 0
    with kernels.started(cwd=policy.parent) as kernel:
        assert kernel.value(secret) == "SECRET"
        # The working directory is granted, although the policy lies in it.
        assert kernel.value("open('result.txt', 'w').write('x')") == 1


def test_a_notebook_that_rewrites_its_policy_is_refused_the_next_start(user, granting):
    text, secret = granting
    policy = user / "notebooks" / NEARBY_NAME
    policy.write_text("version: 1\nfilesystem_policy: {include_workdir: true}\n")
    trust(policy)
    with kernels.started(cwd=policy.parent) as kernel:
        assert kernel.run(secret).error.startswith("PermissionError")
        assert kernel.value(f"open({str(policy)!r}, 'w').write({text!r})") == len(text)
        kernel.restart()
        output = kernel.run(secret)
        assert trusting(policy) in output.error
        assert "SECRET" not in output.text
    refusal(policy.parent, trusting(policy))


@pytest.mark.parametrize("way", ["os.rename({0!r}, 'elsewhere')", "os.unlink({0!r})"])
def test_a_notebook_that_removes_its_policy_is_refused_the_next_start(user, granting, write_policy, way):
    text, secret = granting
    write_policy(text)  # It would count next, and is wider.
    policy = user / "notebooks" / NEARBY_NAME
    policy.write_text("version: 1\nfilesystem_policy: {include_workdir: true}\n")
    trust(policy)
    with kernels.started(cwd=policy.parent) as kernel:
        assert kernel.run(secret).error.startswith("PermissionError")
        assert kernel.run(f"import os; {way.format(str(policy))}").error == ""
        kernel.restart()
        output = kernel.run(secret)
        assert f"jupyter openshell untrust {policy}" in output.error
        assert "SECRET" not in output.text
    message = refusal(policy.parent)
    (command,) = [line for line in message.splitlines() if line.startswith("jupyter openshell untrust ")]
    assert shlex.split(command)[3] == str(policy)
    assert cli("untrust", policy).returncode == 0
    with kernels.started(cwd=policy.parent) as kernel:
        assert kernel.value(secret) == "SECRET"


@pytest.fixture
def swapped(user):
    """Return a function that lets a kernel in `low` make the folder of another one, `low/sub`, a link to `valued`."""
    (user / "notebooks" / "low" / "sub").mkdir(parents=True)
    (user / "notebooks" / "valued").mkdir()

    @contextlib.contextmanager
    def swapped():
        low = user / "notebooks" / "low"
        with kernels.started(cwd=low) as first, kernels.started(cwd=low / "sub") as second:
            swap = "import os; os.rename('sub', 'gone'); os.symlink('../valued', 'sub')"
            assert first.run(swap).error == ""
            second.restart()
            yield second

    return swapped


@pytest.mark.parametrize("trusted", ["valued", "low/sub"])
def test_a_link_in_the_place_of_a_folder_brings_no_other_folders_policy_and_takes_none_away(
    user, granting, swapped, write_policy, trusted
):
    text, secret = granting
    narrow = "version: 1\nfilesystem_policy: {include_workdir: true}\n"
    write_policy(narrow if trusted == "valued" else text)
    policy = user / "notebooks" / trusted / NEARBY_NAME
    policy.write_text(text if trusted == "valued" else narrow)
    trust(policy)
    with swapped() as kernel:
        output = kernel.run(secret)
    assert "SECRET" not in output.text
    # Each names what lies near by one of the names.
    assert str(user / "notebooks" / "low" / "sub") in output.error
    assert (f"jupyter openshell untrust {policy}" in output.error) is (trusted != "valued")


def test_a_link_in_the_place_of_a_folder_brings_no_other_folders_home(user, swapped):
    with kernels.started(cwd=user / "notebooks" / "valued") as kernel:
        valued = kernel.value("__import__('os').path.expanduser('~')")
    with swapped() as kernel:
        planted = f"{valued}/.bashrc"
        assert kernel.run(f"open({planted!r}, 'w')").error.startswith("PermissionError")
        assert kernel.value("__import__('os').path.expanduser('~')") != valued
        shown = kernel.record()["effective"]
        assert [notice for notice in shown["notices"] if str(user / "notebooks" / "low" / "sub") in notice]


def test_a_notebook_cannot_trust_its_policy(user, granting):
    text, _ = granting
    policy = user / "notebooks" / NEARBY_NAME
    store = user / ".local" / "share" / "openshell" / "trust.json"
    other = user / "notebooks" / "other"
    other.mkdir()
    (other / NEARBY_NAME).write_text("version: 1\n")
    trust(other)  # So that the store is there.
    before = store.read_bytes()
    with kernels.started(cwd=policy.parent) as kernel:
        kernel.run(f"open({str(policy)!r}, 'w').write({text!r})")
        command = (
            "__import__('subprocess').run([__import__('sys').executable, '-m', 'openshell_kernel.cli', 'trust', "
            f"{str(policy)!r}], env={{**__import__('os').environ, 'HOME': {str(user)!r}, "
            f"'XDG_DATA_HOME': {str(user / '.local' / 'share')!r}}}, capture_output=True, text=True)"
        )
        status, stderr = kernel.value(f"(lambda done: (done.returncode, done.stderr))({command})")
        assert status == 1
        assert "Permission denied" in stderr
        for attempt in (
            f"open({str(store)!r}, 'w')",
            f"open({str(store)!r})",
            f"__import__('os').replace({str(policy)!r}, {str(store)!r})",
            f"__import__('os').unlink({str(store)!r})",
            f"open({str(store.parent / 'trust.json.lock')!r}, 'w')",
        ):
            error = kernel.run(attempt).error
            assert error.startswith(("PermissionError", "OSError: [Errno 18]")), (attempt, error)
    assert store.read_bytes() == before
    refusal(policy.parent, trusting(policy))


def test_a_policy_that_would_let_a_notebook_trust_is_refused(user, granting):
    text = f"version: 1\nfilesystem_policy:\n  read_write: [{user}/.local/share]\n"
    policy = user / "notebooks" / NEARBY_NAME
    policy.write_text(text)
    trust(policy)
    refusal(policy.parent, f"{user}/.local/share", f"{user}/.local/share/openshell/trust.json")


def test_a_policy_that_would_let_a_notebook_write_the_policy_of_others_is_refused(user):
    policy = user / "notebooks" / NEARBY_NAME
    policy.write_text(f"version: 1\nfilesystem_policy:\n  read_write: [{user}/.config]\n")
    trust(policy)
    refusal(policy.parent, f"{user}/.config/openshell/policy.yaml")


def test_a_notebook_cannot_make_the_users_policy_where_there_is_none(user, granting, monkeypatch):
    text, secret = granting
    monkeypatch.setenv("XDG_CONFIG_HOME", str(user / "notebooks" / "config"))
    (user / "notebooks" / "config" / "openshell").mkdir(parents=True)
    with kernels.started(cwd=user / "notebooks") as kernel:
        kernel.run(f"open('config/openshell/policy.yaml', 'w').write({text!r})")
        kernel.restart()
        assert kernel.run(secret).error.startswith("PermissionError")


def test_an_operators_policy_is_for_every_notebook_whatever_lies_beside_it(user, granting, monkeypatch, tmp_path):
    text, secret = granting
    (user / "notebooks" / NEARBY_NAME).write_text(text)
    pinned = user / "pinned.yaml"
    pinned.write_text("version: 1\n")
    monkeypatch.setenv(VARIABLE, str(pinned))
    with kernels.started(cwd=user / "notebooks") as kernel:
        assert kernel.run(secret).error.startswith("PermissionError")


def test_without_a_server_a_policy_above_the_working_directory_does_not_count(user):
    (user / "notebooks" / NEARBY_NAME).write_text("version: 2\n")
    (user / "notebooks" / "deep").mkdir()
    with kernels.started(cwd=user / "notebooks" / "deep") as kernel:
        assert kernel.value("1 + 1") == 2


def test_a_servers_notebooks_obey_the_nearest_policy_up_to_its_root_folder(user, granting):
    text, secret = granting
    deep = user / "notebooks" / "a" / "b"
    deep.mkdir(parents=True)
    (user / NEARBY_NAME).write_text("version: 2\n")  # Above the root.
    (user / "notebooks" / NEARBY_NAME).write_text(text)

    async def run(trusted):
        manager = AsyncMappingKernelManager(root_dir=str(user / "notebooks"))
        try:
            kernel_id = await manager.start_kernel(kernel_name="openshell-gpu", path="a/b")
            client = manager.get_kernel(kernel_id).client()
            client.start_channels()
            await client.wait_for_ready(timeout=kernels.SECONDS)
            reply = await client.execute_interactive(secret, output_hook=lambda _: None)
            client.stop_channels()
            return reply["content"]["status"]
        finally:
            await manager.shutdown_all(now=True)

    with pytest.raises(PolicyError, match=f"^{user}/notebooks/{NEARBY_NAME}: "):
        asyncio.run(run(trusted=False))
    trust(user / "notebooks" / NEARBY_NAME)
    assert asyncio.run(run(trusted=True)) == "ok"


def test_what_a_policy_exposes_is_told(user):
    policy = user / "notebooks" / NEARBY_NAME
    policy.write_text(
        "version: 1\nfilesystem_policy:\n  include_workdir: true\n"
        f"  read_only: [{user}/.ssh]\n  read_write: [{user}/.kube]\n"
    )
    trust(policy)
    with kernels.started(cwd=policy.parent) as kernel:
        code = "import json, os; from pathlib import Path\n"
        code += (
            "print(json.loads(os.pread(int(os.environ['OPENSHELL_SNAPSHOT_FD']), 1 << 24, 0))['effective']['notices'])"
        )
        notices = eval(kernel.run(code).text, {})  # noqa: S307 - a list of strings that the test printed
    home = os.path.realpath(user)
    for access, name in (("read_only", ".ssh"), ("read_write", ".kube")):
        assert [n for n in notices if access in n and f"{user}/{name}" in n and f"{home}/{name}" in n]


def test_a_folder_that_is_moved_away_for_a_moment_does_not_hide_its_policy(user, write_policy, granting):
    """A narrow notebook in the folder above flips the folder of another one, which restarts meanwhile."""
    wide, secret = granting
    write_policy(wide)
    above, below = user / "notebooks", user / "notebooks" / "sub"
    below.mkdir()
    for folder in (above, below):
        (folder / NEARBY_NAME).write_text("version: 1\nfilesystem_policy: {include_workdir: true}\n")
        assert trust(folder / NEARBY_NAME).returncode == 0
    flipping = threading.Event()

    def flip():
        while not flipping.is_set():
            os.rename(below, above / ".away")
            time.sleep(0.02)
            os.rename(above / ".away", below)
            time.sleep(0.02)

    with kernels.started(cwd=below) as kernel:
        thread = threading.Thread(target=flip)
        thread.start()
        try:
            for _ in range(5):
                kernel.restart(now=True)
                assert "SECRET" not in kernel.run(f"print({secret})").text
        finally:
            flipping.set()
            thread.join()


def test_a_policy_of_a_newer_openshell_starts_and_what_is_not_known_is_shown(user, write_policy):
    path = write_policy(
        "version: 1\nfilesystem_policy: {include_workdir: true, read_only: [/usr, /proc]}\n"
        "network_policies: {api: {endpoints: [{host: example.org, port: 443, hedging: true}]}}\ninference: {}\n"
    )
    with kernels.started(cwd=user / "notebooks") as kernel:
        shown = kernel.shown()
        unenforced = kernel.record()["effective"]["unenforced"]
    check_message(shown, f"{path}:3:69: network_policies.api.endpoints[0].hedging: ", f"{path}:4:1: inference: ")
    assert [item for item in unenforced if "inference" in item["what"]]

"""The example configuration in a real hub: the users get confined kernels, with the policy of their group."""

import json

from hub.people import POLICIES


def effective(user, kernel):
    return json.loads(user.run(kernel, "%policy show --json").text)["effective"]


def read(path):
    return f"print(open({str(path)!r}).read())"


def test_openshell_gpu_is_the_only_kernel_and_the_default(user):
    listed = user.request("GET", "api/kernelspecs").body
    assert listed["default"] == "openshell-gpu"
    assert list(listed["kernelspecs"]) == ["openshell-gpu"]
    assert "openshell_kernel.sandbox.launcher" in listed["kernelspecs"]["openshell-gpu"]["spec"]["argv"]


def test_a_kernel_has_the_policy_of_its_users_group_and_without_a_group_that_for_everybody(installation, user):
    kernel = user.start_kernel(name="openshell-gpu")
    own = POLICIES[user.name]
    assert effective(user, kernel)["source"].startswith(f"{installation.policies / own}.yaml ")
    assert user.run(kernel, read(installation.readable(own))).text == f"{own}\n"
    for other in set(POLICIES.values()) - {own}:
        assert user.run(kernel, read(installation.readable(other))).error.startswith("PermissionError: [Errno 13]")


def test_a_kernel_that_is_not_named_is_confined(alice):
    kernel = alice.start_kernel()
    assert alice.kernels().count("openshell-gpu") == len(alice.kernels())
    assert alice.run(kernel, read(alice.home / ".jupyter" / "jupyter_config.py")).error.startswith("PermissionError")


def test_a_notebook_works_in_its_folder_and_nowhere_else(user):
    assert user.write("project/input.txt", "content").status == 201
    kernel = user.start_session("project/notebook.ipynb", name="openshell-gpu")
    assert user.run(kernel, read("input.txt")).text == "content\n"
    assert not user.run(kernel, "open('output.txt', 'w').write('done')").error
    assert user.request("GET", "api/contents/project/output.txt").body["content"] == "done"
    assert user.run(kernel, "open('../output.txt', 'w')").error.startswith("PermissionError: [Errno 13]")


def test_what_the_administrator_has_set_stays(installation, user):
    """The servers' temporary folder; and, as root, that they may start at all."""
    kernel = user.start_kernel()
    assert user.run(kernel, "import tempfile; print(tempfile.gettempdir())").text.startswith(installation.temporary)


def test_jupyterlab_opens(user):
    assert user.request("GET", "lab").status == 200


def test_the_servers_complain_of_nothing(installation):
    """None of the options is unknown or deprecated."""
    log = installation.hub.log.read_text()
    assert "Unrecognized" not in log
    assert "deprecated" not in log.lower()

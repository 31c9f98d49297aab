"""Only an allow-list of the server's environment passes, whatever the server has; the policy can add to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.errors import refused

from openshell_kernel.errors import ConfigurationError
from openshell_kernel.policy.blocks.environment import SERVER_TOKENS, EnvironmentPolicy
from openshell_kernel.server.planning.environment import compose, looks_secret, redirections
from openshell_kernel.server.settings import checked

REDIRECTED = redirections("/homes/project-1", temporary="/private/tmp", runtime="/private/run")
CACHES = (
    "CUDA_CACHE_PATH",
    "TRITON_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_EXTENSIONS_DIR",
    "PYTORCH_KERNEL_CACHE_PATH",
    "JAX_COMPILATION_CACHE_DIR",
    "HF_HOME",
    "NUMBA_CACHE_DIR",
    "MPLCONFIGDIR",
    "IPYTHONDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
)


def composed(server, *, kernelspec=(), selected=None, policy=None, settings=None):
    return compose(
        server,
        kernelspec=kernelspec,
        redirected=REDIRECTED,
        selected=selected or {},
        policy=EnvironmentPolicy.model_validate(policy or {}),
        settings=EnvironmentPolicy.model_validate(settings or {}),
    )


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "LANG", "LC_ALL", "TZ", "TERM", "VIRTUAL_ENV", "CONDA_PREFIX", "CUDA_VISIBLE_DEVICES"),
        *("NVIDIA_VISIBLE_DEVICES", "NCCL_DEBUG", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
        *("NUMEXPR_MAX_THREADS", "JPY_SESSION_NAME", "JPY_PARENT_PID", "MPLBACKEND", "SSL_CERT_FILE", "HTTPS_PROXY"),
        *("TRITON_PTXAS_PATH", "TRITON_LIBCUDA_PATH", "CC", "CXX"),
    ],
)  # fmt: skip
def test_what_every_kernel_needs_passes(name):
    assert composed({name: "/x"}).values[name] == "/x"


@pytest.mark.parametrize(
    "name",
    [
        *("JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN", "JUPYTER_TOKEN", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PGPASSWORD"),
        *("NVIDIA_API_KEY", "CUDA_SECRET", "NCCL_PASSWORD", "CONDA_TOKEN", "SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS"),
        *("DISPLAY", "LD_PRELOAD", "LD_AUDIT", "PYTHONSTARTUP", "PYTHONHOME", "BASH_ENV", "ENV", "IPYTHONDIR_X"),
        *("JUPYTER_PATH", "JUPYTERHUB_SERVICE_URL", "OPENSHELL_SNAPSHOT_FD", "BASH_FUNC_x%%", "PWD", "FOO"),
    ],
)  # fmt: skip
def test_what_nobody_asked_for_is_withheld_and_its_name_recorded(name):
    found = composed({name: "value", "PATH": "/bin"})
    assert name not in found.values
    assert (found.record.withheld, found.record.passed) == ((name,), ("PATH",))


@pytest.mark.parametrize(
    ("name", "value", "passes"),
    [
        ("HTTPS_PROXY", "http://proxy:3128", True),
        ("HTTPS_PROXY", "http://me:secret@proxy:3128", False),
        ("https_proxy", "me:secret@proxy:3128", False),
        ("ALL_PROXY", "socks5://me:a/b@proxy", False),
        ("NO_PROXY", "localhost,.example.org", True),
        ("NVIDIA_REPOSITORY", "https://me@example.org/", False),
        ("VIRTUAL_ENV", "/home/me@example.org/venv", True),
    ],
)
def test_an_address_that_holds_a_password_is_withheld(name, value, passes):
    assert (name in composed({name: value}).values) is passes


@pytest.mark.parametrize("name", ["PATH", "LD_LIBRARY_PATH", "PYTHONPATH"])
def test_a_folder_that_depends_on_the_working_directory_is_left_out(name):
    assert composed({name: ":/a:lib:.:/b:"}).values[name] == "/a:/b"
    assert name not in composed({name: ".:lib"}).values


def test_private_folders_beat_the_servers_variables():
    found = composed(dict.fromkeys([*CACHES, "HOME", "TMPDIR", "XDG_RUNTIME_DIR"], "/home/ada"))
    assert all(found.values[name].startswith("/homes/project-1/") for name in CACHES)
    assert found.values["HOME"] == "/homes/project-1"
    assert found.values["TMPDIR"] == "/private/tmp"
    assert found.values["XDG_RUNTIME_DIR"] == "/private/run"
    assert found.record.withheld == ()


def test_a_policy_passes_by_name_and_by_pattern_and_sets():
    server = {
        "SLURM_JOB_ID": "1",
        "SLURM_TOKEN": "s",
        "WANDB_API_KEY": "w",
        "HF_HOME": "/srv/hf",
        "LD_PRELOAD": "/x.so",
    }
    policy = {"pass": ["SLURM_*", "WANDB_API_KEY", "HF_HOME", "LD_PRELOAD"], "set": {"HOME": "/srv/home", "NEW": "1"}}
    found = composed(server, policy=policy)
    assert found.values.items() >= {**server, "HOME": "/srv/home", "NEW": "1"}.items() - {("SLURM_TOKEN", "s")}
    assert found.record.withheld == ("SLURM_TOKEN",)
    assert {"SLURM_JOB_ID", "WANDB_API_KEY", "HF_HOME", "LD_PRELOAD"} == set(found.record.passed)
    assert {"HOME", "NEW"} <= set(found.record.added)


def test_a_pattern_for_everything_passes_no_secret_and_moves_no_private_folder():
    server = {"HOME": "/home/ada", "FOO": "1", "DB_PASSWORD": "p", "JUPYTERHUB_API_TOKEN": "t", "HF_HOME": "/srv/hf"}
    found = composed(server, policy={"pass": ["*"]})
    assert (found.values["FOO"], found.values["HOME"]) == ("1", "/homes/project-1")
    assert found.values["HF_HOME"].startswith("/homes/project-1/")
    assert found.record.withheld == ("DB_PASSWORD", "JUPYTERHUB_API_TOKEN")


def test_the_operator_adds_to_the_policy_and_what_the_operator_sets_beats_it():
    server = {"A": "1", "B": "2", "C": "3"}
    found = composed(server, policy={"pass": ["A"], "set": {"X": "p"}}, settings={"pass": ["B"], "set": {"X": "o"}})
    assert {name: found.values.get(name) for name in "ABCX"} == {"A": "1", "B": "2", "C": None, "X": "o"}


def test_what_stands_in_the_kernelspec_passes():
    found = composed({"LD_PRELOAD": "/x.so", "HF_HOME": "/srv/hf", "FOO": "1"}, kernelspec=("LD_PRELOAD", "HF_HOME"))
    assert (found.values["LD_PRELOAD"], found.values["HF_HOME"]) == ("/x.so", "/srv/hf")
    assert found.record.withheld == ("FOO",)


def test_not_even_the_kernelspec_passes_a_token_of_the_server():
    names = sorted(SERVER_TOKENS)
    assert composed(dict.fromkeys(names, "t"), kernelspec=names).record.withheld == tuple(names)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({"pas": []}, "environment.pas"),
        ({"set": {"A": 1}}, "environment.set.A"),
        ({"pass": "A"}, "environment.pass"),
    ],
)
def test_a_mistake_of_the_operator_is_told_with_its_key(value, key):
    with refused(ConfigurationError, at=f"OpenShellProvisioner.{key}"):
        checked("environment", EnvironmentPolicy, value)


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "hf_token", "APIKEY", "KEYS", "DB_PWD", "GITHUB_PAT", "X_AUTH", "MYSECRETS"]
)
def test_a_name_looks_like_a_secrets(name):
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "KEYBOARD", "AUTHOR", "PATH", "PASSIVE", "XAUTHORITY"])
def test_a_name_does_not(name):
    assert not looks_secret(name)


NAMES = st.from_regex(r"[A-Z]{1,8}(_[A-Z]{1,8}){0,2}", fullmatch=True) | st.sampled_from(sorted(SERVER_TOKENS))
PATTERNS = st.lists(st.from_regex(r"[A-Z_*?]{1,4}", fullmatch=True), max_size=3)


@given(st.dictionaries(NAMES, st.text(max_size=4), max_size=12), PATTERNS)
def test_every_variable_of_the_server_is_accounted_for_and_no_token_passes(server, patterns):
    found = composed(server, policy={"pass": patterns})
    record = found.record
    assert set(server) <= {*record.passed, *record.added, *record.withheld}
    assert set(found.values) == {*record.passed, *record.added}
    assert not set(record.withheld) & set(found.values)
    assert not SERVER_TOKENS & set(found.values)
    assert not [name for name in record.passed if looks_secret(name) and name not in patterns]


def test_the_selected_gpus_replace_what_the_server_and_its_kernelspec_say_of_them():
    found = composed(
        {"CUDA_VISIBLE_DEVICES": "0"}, kernelspec=["CUDA_VISIBLE_DEVICES"], selected={"CUDA_VISIBLE_DEVICES": "GPU-1"}
    )
    assert found.values["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    assert "CUDA_VISIBLE_DEVICES" in found.record.added


def test_what_the_policy_sets_beats_the_selected_gpus():
    found = composed(
        {}, selected={"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"}, policy={"set": {"CUDA_VISIBLE_DEVICES": "GPU-2"}}
    )
    assert found.values["CUDA_VISIBLE_DEVICES"] == "GPU-2"

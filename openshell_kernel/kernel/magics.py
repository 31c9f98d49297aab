"""`%policy`: what this kernel may do, and why.

An IPython extension that every OpenShell kernel loads as it starts, so it imports next to nothing until it is
asked. It runs inside the sandbox: it reports what was recorded at launch and attests nothing.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from openshell_kernel.base.sealed import VARIABLE
from openshell_kernel.errors import SnapshotError
from openshell_kernel.kernel import memfd, start
from openshell_kernel.kernel.completion import COMMANDS, GPU_OPTIONS, OPTIONS, complete

if TYPE_CHECKING:
    from openshell_kernel.kernel.snapshot import Snapshot

# As the launcher's report has them; importing its types takes too long at the start of a kernel.
LANDLOCK, _CONFINING = "landlock", ("enforced", "degraded")
HELP = """\
%policy show            what this notebook may do, which layers protect it, and what is not enforced
%policy show --verbose  also what each layer does in detail
%policy show --json     the same for programs
%policy show --yaml     a policy file that loads again and gives the same sandbox
%policy env             which of the server's environment variables were withheld or passed; names only
%policy gpus            the machine's GPUs, which of them this kernel has, and who holds the others (also --json)
%policy gpus --check    whether CUDA works here; a failure names the rule that is probably missing
%policy verify          whether each layer protects, tried for real (also --json)
%policy why PATH        whether PATH may be read, written and run, by which rule, or what to add to the policy
"""
UNCONFINED = """\
OpenShell does not confine this kernel. No policy applies to it, only file permissions.
To start a confined kernel, pick "OpenShell GPU" in JupyterLab's launcher, or run
    jupyter console --kernel openshell-gpu
"""


def load_ipython_extension(ip: Any) -> None:  # noqa: ANN401 - IPython has no types that mypy may follow
    """Register `%policy` and its completion; called by IPython."""
    ip.register_magic_function(policy, "line", "policy")
    if complete not in ip.Completer.custom_matchers:
        ip.Completer.custom_matchers.append(complete)
    warning = _prepare()
    if warning:
        _print_before_first_cell(ip, warning)
    if VARIABLE in os.environ:
        from openshell_kernel.kernel.headers import keep_headers  # noqa: PLC0415

        keep_headers(os.environ)


def policy(line: str) -> None:
    """Show what this kernel may do, and why: `%policy` alone lists the commands."""
    with start.installed_only():
        _answer(line)


def _answer(line: str) -> None:
    command, _, rest = line.strip().partition(" ")
    if command in ("", "help", "--help", "-h"):
        print(HELP, end="")  # noqa: T201
    elif command == "show":
        _show(rest.split())
    elif command == "env":
        _env(rest)
    elif command == "gpus":
        _gpus(rest.split())
    elif command == "verify":
        _verify(rest.split())
    elif command == "why":
        _why(rest)
    else:
        raise UsageError(f"%policy has no command {command!r}{_closest(command, COMMANDS)}; %policy alone shows help")


class Display:
    """What a view says, as notebooks and as terminals show it.

    There is no `application/json` in it: JupyterLab would show that as a tree instead of the HTML.
    """

    def __init__(self, *, text: str, html: str) -> None:
        self._bundle = {"text/plain": text, "text/html": html}

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return self._bundle


def _display(*, text: str, html: str) -> None:
    from IPython.display import display  # noqa: PLC0415

    display(Display(text=text, html=html))


def _show(options: list[str]) -> None:
    for option in options:
        if option not in OPTIONS:
            raise UsageError(f"%policy show has no option {option!r}{_closest(option, OPTIONS)}")
    if len(set(options)) > 1:
        raise UsageError(f"%policy show takes one option at a time: {', '.join(OPTIONS)}")
    snapshot = _snapshot()
    if snapshot is None:
        if options:
            raise UsageError("OpenShell does not confine this kernel: there is no policy to print")
        print(UNCONFINED, end="")  # noqa: T201
    elif "--json" in options:
        import json  # noqa: PLC0415

        print(json.dumps(snapshot.to_json(), indent=2))  # noqa: T201
    elif "--yaml" in options:
        from openshell_kernel.kernel import policy_file  # noqa: PLC0415

        print(policy_file.render(snapshot), end="")  # noqa: T201
    else:
        _show_view(snapshot, verbose="--verbose" in options)


def _show_view(snapshot: Snapshot, *, verbose: bool) -> None:
    from openshell_kernel.kernel.views import as_html, as_text  # noqa: PLC0415
    from openshell_kernel.policy.explain import exposures  # noqa: PLC0415

    exposed = exposures(snapshot.effective, snapshot.guarded)
    _display(
        text=as_text.render(snapshot, exposed, verbose=verbose),
        html=as_html.render(snapshot, exposed, verbose=verbose),
    )


def _env(argument: str) -> None:
    if argument.strip():
        raise UsageError("%policy env takes no argument: it lists names only")
    snapshot = _snapshot()
    if snapshot is None:
        print(UNCONFINED, end="")  # noqa: T201
        return
    from openshell_kernel.kernel.views import as_text  # noqa: PLC0415

    print(as_text.render_env(snapshot), end="")  # noqa: T201


def _gpus(options: list[str]) -> None:
    for option in options:
        if option not in GPU_OPTIONS:
            raise UsageError(f"%policy gpus has no option {option!r}{_closest(option, GPU_OPTIONS)}")
    snapshot = _snapshot()
    if snapshot is None:
        if options:
            raise UsageError("OpenShell does not confine this kernel: no policy gave it GPUs")
        print(UNCONFINED, end="")  # noqa: T201
    elif "--check" in options:
        _check_gpus(snapshot, as_json="--json" in options)
    else:
        from openshell_kernel.base.claims import holders  # noqa: PLC0415
        from openshell_kernel.kernel.views import as_text  # noqa: PLC0415

        held = holders(snapshot.effective.selection.records)
        if "--json" in options:
            import dataclasses  # noqa: PLC0415
            import json  # noqa: PLC0415

            data = {name: snapshot.effective.to_json()[name] for name in ("hardware", "selection")}
            print(json.dumps({**data, "holders": [dataclasses.asdict(holder) for holder in held]}, indent=2))  # noqa: T201
        else:
            print(as_text.render_gpus(snapshot, held), end="")  # noqa: T201


def _check_gpus(snapshot: Snapshot, *, as_json: bool) -> None:
    import dataclasses  # noqa: PLC0415
    import json  # noqa: PLC0415

    from openshell_kernel.kernel import gpus  # noqa: PLC0415
    from openshell_kernel.kernel.gpu_check import TOOLS, check  # noqa: PLC0415
    from openshell_kernel.kernel.views import as_text  # noqa: PLC0415

    def tell(step: Any) -> None:  # noqa: ANN401 - a Step, whose module is imported late
        if not as_json:
            print(as_text.render_step(step), end="", flush=True)  # noqa: T201

    summary = gpus.summary(snapshot.effective)
    steps = check(snapshot.effective, tell)
    if as_json:
        data = {
            "policy": snapshot.effective.source,
            "gpus": summary,
            "given": snapshot.effective.selection.granted,
            "ok": bool(steps) and all(step.ok for step in steps),
            "steps": [dataclasses.asdict(step) for step in steps],
        }
        print(json.dumps(data, indent=2))  # noqa: T201
    elif not steps:
        print(f"There is nothing to check: this kernel was given no GPU. {summary}")  # noqa: T201
    else:
        failed = sum(not step.ok for step in steps)
        print(TOOLS, end="")  # noqa: T201
        print("CUDA works here." if not failed else f"{failed} of {len(steps)} steps failed.")  # noqa: T201


def _verify(options: list[str]) -> None:
    if options not in ([], ["--json"]):
        raise UsageError("%policy verify takes no option but --json")
    snapshot = _snapshot()
    if snapshot is None:
        if options:
            raise UsageError("this kernel is not confined by OpenShell: there is nothing to verify")
        print(UNCONFINED, end="")  # noqa: T201
        return
    from openshell_kernel.kernel import verify  # noqa: PLC0415

    try:
        found = verify.verify(snapshot.report)
    except SnapshotError as error:
        raise UsageError(str(error)) from None
    if options:
        import json  # noqa: PLC0415

        from openshell_kernel.base import wire  # noqa: PLC0415

        print(json.dumps({**wire.encode(found), "ok": found.holds}, indent=2))  # noqa: T201
    else:
        print("\n".join(verify.lines(found)))  # noqa: T201


def _why(argument: str) -> None:
    from openshell_kernel.kernel.asked import asked  # noqa: PLC0415

    asked(argument, home="")
    snapshot = _snapshot()
    if snapshot is None:
        print(UNCONFINED, end="")  # noqa: T201
        return
    from openshell_kernel.kernel import permissions  # noqa: PLC0415
    from openshell_kernel.kernel.views import as_html, as_text  # noqa: PLC0415
    from openshell_kernel.policy.explain import why  # noqa: PLC0415

    meant = asked(argument, home=snapshot.guarded.home or _account_home())
    verdicts = permissions.annotate(why(snapshot.effective, meant.path, guarded=snapshot.guarded))
    _display(
        text=as_text.render_why(snapshot, verdicts, meant.notes),
        html=as_html.render_why(snapshot, verdicts, meant.notes),
    )


def _account_home() -> str:
    """Return the home directory of this account, which HOME does not name; empty where it has none."""
    import pwd  # noqa: PLC0415

    try:
        return os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return ""


def _closest(word: str, known: tuple[str, ...]) -> str:
    import difflib  # noqa: PLC0415

    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"; did you mean {matches[0]!r}?" if matches else f" (there is: {', '.join(known)})"


def _snapshot() -> Snapshot | None:
    try:
        fd = memfd.remembered()
        if fd is None:
            return None
        from openshell_kernel.kernel import snapshot  # noqa: PLC0415

        return snapshot.read(fd)
    except SnapshotError as error:
        raise UsageError(f"the record of this sandbox cannot be read: {error}") from None


def _prepare() -> str:
    """Keep the snapshot from the kernel's own children, and return what to warn of.

    Looks at single fields of the JSON instead of building the typed values: importing those takes too long here.
    """
    memfd.remember(os.environ)
    try:
        fd = memfd.remembered()
        if fd is None:
            return ""
        content = memfd.read_sealed(fd)
        os.set_inheritable(fd, False)
    except SnapshotError as error:
        return f"WARNING: the record of this sandbox cannot be read: {error}"
    import json  # noqa: PLC0415

    try:
        record = json.loads(content)
        landlock = {layer["name"]: layer for layer in record["report"]["layers"]}.get(LANDLOCK, {})
        if landlock.get("status") not in _CONFINING:
            reason = str(landlock.get("detail", "nobody asked for it"))
            return f"WARNING: OpenShell does NOT confine this kernel: {reason}. See `%policy show`."
        for skipped in record["effective"]["skipped"]:
            if skipped["origin"] == "workdir":
                return f"OpenShell: this notebook's folder {skipped['path']} is not granted: {skipped['why']}."
    except (ValueError, LookupError, TypeError, RecursionError):
        return "WARNING: the record of this sandbox is damaged. See `%policy show`."
    return ""


def _print_before_first_cell(ip: Any, warning: str) -> None:  # noqa: ANN401
    """Print where it is seen: nobody listens yet to what a kernel prints while it starts."""

    def warn(*_: object) -> None:
        ip.events.unregister("pre_run_cell", warn)
        print(warning, file=sys.stderr)  # noqa: T201

    ip.events.register("pre_run_cell", warn)

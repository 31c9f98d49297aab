"""What is known of a Python that no test starts."""

from openshell_kernel.server.planning.interpreter import Interpreter


def python_in(folder, *import_path):
    """A Python whose environment is the folder `venv` there, and which imports from these folders there."""
    return Interpreter(
        executable=str(folder / "venv/bin/python"),
        version="3.12.0",
        prefixes=(str(folder / "venv"),),
        import_path=tuple(str(folder / name) for name in import_path),
        editable=(),
        customize=(),
        user_site="",
    )

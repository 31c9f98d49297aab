"""Runs the examples in the docstring of a public name, in a process of their own: some confine it for ever."""

import doctest
import json
import sys

import openshell_kernel


def main(name):
    thing = getattr(openshell_kernel, name)
    module = sys.modules[thing.__module__]
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(recurse=False).find(thing, name, module=module, globs={}):
        runner.run(test, out=sys.stderr.write)
    print(json.dumps({"failed": runner.failures, "tried": runner.tries}))


if __name__ == "__main__":
    main(sys.argv[1])

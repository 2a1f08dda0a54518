"""Runs commands, one after the other. Run as a program: JSON of argument lists; prints a line of JSON a command."""

import json
import sys

from tests.flows.cli_runner import sam_engine


def main() -> None:
    for command in json.loads(sys.argv[1]):
        print(json.dumps(vars(sam_engine(*command))), flush=True)


if __name__ == "__main__":
    main()

"""Tables as aligned text on standard output, and the same as Markdown for a file."""

import os
import platform
import statistics
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.peers.equality import Verdict


@dataclass(frozen=True)
class Row:
    """What a contender needed in each turn, and whether it gave the same as the others."""

    name: str
    seconds: list[float]
    verdict: Verdict
    phases: dict[str, float] = field(default_factory=dict)


@dataclass
class Report:
    """equal: whether all that had to be equal was, so far."""

    markdown: list[str] = field(default_factory=list)
    equal: bool = True

    def title(self, text: str) -> None:
        print(f"\n{text}", flush=True)
        self.markdown += ["", f"## {text}"]

    def note(self, text: str) -> None:
        print(text, flush=True)
        self.markdown += ["", text]

    def facts(self, facts: dict[str, str]) -> None:
        width = max(map(len, facts))
        for name, text in facts.items():
            print(f"{name:{width}}  {text}")
        self.markdown += ["", *(f"- {name}: {text}" for name, text in facts.items())]

    def table(self, heads: list[str], rows: list[list[str]]) -> None:
        """Numbers to the right, everything else to the left."""
        cells = [heads, *rows]
        widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
        right = [all(_is_number(row[column]) for row in rows) for column in range(len(heads))]
        for line in cells:
            padded = (
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(line, widths, right, strict=True)
            )
            print("  ".join(padded).rstrip(), flush=True)
        rule = ["---:" if to_right else "---" for to_right in right]
        self.markdown += ["", *("| " + " | ".join(line) + " |" for line in (heads, rule, *rows))]

    def times(self, rows: list[Row], *, ours: str) -> None:
        """One row a contender. The ratio is its median over ours; equality stands at the end of every row."""
        median = {row.name: statistics.median(row.seconds) for row in rows}
        phases = list(dict.fromkeys(phase for row in rows for phase in row.phases))
        lines = [
            [
                row.name,
                *(f"{seconds:.3f}" for seconds in row.seconds),
                f"{median[row.name]:.3f}",
                f"{min(row.seconds):.3f}",
                f"{median[row.name] / median[ours]:.2f}",
                *(f"{row.phases[phase]:.3f}" if phase in row.phases else "" for phase in phases),
                row.verdict.text,
            ]
            for row in rows
        ]
        turns = [f"s, turn {turn + 1}" for turn in range(len(rows[0].seconds))]
        self.table(["contender", *turns, "median", "best", "x ours", *phases, "equality"], lines)
        self.count(*(row.verdict for row in rows))

    def count(self, *verdicts: Verdict) -> None:
        self.equal = self.equal and all(verdict.equal is not False for verdict in verdicts)

    def write(self, file: Path) -> None:
        file.write_text("\n".join(["# Mask generation beside its peers", *self.markdown, ""]))


def machine(command: list[str], packages: list[str]) -> dict[str, str]:
    """What a time means little without. packages: contenders, whose versions are told."""
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {name: version(name) for name in (*packages, "torch", "numpy", "pycocotools")}
    return {
        "command": f"python {' '.join(command)}",
        "hardware": f"{_processor()}, {os.cpu_count()} cores, {gibibytes:.0f} GiB, CPU only",
        "load before": " ".join(f"{each:.2f}" for each in os.getloadavg()),
        "versions": f"python {platform.python_version()}, "
        + ", ".join(f"{name} {number}" for name, number in versions.items()),
        "torch's CPU": torch.backends.cpu.get_cpu_capability(),
    }


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

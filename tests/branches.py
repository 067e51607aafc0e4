"""`python -m tests.branches REPORT.json LEAST`: the share of branches taken, of each file; fails where it is less."""

import json
import sys
from pathlib import Path


def main(report: str, least: str) -> int:
    """Print the shares; say whether one is too small."""
    poor = 0
    for name, found in sorted(json.loads(Path(report).read_text())["files"].items()):
        total = found["summary"]
        count, taken = total["num_branches"], total["covered_branches"]
        missing = [f"{start}->{end}" for start, end in found["missing_branches"]]
        share = 100 * taken / count if count else 100.0
        poor += share < float(least)
        lines = f", lines {found['missing_lines']}" if found["missing_lines"] else ""
        print(f"{name:30} {share:6.1f} % of {count} branches {' '.join(missing)}{lines}")  # noqa: T201
    return int(poor > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

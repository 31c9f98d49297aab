"""Adds what was seen on a machine with a GPU to docs/gpu-results.md."""

import datetime as dt


def add(page, title, rows):
    """Append a section of this title with a table of what was tried and what came of it."""
    today = dt.datetime.now(dt.timezone.utc).date().isoformat()
    lines = [f"\n## {today}: {title}\n", "| What | Seen |", "|---|---|"]
    lines += [f"| {what} | {str(seen).replace('|', '/')} |" for what, seen in rows.items()]
    with page.open("a", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")

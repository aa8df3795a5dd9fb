"""The table: printed, and kept in RESULTS.md, where each agent has a section
and new lines take the place of old ones of the same scenario."""

import platform
import re
import statistics
import time
from pathlib import Path

FILE = Path(__file__).resolve().with_name("RESULTS.md")
COLUMNS = ("scenario", "runs", "from the cure: median s", "worst s", "from the fault: median s", "worst s", "remark")
AGENTS = ("kitelet", "pagekite", "autossh")
INTRODUCTION = """# What chaos showed

Made by `tests/chaos/run --full --write`, and with `--agent` for the others; README.md says what each column is.
An empty cell was not measured: the scenario has no cure, or no fault that the agent has to notice by itself.

"""


def row(name, runs):
    """A line of the table from the runs of one scenario, each a dict."""
    cells = [name, str(len(runs))]
    for key in ("cure", "fault"):
        seconds = [run[key] for run in runs if run.get(key) is not None]
        cells += [f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}"] if seconds else ["", ""]
    remarks = list(dict.fromkeys(run["remark"] for run in runs if run.get("remark")))
    failures = list(dict.fromkeys(f"FAILED: {run['error']}" for run in runs if run.get("error")))
    return [*cells, "; ".join([*remarks, *failures]).replace("|", "/")]


def markdown(rows):
    lines = [list(COLUMNS), ["---"] * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def read():
    """The rows of each agent that RESULTS.md has, and its remarks above them."""
    found = {agent: ("", []) for agent in AGENTS}
    if not FILE.exists():
        return found
    for section in re.split(r"^## ", FILE.read_text(), flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        if title in found:
            rows = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in body.splitlines()
                    if line.startswith("|") and not line.startswith(("| scenario", "| ---"))]
            made = next((line for line in body.splitlines() if line.startswith("Made ")), "")
            found[title] = made, [cells + [""] * (len(COLUMNS) - len(cells)) for cells in rows]
    return found


def write(agent, rows, order, program):
    """Puts new rows of an agent into RESULTS.md, in the order of the names."""
    found = read()
    known = {cells[0]: cells for cells in found[agent][1]}
    known.update({cells[0]: cells for cells in rows})
    made = f"Made {time.strftime('%Y-%m-%d')}, {program}, {platform.machine()}, Linux {platform.release().split('-')[0]}."
    found[agent] = made, [known[name] for name in order if name in known]
    sections = [INTRODUCTION]
    for name in AGENTS:
        if found[name][1]:
            sections.append(f"## {name}\n\n{found[name][0]}\n\n{markdown(found[name][1])}\n\n")
    sections.append(side_by_side(found))
    FILE.write_text("".join(sections).rstrip() + "\n")


def side_by_side(found):
    """The scenarios that more than one agent has run; median and worst."""
    present = [agent for agent in AGENTS if found[agent][1]]
    if len(present) < 2:
        return ""
    tables = {agent: {cells[0]: cells for cells in found[agent][1]} for agent in present}
    lines = ["| scenario | " + " | ".join(present) + " |", "|---" * (len(present) + 1) + "|"]
    for name in tables["kitelet"]:
        if sum(name in tables[agent] for agent in present) > 1:
            cells = [short(tables[agent].get(name)) for agent in present]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "## Side by side\n\nMedian (worst) in seconds, from the cure or else from the fault.\n\n" + "\n".join(lines)


def short(cells):
    if cells is None:
        return ""
    seconds = cells[2:4] if cells[2] else cells[4:6]
    told = f"{seconds[0]} ({seconds[1]})" if seconds[0] else ""
    late = re.search(r"not within \d+ s|no new tunnel within \d+ s", cells[6])
    return " ".join(part for part in (told, late and late.group().replace("no new tunnel", "not")) if part) or cells[6]

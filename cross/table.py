"""The sizes of what was built, as a table for people."""

from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- sizes: cross/build all --readme -->", "<!-- end of sizes -->"


def table(rows):
    """Markdown of rows (target, flavour, (bytes, gzip, xz)); the router's agent
    first, since that is whose flash is small."""
    lines = ["| for | | `kitelet` alone as agent | gzip | xz | with relay | gzip | xz |",
             "|---|---|---:|---:|---:|---:|---:|---:|"]
    targets = list(dict.fromkeys(target for target, _, _ in rows))
    sizes = {(target.name, flavour.word): measured for target, flavour, measured in rows}
    for target in targets:
        cells = []
        for word in ("agent", "full"):
            measured = sizes.get((target.name, word))
            cells += [f"{size // 1000} KB" for size in measured] if measured else ["", "", ""]
        lines.append(f"| `{target.name}` | {target.devices} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plain(rows):
    """The same for a terminal, to the byte."""
    lines = [f"{'target':10} {'flavour':8} {'bytes':>10} {'gzip':>9} {'xz':>9}"]
    lines += [f"{target.name:10} {flavour.word:8} {size:10,} {gzipped:9,} {xz:9,}"
              for target, flavour, (size, gzipped, xz) in rows]
    return "\n".join(lines)


def write_readme(rows):
    """Puts the table between its marks in the README."""
    text = README.read_text(encoding="utf-8")
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    README.write_text(f"{text[:begin]}\n{table(rows)}\n{text[end:]}", encoding="utf-8")

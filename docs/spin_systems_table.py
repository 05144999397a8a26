"""Writes the list of metabolites in spin-systems.md from the table that is shipped."""

from pathlib import Path

from pulsespec.simulator.spinsystem import list_metabolites, load_metabolites, load_sources

PAGE = Path(__file__).parent / "spin-systems.md"
BEGIN, END = "<!-- made by spin_systems_table.py -->\n", "<!-- end -->\n"


def table() -> str:
    """Return the tables of metabolites and of sources as Markdown."""
    rows = ["| name | molecule | sources | left out |", "|---|---|---|---|"]
    for m in load_metabolites(list_metabolites()).values():
        keys = ", ".join(source.key for source in m.sources)
        rows.append(f"| `{m.name}` | {m.full_name} | {keys} | {'; '.join(m.left_out) or '-'} |")
    rows += ["", "| source | publication | DOI | read | how its numbers came here |", "|---|---|---|---|---|"]
    for source in load_sources().values():
        doi = f"`{source.doi}`" if source.doi else "not verified, not given"
        read = "yes" if source.read else "no"
        rows.append(f"| {source.key} | {source.text} | {doi} | {read} | {source.through} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Replace what stands between the two marks."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + "\n" + table() + "\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()

"""Write the results as a table and a plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.contest import REFERENCE
from benchmarks.machine import GFLOP_PER_CLIP

__all__ = ["draw", "write_table"]

Results = Mapping[str, Any]


def write_table(results: Results, path: Path) -> None:
    """Write the results as Markdown: machine, rows, lower bound, memory, pieces."""
    parts = [_heading(results), _rows(results), _floor(results), _memory(results), _pieces(results)]
    path.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def draw(results: Results, path: Path) -> None:
    """Plot the speed-up of each row over the reference, with the goals."""
    from matplotlib import use
    from matplotlib.figure import Figure

    use("Agg")
    bars = [
        (row["title"], label, result)
        for row in results["rows"].values()
        for label, result in row["contestants"].items()
        if "ratio" in result
    ]
    figure = Figure(figsize=(9, 1.4 + 0.27 * max(1, len(bars))), layout="constrained")
    axes = figure.subplots()
    titles = list(dict.fromkeys(title for title, _, _ in bars))
    for place, (title, _, result) in enumerate(bars):
        colour = f"C{titles.index(title) % 10}"
        low, high = min(result["ratios"]), max(result["ratios"])
        axes.barh(place, result["ratio"], color=colour, height=0.7, alpha=0.85)
        axes.plot([low, high], [place, place], color="black", linewidth=1)
        where = (max([high, *result.get("goal", ())]), place)
        axes.annotate(f"{result['ratio']:.3g}x", where, (7, 0), textcoords="offset points", va="center", fontsize=8)
        for goal, marker in zip(result.get("goal", ()), "|o", strict=False):
            axes.plot(goal, place, marker=marker, color="black", markersize=7, fillstyle="none", linestyle="none")
    axes.axvline(1, color="black", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(bars)), [f"{title}: {label}" for title, label, _ in bars], fontsize=8)
    axes.invert_yaxis()
    if bars:
        axes.set_xscale("log")
        axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
        axes.minorticks_off()
        axes.set_xlim(0.5, 1.9 * max(2.0, *(max(result["ratios"]) for _, _, result in bars)))
    meaning = "times as fast as marlin-pytorch 0.3.4\n(median of the rounds; line: their range; | at least, o aim)"
    axes.set_xlabel(meaning, fontsize=9)
    axes.set_title(_machine(results), fontsize=9)
    figure.savefig(path, dpi=130)


def _machine(results: Results) -> str:
    machine = results["machine"]
    return f"{machine['cpu']}, {machine['threads']} threads" + ("; --quick: no result" if results["quick"] else "")


def _heading(results: Results) -> str:
    machine, versions = results["machine"], results["versions"]
    lines = [
        f"# {_machine(results)}",
        "",
        f"- flags: {', '.join(machine['flags']) or 'none of those that matter'}; {machine['cores']} cores, "
        f"{machine['memory_gb']} GB, {machine['system']}",
        *(
            f"- {side}: {', '.join(f'{name} {version}' for name, version in found.items())}"
            for side, found in versions.items()
            if found
        ),
        *(f"- {note}" for note in results["notes"]),
        f"- {results['rounds']} rounds, A B A B; the ratio is taken within each round",
    ]
    check = results["rows"].get("check", {})
    if "largest_difference" in check:
        worst = max(value for name, value in check["largest_difference"].items() if "boxes" not in name)
        lines.append(
            f"- the reference was checked: its features differ from its golden ones by {worst:.1e} at most, its boxes "
            + ("not at all (to the two decimals of the golden ones)" if check["boxes_equal"] else "TOO")
        )
    elif "unchecked" in check:
        lines.append(f"- the reference was not checked: {check['unchecked']}")
    return "\n".join(lines)


def _rows(results: Results) -> str:
    lines = [
        "| row | side | seconds | times as fast (rounds) | goal: at least, aim | R2 within a video | least cosine |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in results["rows"].values():
        for label, result in row["contestants"].items():
            if "error" in result:
                lines.append(f"| {row['title']} | {label} | not measured: {_cell(result['error'])} | | | | |")
            elif "median_s" in result:
                lines.append(f"| {row['title']} | {label} | {' | '.join(_cells(row, result))} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _cells(row: Results, result: Results) -> Iterator[str]:
    yield f"{result['median_s'] / (result.get('count') or 1):.3g} a {row['unit']}"
    ratios = result.get("ratios")
    yield f"**{result['ratio']:.3g}** ({min(ratios):.3g} to {max(ratios):.3g})" if ratios else ""
    goal = result.get("goal")
    yield f"{goal[0]:g}, {goal[1]:g}: {_reached(result, goal)}" if goal else ""
    yield f"{result['r2_within']:.4f}" if "r2_within" in result else ""
    yield f"{result['cosine']:.6f}" if "cosine" in result else _cell(result.get("features", ""))


def _reached(result: Results, goal: tuple[float, float]) -> str:
    if "ratio" not in result:
        return "?"
    return ("missed", "reached", "aim reached")[sum(result["ratio"] >= mark for mark in goal)]


def _floor(results: Results) -> str:
    gflops = results["rows"].get("gemm", {}).get("gflops")
    if not gflops:
        return ""
    lines = [
        f"Matrix products: {', '.join(f'{kind} {rate:.0f} GFLOP/s' for kind, rate in gflops.items())}.",
        "",
        "| encoder | side | GFLOP a clip | floor, s | measured, s | share of the peak |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in results["rows"].items():
        for label, result in row["contestants"].items():
            if not name.startswith("encoder-") or "median_s" not in result:
                continue
            work, kind = GFLOP_PER_CLIP[row["model"]], "fp32" if label == REFERENCE else label.split()[-1]
            floor_s, measured_s = work / gflops[kind], result["median_s"] / result["count"]
            lines.append(
                f"| {row['title']} | {label} | {work} | {floor_s:.3g} | {measured_s:.3g} | {floor_s / measured_s:.0%} |"
            )
    return "\n".join(lines)


def _memory(results: Results) -> str:
    row = results["rows"].get("memory")
    if not row:
        return ""
    lines = [
        f"| {row['title']} | video | peak, MB | peak in each tenth of the time, MB |",
        "| --- | --- | ---: | --- |",
    ]
    for label, result in row["contestants"].items():
        if "error" in result:
            lines.append(f"| {label} | not measured: {_cell(result['error'])} | | |")
        else:
            peaks = " ".join(f"{mb:.0f}" for mb in result["peaks_mb"])
            lines.append(f"| {label} | {result['video']} | {result['peak_mb']:.0f} | {peaks} |")
    return "\n".join(lines)


def _pieces(results: Results) -> str:
    tables = []
    for name in ("pieces", "breakdown"):
        row = results["rows"].get(name, {"contestants": {}})
        for label, result in row["contestants"].items():
            if "pieces" in result:
                whole = sum(result["pieces"].values())
                shares = ", ".join(f"{piece} {s:.3g} s ({s / whole:.0%})" for piece, s in result["pieces"].items())
                tables.append(f"- {row['title']}, {label}, of {whole:.3g} s a {row['unit']}: {shares}")
    return "\n".join(tables)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:160]
